"""Searches with a known course, for the solver's process to run in place of the real one."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from multidnn.errors import InputError
from multidnn.schedule import Problem, Schedule, solve


@dataclass(frozen=True)
class Found:
    """What `multidnn.schedule.anytime.improve` yields."""

    seconds: float
    schedule: Schedule


def _wait(seconds: float, stop: Callable[[], bool]) -> bool:
    """Sleep, but no longer than until `stop`; say whether it was that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if stop():
            return True
        time.sleep(0.005)
    return False


def optimum_after_a_while(
    problem: Problem,
    *,
    max_transitions: int | None,
    time_limit_s: float,
    start: Sequence[Schedule],
    stop: Callable[[], bool],
) -> Iterator[Found]:
    """The serial schedule at once, which nobody should take, and the proved optimum after a third of a second."""
    yield Found(0.0, solve(problem, "serial"))
    if _wait(0.3, stop):
        return
    yield Found(0.3, solve(problem, "haxconn", max_transitions=max_transitions, time_limit_s=time_limit_s))


def busy_for_ever(problem: Problem, *, stop: Callable[[], bool], **_: Any) -> Iterator[Found]:
    """Takes all processor time that it gets and finds nothing."""
    while not stop():
        sum(range(10_000))
    yield from ()


def deaf(problem: Problem, **_: Any) -> Iterator[Found]:
    """Does not ask whether to stop."""
    time.sleep(1000)
    yield from ()


def killed_while_speaking(problem: Problem, *, stop: Callable[[], bool], **_: Any) -> Iterator[Found]:
    """Finds the optimum, and its process is killed a moment later."""
    yield Found(0.0, solve(problem, "haxconn", max_transitions=2))
    _wait(0.2, stop)
    os.kill(os.getpid(), signal.SIGKILL)


def nothing_to_find(problem: Problem, **_: Any) -> Iterator[Found]:
    """Has a reason to give up."""
    raise InputError("alpha needs more than 0 transitions")
    yield


def worse_and_worse(problem: Problem, *, start: Sequence[Schedule], **_: Any) -> Iterator[Found]:
    """Schedules that are no better than the one it began from."""
    for step in range(3):
        value = (start[0].value or 0.0) * (1 + step)
        yield Found(0.0, replace(start[0], value=value, bound=0.0))
