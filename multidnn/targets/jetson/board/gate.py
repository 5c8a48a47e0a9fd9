"""Turns between the workers of a run: counting gates in shared memory, and a common start.

A gate is a POSIX semaphore: a signal adds one and a wait takes one away, atomically, so that no wait ends before its signal
was given, and both order the memory that the two sides wrote and read. Made for forked processes, a semaphore has no name
left by the time anything can go wrong, and vanishes with them.
"""

from __future__ import annotations

import multiprocessing
import os
from time import monotonic_ns
from typing import Any, Sequence

# longer waits than this let others run in between, so that more workers than cores still get on
_SPIN_NS = 2_000_000

FORK = multiprocessing.get_context("fork")


class GateTimeoutError(Exception):
    """A partner did not signal in time."""


def make_gate() -> Any:
    """Return a gate at zero, to be made before the processes that use it."""
    return FORK.Semaphore(0)


def wait(gate: Any, timeout_s: float, partner: str) -> None:
    """Take one signal, spinning; `GateTimeoutError` naming `partner` after `timeout_s` seconds."""
    take = gate.acquire
    if take(False):
        return
    begin = monotonic_ns()
    spin_until, deadline = begin + _SPIN_NS, begin + int(timeout_s * 1e9)
    while not take(False):
        now = monotonic_ns()
        if now > spin_until:
            os.sched_yield()
            if now > deadline:
                raise GateTimeoutError(f"waited {timeout_s:g} s for {partner}")


def try_wait(gate: Any) -> bool:
    """Take one signal if there is one."""
    return bool(gate.acquire(False))


def signal(gate: Any, count: int = 1) -> None:
    """Release `count` waits."""
    for _ in range(count):
        gate.release()


def count(gate: Any) -> int:
    """Return how many signals a gate holds."""
    return int(gate.get_value())


class StartLine:
    """Lets several processes begin at one moment of the monotonic clock.

    Args:
        start_time: one-element int64 view of memory that they share.
        workers: their names.
    """

    # far enough ahead that every worker has seen it and spins by then
    DELAY_NS = 500_000

    def __init__(self, start_time: Any, workers: Sequence[str]) -> None:
        # one each: who is late can be named, and a quick worker takes no signal that another has not yet seen
        self.ready = {name: make_gate() for name in workers}
        self._go = {name: make_gate() for name in workers}
        self._start_time = start_time

    def line_up(self, name: str, timeout_s: float) -> int:
        """In worker `name`: say that it is ready, wait until the common start, and return when it really began (ns)."""
        self.ready[name].release()
        wait(self._go[name], timeout_s, "the common start")
        start = int(self._start_time[0])
        now = monotonic_ns()
        while now < start:
            now = monotonic_ns()
        return now

    def open(self, workers: Sequence[str]) -> int:
        """In the parent, once all `workers` are ready: let them begin together, and return when (ns)."""
        start = monotonic_ns() + self.DELAY_NS
        self._start_time[0] = start
        for name in workers:
            self._go[name].release()
        return start
