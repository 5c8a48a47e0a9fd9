"""The one entrance to the schedulers: by name, with a time limit, to a schedule that the simulator has checked."""

import math
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from time import monotonic

from multidnn.errors import InputError, suggestion
from multidnn.schedule.explanation import explained
from multidnn.schedule.h2h import h2h
from multidnn.schedule.herald import herald
from multidnn.schedule.mensa import mensa
from multidnn.schedule.naive import naive
from multidnn.schedule.orders import cost_of
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.schedule import Schedule, check, named_order, named_placement, predicted
from multidnn.schedule.serial import serial
from multidnn.schedule.timeline import Order, Placement, simulate

SCHEDULERS = ("serial", "naive", "mensa", "herald", "h2h", "haxconn", "exhaustive")
"""What `solve` accepts."""

_DIRECT: dict[str, Callable[[Problem], tuple[Placement, Order]]] = {
    "serial": serial,
    "mensa": mensa,
    "herald": herald,
    "h2h": h2h,
}
"""Those that follow a rule to one schedule; nothing to stop, nothing to prove."""

NAIVE_SHARE = 0.25
"""Of haxconn's time, for the naive schedule that it starts from."""

_ON_THE_CHIP = ("whole", "streams")

Report = Callable[[float, float], None]
"""Called at each better schedule with the seconds since the start and its value."""


def solve(
    problem: Problem,
    scheduler: str,
    *,
    target: str = "",
    max_transitions: int | None = None,
    time_limit_s: float = 30.0,
    on_incumbent: Report | None = None,
    exclude: Collection[Placement] = (),
) -> Schedule:
    """Schedule `problem`.

    Args:
        problem: workload and costs; its workload says the objective.
        scheduler: one of `SCHEDULERS`.
        target: the name written into the schedule.
        max_transitions: changes of accelerator allowed per instance (None: any number); binds haxconn and
            exhaustive only.
        time_limit_s: haxconn, exhaustive and naive stop here with the best so far, status "feasible"; naive then
            says so under the key ``stopped`` of its file.
        on_incumbent: see `Report`.
        exclude: placements by index that haxconn must not return; the bound holds for the others.

    Raises:
        Infeasible: no schedule of this kind exists; the message is the reason.
        InputError: the scheduler is unknown, or nothing was found within the time limit.
    """
    require_scheduler(scheduler)
    if exclude and scheduler != "haxconn":
        raise ValueError(f"only haxconn can exclude placements, found {scheduler}")
    started = monotonic()
    objective = problem.workload.objective
    incumbents: list[tuple[float, float]] = []

    def note(value: float) -> None:
        incumbents.append((monotonic() - started, value))
        if on_incumbent is not None:
            on_incumbent(*incumbents[-1])

    bound = None
    limit = None
    settled = True
    if scheduler in _DIRECT or scheduler == "naive":
        if scheduler in _DIRECT:
            placement, order = _DIRECT[scheduler](problem)
        else:
            placement, order, settled = naive(problem, started + time_limit_s)
        note(simulate(problem, placement, order).value(objective))
    else:
        limit = max_transitions
        run = partial(_haxconn, exclude=exclude) if scheduler == "haxconn" else _exhaustive
        placement, order, bound = run(problem, max_transitions, started + time_limit_s, note)
    # whatever found it, what is written is what the simulator says of the checked names
    names = named_placement(problem, placement), named_order(problem, order)
    timeline = simulate(problem, *check(problem, *names, limit, scheduler))
    value = timeline.value(objective)
    if not math.isfinite(value):
        if min(timeline.finish_ms.values()) == 0:
            found = "an instance takes no time at all, so its throughput is not defined"
        else:
            found = f"its {objective} is {value}, which no real times give; look for a mistake in the tables"
        raise InputError(f"workload {problem.workload.name}: {found}")
    proved = bound is not None and abs(value - bound) <= 1e-6 * abs(value)
    schedule = Schedule(
        workload=problem.workload.name,
        target=target,
        scheduler=scheduler,
        objective=objective,
        max_transitions=limit,
        status="optimal" if proved else "feasible",
        value=value,
        bound=bound if bound is None or math.isfinite(bound) else None,
        predicted=predicted(timeline),
        placement=names[0],
        order=names[1],
        solve_s=monotonic() - started,
        incumbents=tuple(incumbents),
        extra=None if settled else {"stopped": "by the time limit, with assignments or orders left untried"},
    )
    return explained(problem, schedule)


def require_scheduler(scheduler: str, *also: str) -> None:
    """Raise an `InputError` that names what is available unless `scheduler` is one of `SCHEDULERS` or of `also`."""
    available = (*SCHEDULERS, *also)
    if scheduler in _ON_THE_CHIP:
        raise InputError(
            f"scheduler {scheduler!r} uses the chip whole and places nothing, so there is nothing to solve; "
            f"available: {', '.join(available)}"
        )
    if scheduler not in available:
        raise InputError(
            f"scheduler {scheduler!r} is not available; available: {', '.join(available)}"
            + suggestion(scheduler, available)
        )


def _haxconn(
    problem: Problem,
    max_transitions: int | None,
    deadline: float,
    note: Callable[[float], None],
    exclude: Collection[Placement],
) -> tuple[Placement, Order, float | None]:
    from multidnn.schedule.haxconn import HaxConn

    sign = cost_of(problem.workload.objective, 1.0)
    run = HaxConn(problem, max_transitions, deadline, lambda found: note(sign * found.cost), exclude)
    starts = []
    with suppress(Infeasible):
        starts.append(serial(problem))
    with suppress(Infeasible):
        now = monotonic()
        starts.append(naive(problem, now + NAIVE_SHARE * (deadline - now))[:2])
    best, bound = run.solve(starts)
    return best.placement, best.order, sign * bound


def _exhaustive(
    problem: Problem, max_transitions: int | None, deadline: float, note: Callable[[float], None]
) -> tuple[Placement, Order, float | None]:
    from multidnn.schedule.exhaustive import exhaustive

    best: list[tuple[float, Placement, Order]] = []

    def found(value: float, placement: Placement, order: Order) -> None:
        best.append((value, placement, order))
        note(value)

    complete = exhaustive(problem, max_transitions, found, lambda: monotonic() > deadline)
    if not best and complete:
        raise Infeasible(f"an instance needs more than {max_transitions} transitions")
    if not best:
        raise InputError("exhaustive found no schedule within the time limit: raise it, or take haxconn")
    value, placement, order = best[-1]
    return placement, order, value if complete else None
