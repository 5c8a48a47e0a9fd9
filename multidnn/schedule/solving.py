"""The one entrance to the schedulers: by name, with a time limit, to a schedule that the simulator has checked."""

from collections.abc import Callable, Collection
from time import monotonic

from multidnn.errors import InputError, suggestion
from multidnn.schedule.checked import checked_schedule
from multidnn.schedule.h2h import h2h
from multidnn.schedule.herald import herald
from multidnn.schedule.mensa import mensa
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.serial import serial
from multidnn.schedule.timeline import Order, Placement, simulate

SCHEDULERS = ("serial", "naive", "mensa", "herald", "h2h", "haxconn", "exhaustive", "dynamic")
"""What `solve` accepts."""

SEARCHED = ("haxconn", "dynamic")
"""Those that search with `anytime.improve`; alone they can leave placements out."""

_DIRECT: dict[str, Callable[[Problem], tuple[Placement, Order]]] = {
    "serial": serial,
    "mensa": mensa,
    "herald": herald,
    "h2h": h2h,
}
"""Those that follow a rule to one schedule; nothing to stop, nothing to prove."""

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
        scheduler: one of `SCHEDULERS`. dynamic is the search of haxconn under another name: what a running workload
            takes up while it goes on (`anytime.improve`, `runtime.dynamic`).
        target: the name written into the schedule.
        max_transitions: changes of accelerator allowed per instance (None: any number); binds haxconn, exhaustive
            and dynamic only.
        time_limit_s: haxconn, exhaustive, dynamic and naive stop here with the best so far, status "feasible"; naive
            then says so under the key ``stopped`` of its file. What compiling takes, once per installation, and
            loading what is compiled does not count.
        on_incumbent: see `Report`.
        exclude: placements by index that haxconn must not return; the bound holds for the others.

    Raises:
        Infeasible: no schedule of this kind exists; the message is the reason.
        InputError: the scheduler is unknown, or nothing was found within the time limit.
    """
    require_scheduler(scheduler)
    if scheduler in SEARCHED:
        return _search(problem, scheduler, target, max_transitions, time_limit_s, on_incumbent, exclude)
    if exclude:
        raise ValueError(f"only {' and '.join(SEARCHED)} can exclude placements, found {scheduler}")
    if scheduler in _DIRECT:
        return _direct(problem, scheduler, target, on_incumbent)
    if scheduler == "naive":
        return _naive(problem, target, time_limit_s, on_incumbent)
    return _exhaustive(problem, target, max_transitions, time_limit_s, on_incumbent)


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


def _search(
    problem: Problem,
    scheduler: str,
    target: str,
    max_transitions: int | None,
    time_limit_s: float,
    on_incumbent: Report | None,
    exclude: Collection[Placement],
) -> Schedule:
    from multidnn.schedule.anytime import improve

    known = 0
    last: Schedule | None = None
    for found in improve(
        problem,
        scheduler=scheduler,
        target=target,
        max_transitions=max_transitions,
        time_limit_s=time_limit_s,
        exclude=exclude,
    ):
        last = found.schedule
        # the final one repeats the best, with its bound
        if on_incumbent is not None and len(last.incumbents) > known:
            on_incumbent(*last.incumbents[-1])
        known = len(last.incumbents)
    assert last is not None, "there is a schedule or an error"
    return last


def _direct(problem: Problem, scheduler: str, target: str, on_incumbent: Report | None) -> Schedule:
    started = monotonic()
    placement, order = _DIRECT[scheduler](problem)
    return _one(problem, scheduler, placement, order, target, started, on_incumbent)


def _naive(problem: Problem, target: str, time_limit_s: float, on_incumbent: Report | None) -> Schedule:
    from multidnn.schedule.compiled.loading import load
    from multidnn.schedule.naive import naive

    load()
    started = monotonic()
    placement, order, settled = naive(problem, started + time_limit_s)
    extra: dict[str, object] | None = (
        None if settled else {"stopped": "by the time limit, with assignments or orders left untried"}
    )
    return _one(problem, "naive", placement, order, target, started, on_incumbent, extra)


def _one(
    problem: Problem,
    scheduler: str,
    placement: Placement,
    order: Order,
    target: str,
    started: float,
    on_incumbent: Report | None,
    extra: dict[str, object] | None = None,
) -> Schedule:
    """The schedule of a scheduler that gives one, in one go."""
    seconds = monotonic() - started
    value = simulate(problem, placement, order).value(problem.workload.objective)
    schedule = checked_schedule(
        problem,
        scheduler,
        placement,
        order,
        target=target,
        solve_s=seconds,
        incumbents=((seconds, value),),
        extra=extra,
    )
    if on_incumbent is not None:
        on_incumbent(seconds, value)
    return schedule


def _exhaustive(
    problem: Problem, target: str, max_transitions: int | None, time_limit_s: float, on_incumbent: Report | None
) -> Schedule:
    from multidnn.schedule.exhaustive import exhaustive

    started = monotonic()
    incumbents: list[tuple[float, float]] = []
    best: list[tuple[float, Placement, Order]] = []

    def found(value: float, placement: Placement, order: Order) -> None:
        best.append((value, placement, order))
        incumbents.append((monotonic() - started, value))
        if on_incumbent is not None:
            on_incumbent(*incumbents[-1])

    complete = exhaustive(problem, max_transitions, found, lambda: monotonic() > started + time_limit_s)
    if not best and complete:
        raise Infeasible(f"an instance needs more than {max_transitions} transitions")
    if not best:
        raise InputError("exhaustive found no schedule within the time limit: raise it, or take haxconn")
    value, placement, order = best[-1]
    return checked_schedule(
        problem, "exhaustive", placement, order, target=target, max_transitions=max_transitions,
        bound=value if complete else None, solve_s=monotonic() - started, incumbents=incumbents,
    )  # fmt: skip
