"""The schedules predicted best, one per placement: what measuring is to choose among, as predictions err by a few percent.

The best of many similar schedules is the one whose prediction errs most in its favour, all the more so the more often they
may move. So there are candidates under every limit of transitions, down to none. haxconn is asked again with the
placements found so far left out. Proofs are of one search each; the list is that of the best placements where every one
of them closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

from multidnn.errors import InputError
from multidnn.schedule.alternative import best_other
from multidnn.schedule.costs import cost_of
from multidnn.schedule.problem import Problem
from multidnn.schedule.schedule import Schedule, check

OF_THE_CHOSEN = ("alternatives", "variants")
"""Keys of a schedule's file that compare it with others, and say nothing of it as one candidate among several."""

FEW = 3
"""Transitions of an instance: with more allowed, or any number, the next limit below is one less than this."""


@dataclass(frozen=True)
class Candidates:
    """Schedules of one workload to choose among, the predicted best first.

    Attributes:
        schedules: by haxconn, with a placement of its own each; `max_transitions`, `bound` and `status` are of the search
            that found it, which left out the placements found before.
        stopped: why there are fewer than asked for; None if there are not.
    """

    schedules: tuple[Schedule, ...]
    stopped: str | None = None


def candidates(problem: Problem, schedule: Schedule, *, count: int, time_limit_s: float) -> Candidates:
    """Return `schedule` and the best ones with other placements: `count` under its own `max_transitions`, and as many of
    those with fewer transitions, for each limit below it (from `FEW` - 1 on) down to 0.

    Placements that differ only by which of several interchangeable instances (`Workload.twins`) has which part count
    as the same.

    Args:
        problem: what `schedule` was made from.
        schedule: haxconn's.
        count: how many schedules that keep to a limit are returned, for each of the limits; `schedule` is the first.
        time_limit_s: for all searches together; what one of them leaves goes to those after it.

    Raises:
        InputError: the schedule does not fit the problem.
        ValueError: it is not one of haxconn.
    """
    if schedule.scheduler != "haxconn" or schedule.placement is None or schedule.order is None:
        raise ValueError(f"candidates begin with a schedule of haxconn, found one of {schedule.scheduler}")
    limits = _limits(schedule.max_transitions)
    extra = {key: value for key, value in (schedule.extra or {}).items() if key not in OF_THE_CHOSEN}
    made = [replace(schedule, extra=extra)]
    placements = [check(problem, schedule.placement, schedule.order, limits[0], schedule.scheduler)[0]]
    deadline, stopped = monotonic() + time_limit_s, None
    for number, limit in enumerate(limits):
        # what was found under a higher limit, and keeps to this one, is what a search under this one would find first
        while (missing := count - sum(_within(one, limit) for one in made)) > 0:
            searches = missing + count * (len(limits) - number - 1)
            try:
                found = best_other(
                    problem,
                    placements,
                    target=schedule.target,
                    max_transitions=limit,
                    time_limit_s=max(0.0, deadline - monotonic()) / searches,
                )
            except InputError as reason:
                stopped = stopped or str(reason)
                break
            assert found.placement is not None, "what is solved is placed"
            assert found.order is not None, "what is solved is placed"
            made.append(found)
            placements.append(check(problem, found.placement, found.order, limit, found.scheduler)[0])
    return Candidates(tuple(sorted(made, key=_cost)), stopped if len(made) < count else None)


def _limits(most: int | None) -> list[int | None]:
    """The limits of transitions that candidates are found under, `most` first."""
    return [most, *range((FEW if most is None else min(most, FEW)) - 1, -1, -1)]


def best_of(of_variants: Sequence[Candidates], count: int) -> Candidates:
    """Return the candidates on all variants of a chip that are among the `count` best under one of the limits that each
    variant's were found under; of equal ones those of the first variant are better."""
    made = sorted((schedule for listed in of_variants for schedule in listed.schedules), key=_cost)
    searched = [schedule.max_transitions for schedule in made]
    most = None if None in searched else max(limit for limit in searched if limit is not None)
    kept = [
        schedule
        for place, schedule in enumerate(made)
        if any(
            _within(schedule, limit) and sum(_within(better, limit) for better in made[:place]) < count
            for limit in _limits(most)
        )
    ]
    reasons = dict.fromkeys(listed.stopped for listed in of_variants if listed.stopped is not None)
    return Candidates(tuple(kept), "; ".join(reasons) if len(made) < count else None)


def joined(found: Candidates, others: Sequence[Schedule]) -> list[Schedule]:
    """Return the candidates and those of `others` that are not among them (same order of the same segments), the
    predicted best first; of equal ones the candidates."""
    made = list(found.schedules)
    for schedule in others:
        if all(schedule.order != one.order for one in made):
            made.append(schedule)
    return sorted(made, key=_cost)


def _within(schedule: Schedule, limit: int | None) -> bool:
    return limit is None or schedule.transitions <= limit


def _cost(schedule: Schedule) -> float:
    assert schedule.value is not None, "placed schedules are predicted"
    return cost_of(schedule.objective, schedule.value)
