"""Asks what else a schedule could have been: the best other placement, no transition at all, and one transition more."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations, product
from typing import Any, TypedDict

from multidnn.errors import InputError
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.schedule import NamedPlacement, Schedule, check, status_of
from multidnn.schedule.solving import SEARCHED, solve
from multidnn.schedule.timeline import Placement
from multidnn.schedule.workload import Workload

SHARE = 1 / 3
"""Of the time limit, for each of the three questions."""

MOST_EQUAL = 5040
"""Of equal placements that are told to the solver, those of seven interchangeable instances."""


class Alternative(TypedDict):
    """The best schedule under another condition; `value` and `bound` in ms for latency, 1/s for throughput.

    `better_pct` is how much better than the chosen schedule it is, in percent of the chosen one's value (negative:
    worse; None where that value is 0). With status "feasible" a schedule up to `bound` may exist.
    """

    max_transitions: int | None
    value: float
    bound: float | None
    status: str
    better_pct: float | None
    placement: NamedPlacement
    solve_s: float


class Absent(TypedDict):
    """No such schedule, and why."""

    absent: str


class Alternatives(TypedDict):
    """Each question with its own answer and status; None where it does not arise.

    `second` is the best schedule with another placement, `no_transitions` the best one without a transition,
    `one_more` the best one with one transition more per instance; `time_limit_s` is what each was given.
    """

    time_limit_s: float
    second: Alternative | Absent
    no_transitions: Alternative | Absent | None
    one_more: Alternative | Absent | None


def alternatives(problem: Problem, schedule: Schedule, *, time_limit_s: float) -> Alternatives:
    """Solve again, around the chosen `schedule` of haxconn or dynamic, under its own `max_transitions`.

    Placements that differ only by which of several interchangeable instances (`Workload.twins`) has which part count
    as the same.

    Args:
        problem: what `schedule` was made from.
        schedule: the chosen one.
        time_limit_s: the limit it was made with; each of the three searches takes at most `SHARE` of it.

    Raises:
        InputError: the schedule does not fit the problem.
        ValueError: it is not a schedule of `SEARCHED`.
    """
    if schedule.scheduler not in SEARCHED or schedule.placement is None or schedule.order is None:
        raise ValueError(f"alternatives are asked of {' and '.join(SEARCHED)} only, found {schedule.scheduler}")
    limit = schedule.max_transitions
    share = SHARE * time_limit_s
    placement, _ = check(problem, schedule.placement, schedule.order, limit, schedule.scheduler)
    most = max(len(groups) for groups in placement) - 1
    return {
        "time_limit_s": share,
        "second": _second(problem, schedule, placement, share),
        "no_transitions": None if limit == 0 or most == 0 else _under(problem, schedule, 0, share),
        "one_more": None if limit is None or limit >= most else _under(problem, schedule, limit + 1, share),
    }


def with_alternatives(problem: Problem, schedule: Schedule, *, time_limit_s: float) -> Schedule:
    """The schedule with its alternatives, under the key ``alternatives`` of its file."""
    found = alternatives(problem, schedule, time_limit_s=time_limit_s)
    return replace(schedule, extra={**(schedule.extra or {}), "alternatives": found})


def equal_placements(workload: Workload, placement: Placement) -> list[Placement]:
    """`placement` and what permuting its interchangeable instances makes of it.

    Raises:
        InputError: they are more than `MOST_EQUAL`.
    """
    members: dict[int, list[int]] = {}
    for i, first in enumerate(workload.twins()):
        members.setdefault(first, []).append(i)
    count = math.prod(_arrangements([placement[i] for i in twins]) for twins in members.values())
    if count > MOST_EQUAL:
        raise InputError(f"{count} placements equal the chosen one but for interchangeable instances")
    equal = []
    for dealt in product(*(sorted(set(permutations(placement[i] for i in twins))) for twins in members.values())):
        by_instance = {
            i: groups
            for twins, parts in zip(members.values(), dealt, strict=True)
            for i, groups in zip(twins, parts, strict=True)
        }
        equal.append(tuple(by_instance[i] for i in range(len(placement))))
    return equal


def _arrangements(parts: Sequence[Any]) -> int:
    return math.factorial(len(parts)) // math.prod(map(math.factorial, Counter(parts).values()))


def best_other(
    problem: Problem,
    found: Iterable[Placement],
    *,
    target: str = "",
    max_transitions: int | None = None,
    time_limit_s: float,
) -> Schedule:
    """The best schedule by haxconn with a placement that is none of `found`, nor equal to one but for interchangeable
    instances; its bound holds for all such schedules.

    Raises:
        InputError: there is no other placement (`Infeasible`), none was found in time, or too many are equal.
    """
    equal = [other for placement in found for other in equal_placements(problem.workload, placement)]
    return solve(
        problem, "haxconn", target=target, max_transitions=max_transitions, time_limit_s=time_limit_s, exclude=equal
    )


def _second(problem: Problem, schedule: Schedule, placement: Placement, share: float) -> Alternative | Absent:
    try:
        found = best_other(problem, [placement], max_transitions=schedule.max_transitions, time_limit_s=share)
    except InputError as error:
        # no other placement, none found in time, or too many equal ones: the reason is the answer
        return {"absent": str(error)}
    return _alternative(schedule, found, bound=schedule.bound)


def _under(problem: Problem, schedule: Schedule, limit: int, share: float) -> Alternative | Absent:
    """The best schedule under another number of transitions, the chosen one included if it keeps to it."""
    try:
        found = solve(problem, "haxconn", max_transitions=limit, time_limit_s=share)
    except Infeasible as reason:
        return {"absent": str(reason)}
    fewer = schedule.max_transitions is None or limit < schedule.max_transitions
    better = min(found, schedule, key=_cost) if schedule.transitions <= limit else found
    return _alternative(
        schedule,
        replace(found, value=better.value, placement=better.placement),
        # what nothing can beat under more transitions, nothing can beat under fewer
        bound=schedule.bound if fewer else None,
    )


def _sign(schedule: Schedule) -> int:
    """Of the objective's value, to make less of it better."""
    return 1 if schedule.objective == "latency" else -1


def _cost(schedule: Schedule) -> float:
    assert schedule.value is not None, "placed schedules are predicted"
    return _sign(schedule) * schedule.value


def _alternative(schedule: Schedule, found: Schedule, bound: float | None) -> Alternative:
    """What `found` is beside the chosen `schedule`; `bound` is a second one that holds for it, None if there is none."""
    assert schedule.value is not None, "placed schedules are predicted"
    assert found.value is not None, "placed schedules are predicted"
    assert found.placement is not None, "what is solved is placed"
    sign = _sign(schedule)
    bounds = [sign * known for known in (found.bound, bound) if known is not None]
    tightest = sign * max(bounds) if bounds else None
    return {
        "max_transitions": found.max_transitions,
        "value": found.value,
        "bound": tightest,
        "status": status_of(found.value, tightest),
        "better_pct": 100 * sign * (schedule.value - found.value) / schedule.value if schedule.value else None,
        "placement": found.placement,
        "solve_s": found.solve_s,
    }
