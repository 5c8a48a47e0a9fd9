"""What a schedule becomes when the workload changes: an instance leaves it, or joins it where that delays least."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from multidnn.errors import InputError
from multidnn.schedule.problem import Infeasible, NetworkCosts, Problem
from multidnn.schedule.schedule import NamedOrder, NamedPlacement, Schedule, check, evaluate, predicted
from multidnn.schedule.solving import solve
from multidnn.schedule.timeline import Deadlock, Timeline, segments_of
from multidnn.schedule.workload import Instance

SCHEDULER = "dynamic"
_NAIVE_LIMIT_S = 2.0


def restricted(problem: Problem, instances: Sequence[Instance]) -> Problem:
    """The problem with `instances` alone, in this order, as its workload; their networks must be in `problem`."""
    workload = replace(problem.workload, instances=tuple(instances))
    return replace(problem, workload=workload, networks={name: problem.networks[name] for name in workload.networks})


def first_schedule(problem: Problem, max_transitions: int | None) -> Schedule:
    """The naive schedule; where some instance fits whole nowhere, each instance joined after the other.

    Raises:
        Infeasible: an instance needs more than `max_transitions`.
    """
    for instance in problem.workload.instances:
        require_place(problem, instance, max_transitions)
    try:
        naive = solve(problem, "naive", time_limit_s=_NAIVE_LIMIT_S)
    except Infeasible:
        entries = [problem.workload.instances[i] for i in problem.workload.sequence()]
        schedule = None
        for count in range(1, len(entries) + 1):
            present = restricted(problem, entries[:count])
            schedule = joined(present, schedule, entries[count - 1].name, max_transitions)
        assert schedule is not None, "a workload has an instance"
        return schedule
    assert naive.placement is not None
    assert naive.order is not None
    return _schedule(problem, naive.placement, naive.order, max_transitions)


def given(problem: Problem, schedule: Schedule, max_transitions: int | None) -> Schedule:
    """A placed schedule of any scheduler as one to begin with; `InputError` if it does not fit."""
    if schedule.placement is None or schedule.order is None:
        raise InputError(f"schedule {schedule.scheduler!r} places nothing, so a dynamic run cannot begin with it")
    place = f"schedule {schedule.scheduler!r} of workload {problem.workload.name!r}"
    check(problem, schedule.placement, schedule.order, max_transitions, place)
    return _schedule(problem, schedule.placement, schedule.order, max_transitions)


def left(problem: Problem, schedule: Schedule, name: str, max_transitions: int | None) -> Schedule:
    """`schedule` without the instance `name`, the rest as it was; `problem` is the one without it."""
    assert schedule.placement is not None
    assert schedule.order is not None
    placement = {instance: groups for instance, groups in schedule.placement.items() if instance != name}
    order = {accelerator: [turn for turn in turns if turn[0] != name] for accelerator, turns in schedule.order.items()}
    return _schedule(problem, placement, order, max_transitions)


def joined(problem: Problem, schedule: Schedule | None, name: str, max_transitions: int | None) -> Schedule:
    """`schedule` with the instance `name` added, the rest as it was; `problem` is the one with it.

    The newcomer goes whole on one accelerator, at the position that the simulator likes best. Where none supports all
    of it, it changes as rarely as possible and comes last everywhere.

    Args:
        schedule: of the other instances, none of which waits for `name`; None if there are none.
        max_transitions: at least what `require_place` asks for.
    """
    placement = dict(schedule.placement or {}) if schedule is not None else {}
    order: NamedOrder = {accelerator: [] for accelerator in problem.accelerators}
    if schedule is not None:
        order.update(schedule.order or {})
    costs = problem.costs(problem.instances.index(name))
    best: tuple[float, NamedPlacement, NamedOrder] | None = None
    sign = 1 if problem.workload.objective == "latency" else -1
    for groups, turns in _entrances(problem, costs, order, name):
        placed = {instance: groups if instance == name else placement[instance] for instance in problem.instances}
        try:
            cost = sign * evaluate(problem, placed, turns).value(problem.workload.objective)
        except Deadlock:
            continue
        if best is None or cost < best[0]:
            best = cost, placed, turns
    assert best is not None, "nobody waits for the newcomer, so last everywhere is always possible"
    return _schedule(problem, best[1], best[2], max_transitions)


def _entrances(
    problem: Problem, costs: NetworkCosts, order: NamedOrder, name: str
) -> Iterator[tuple[list[str], NamedOrder]]:
    """Yield the newcomer's accelerators, and all turns with its own among them."""
    last = len(costs.groups) - 1
    whole = [
        accelerator
        for a, accelerator in enumerate(problem.accelerators)
        if all(group[a] is not None for group in costs.groups)
    ]
    for accelerator in whole:
        for position in range(len(order[accelerator]) + 1):
            turns = list(order[accelerator])
            turns.insert(position, [name, 0, last])
            yield [accelerator] * (last + 1), {**order, accelerator: turns}
    if whole:
        return
    path = _fewest_transitions(costs)
    longer = {accelerator: list(turns) for accelerator, turns in order.items()}
    for first, final in segments_of(path):
        longer[problem.accelerators[path[first]]].append([name, first, final])
    yield [problem.accelerators[a] for a in path], longer


def require_place(problem: Problem, instance: Instance, max_transitions: int | None) -> None:
    """Raise `Infeasible` if no placement of `instance` changes accelerators at most `max_transitions` times."""
    needed = len(segments_of(_fewest_transitions(problem.networks[instance.network]))) - 1
    if max_transitions is not None and needed > max_transitions:
        raise Infeasible(f"{instance.name} needs {needed} transitions, at most {max_transitions} are allowed")


def _fewest_transitions(costs: NetworkCosts) -> list[int]:
    """Always on to the accelerator that supports the most groups from here on."""
    path: list[int] = []
    while len(path) < len(costs.groups):
        reach = [_reach(costs, a, len(path)) for a in range(len(costs.groups[0]))]
        farthest = max(reach)
        path += [reach.index(farthest)] * (farthest - len(path))
    return path


def _reach(costs: NetworkCosts, accelerator: int, group: int) -> int:
    """The first group from `group` on that `accelerator` does not support."""
    while group < len(costs.groups) and costs.groups[group][accelerator] is not None:
        group += 1
    return group


def _schedule(problem: Problem, placement: NamedPlacement, order: NamedOrder, max_transitions: int | None) -> Schedule:
    timeline: Timeline = evaluate(problem, placement, order)
    return Schedule(
        workload=problem.workload.name,
        target="",
        scheduler=SCHEDULER,
        objective=problem.workload.objective,
        max_transitions=max_transitions,
        status="feasible",
        value=timeline.value(problem.workload.objective),
        bound=None,
        predicted=predicted(timeline),
        placement=placement,
        order=order,
    )


def instance_of(instances: Sequence[Instance], name: str) -> Instance:
    """The instance called `name`; `InputError` lists those there are."""
    for instance in instances:
        if instance.name == name:
            return instance
    raise InputError(f"unknown instance {name!r}; known: {', '.join(instance.name for instance in instances)}")
