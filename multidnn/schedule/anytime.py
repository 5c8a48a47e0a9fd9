"""Anytime scheduling: better and better schedules of a problem as they are found, the last one with its proof.

What runs beside a workload (D-HaX-CoNN; HaX-CoNN, PPoPP 2024) and what waits for the optimum take the same search.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from multidnn.schedule.checked import checked_schedule
from multidnn.schedule.compiled.loading import load
from multidnn.schedule.costs import cost_of
from multidnn.schedule.h2h import h2h
from multidnn.schedule.haxconn import HaxConn
from multidnn.schedule.naive import naive
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.schedule import Schedule, check
from multidnn.schedule.serial import serial
from multidnn.schedule.timeline import Order, Placement

LONGEST_S = 1e9
"""Some thirty years: an infinite limit is as good as this one."""

MOST_STEPS_FOR_H2H = 300
"""Groups times accelerators: with more, h2h alone takes a second and more, and it has no clock."""

NAIVE_SHARE = 0.25
"""Of the time, for the naive schedule that the search starts from."""


@dataclass(frozen=True)
class Incumbent:
    """A schedule better than all before, found `seconds` after the start."""

    seconds: float
    schedule: Schedule


def improve(
    problem: Problem,
    *,
    scheduler: str = "haxconn",
    target: str = "",
    max_transitions: int | None = None,
    time_limit_s: float = 30.0,
    start: Sequence[Schedule] = (),
    stop: Callable[[], bool] | None = None,
    exclude: Collection[Placement] = (),
) -> Iterator[Incumbent]:
    """Yield each better schedule as soon as it is found; the last one yielded is final and carries the proved bound.

    Closing the iterator ends the search; so does Ctrl-C, after which the final schedule still comes.

    Args:
        problem: workload and costs; its workload says the objective.
        scheduler: the name written into the schedules, haxconn or dynamic.
        target: likewise.
        max_transitions: changes of accelerator allowed per instance, None for any number.
        time_limit_s: seconds after which the best so far is final.
        start: schedules of this problem to begin from, instead of those of the baselines; one that does not keep
            to `max_transitions` is passed over.
        stop: asked a few times a second; True ends the search.
        exclude: placements by index that must not be returned; the bound holds for the others.

    Raises:
        Infeasible: no schedule keeps to `max_transitions`, or every one is excluded.
        InputError: a schedule to start from does not fit the problem.
    """
    if math.isnan(time_limit_s):
        raise ValueError("time_limit_s: found nan, expected seconds")
    load()
    began = monotonic()
    deadline = began + min(time_limit_s, LONGEST_S)
    run = HaxConn(problem, max_transitions, deadline, exclude, stop or (lambda: False))
    sign = cost_of(problem.workload.objective, 1.0)
    incumbents: list[tuple[float, float]] = []

    def schedule(bound: float | None) -> Schedule:
        assert run.best is not None, "there is an incumbent"
        return checked_schedule(
            problem, scheduler, run.best.placement, run.best.order, target=target, max_transitions=max_transitions,
            bound=bound, solve_s=monotonic() - began, incumbents=incumbents,
        )  # fmt: skip

    try:
        for found in run.improve(_starts(problem, start, deadline)):
            seconds = monotonic() - began
            incumbents.append((seconds, sign * found.cost))
            yield Incumbent(seconds, schedule(None))
    except KeyboardInterrupt:
        if not incumbents:
            raise
    yield Incumbent(incumbents[-1][0], schedule(sign * run.bound))


def _starts(problem: Problem, start: Sequence[Schedule], deadline: float) -> Iterator[tuple[Placement, Order] | None]:
    """What the search begins from, made one at a time so that the first is there at once; None where there is none."""
    for given in start:
        if given.placement is not None and given.order is not None:
            yield check(problem, given.placement, given.order, None, f"the {given.scheduler} schedule to start from")
    if start:
        return
    try:
        yield serial(problem)
    except Infeasible:
        yield None
    with suppress(Infeasible):
        now = monotonic()
        yield naive(problem, now + NAIVE_SHARE * max(0.0, deadline - now))[:2]
    steps = sum(len(problem.costs(i).groups) for i in range(len(problem.instances))) * len(problem.accelerators)
    if steps <= MOST_STEPS_FOR_H2H:
        yield h2h(problem)
