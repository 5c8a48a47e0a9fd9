"""Atomic signals between pinned processes: kernel counters (eventfd) that vanish with their last owner.

A signal adds one to a counter and a wait takes one away, so nothing can pass before it is released; both are system
calls, which also order the memory that the two sides wrote and read. A waiting accelerator polls without sleeping,
because its cores are its own and waking a sleeping core costs more than the hand-over itself.
"""

import os
import select
from time import perf_counter_ns


class GateTimeoutError(Exception):
    """A partner did not signal in time."""


def make_event() -> int:
    """Return the descriptor of a new counter at zero; inherited only where it is passed on explicitly."""
    return os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def signal(event: int, count: int = 1) -> None:
    """Release `count` waits on `event`."""
    os.eventfd_write(event, count)


def try_wait(event: int) -> bool:
    """Take one signal if there is one."""
    try:
        os.eventfd_read(event)
    except BlockingIOError:
        return False
    return True


def wait_spinning(event: int, timeout_s: float, name: str) -> None:
    """Take one signal, polling without sleeping; `GateTimeoutError` after `timeout_s`."""
    deadline = perf_counter_ns() + int(timeout_s * 1e9)
    while not try_wait(event):
        if perf_counter_ns() > deadline:
            raise GateTimeoutError(f"waited {timeout_s:g} s for {name}")


def wait_sleeping(event: int, timeout_s: float, name: str) -> None:
    """Take one signal, asleep until it comes; `GateTimeoutError` after `timeout_s`."""
    poll = select.poll()
    poll.register(event, select.POLLIN)
    deadline = perf_counter_ns() + int(timeout_s * 1e9)
    while not try_wait(event):
        left_ms = (deadline - perf_counter_ns()) / 1e6
        if left_ms <= 0:
            raise GateTimeoutError(f"waited {timeout_s:g} s for {name}")
        poll.poll(left_ms)
