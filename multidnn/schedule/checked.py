"""From what a scheduler found to a schedule: checked by name, evaluated by the simulator, explained."""

import math
from collections.abc import Sequence

from multidnn.errors import InputError
from multidnn.schedule.explanation import explained
from multidnn.schedule.problem import Problem
from multidnn.schedule.schedule import Schedule, check, named_order, named_placement, predicted, status_of
from multidnn.schedule.timeline import Order, Placement, simulate


def checked_schedule(
    problem: Problem,
    scheduler: str,
    placement: Placement,
    order: Order,
    *,
    target: str = "",
    max_transitions: int | None = None,
    bound: float | None = None,
    solve_s: float = 0.0,
    incumbents: Sequence[tuple[float, float]] = (),
    extra: dict[str, object] | None = None,
) -> Schedule:
    """Whatever found it, what is written is what the simulator says of the checked names.

    Args:
        problem: what it is a schedule of.
        scheduler: the name written into it.
        placement: accelerator of each group, by index.
        order: turns of each accelerator, by index.
        target: the name written into it.
        max_transitions: the limit that the placement must keep, None for none.
        bound: proved, in the unit of the value; None or infinite if nothing is proved.
        solve_s: seconds it took.
        incumbents: seconds and value of each better schedule on the way.
        extra: further keys of its file.

    Raises:
        InputError: its value is not finite.
    """
    names = named_placement(problem, placement), named_order(problem, order)
    timeline = simulate(problem, *check(problem, *names, max_transitions, scheduler))
    objective = problem.workload.objective
    value = timeline.value(objective)
    if not math.isfinite(value):
        if min(timeline.finish_ms.values()) == 0:
            found = "an instance takes no time at all, so its throughput is not defined"
        else:
            found = f"its {objective} is {value}, which no real times give; look for a mistake in the tables"
        raise InputError(f"workload {problem.workload.name}: {found}")
    schedule = Schedule(
        workload=problem.workload.name,
        target=target,
        scheduler=scheduler,
        objective=objective,
        max_transitions=max_transitions,
        status=status_of(value, bound),
        value=value,
        bound=bound if bound is None or math.isfinite(bound) else None,
        predicted=predicted(timeline),
        placement=names[0],
        order=names[1],
        solve_s=solve_s,
        incumbents=tuple(incumbents),
        extra=extra,
    )
    return explained(problem, schedule)
