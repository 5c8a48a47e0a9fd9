"""serial: all instances one after another on the one accelerator that makes this best (the paper's GPU only).

Source: HaX-CoNN, section of the baselines, "GPU only". It knows the standalone times and `after`; it ignores the
other accelerators, so nothing is ever slowed and nothing moves.
"""

import math
from collections.abc import Iterator

from multidnn.schedule.orders import cost_of
from multidnn.schedule.problem import Infeasible, Problem, value_of
from multidnn.schedule.timeline import Order, Placement


def serial(problem: Problem) -> tuple[Placement, Order]:
    """Return the placement and order; `Infeasible` if no accelerator supports every group."""
    objective = problem.workload.objective
    best: tuple[float, Placement, Order] | None = None
    for accelerator in range(len(problem.accelerators)):
        if missing_group(problem, accelerator) is not None:
            continue
        times = [_time(problem, i, accelerator) for i in range(len(problem.instances))]
        sequence = _best_sequence(problem, times)
        finish, now = [0.0] * len(times), 0.0
        for i in sequence:
            now += times[i]
            finish[i] = now
        cost = cost_of(objective, value_of(objective, tuple(finish)))
        if best is None or cost < best[0]:
            lengths = [len(problem.costs(i).groups) for i in range(len(times))]
            turns = tuple((i, 0, lengths[i] - 1) for i in sequence)
            order = tuple(turns if a == accelerator else () for a in range(len(problem.accelerators)))
            best = cost, tuple((accelerator,) * length for length in lengths), order
    if best is None:
        lacking = [f"{name}: {missing_group(problem, a)}" for a, name in enumerate(problem.accelerators)]
        raise Infeasible(f"no accelerator supports every group of every instance ({'; '.join(lacking)})")
    return best[1], best[2]


def missing_group(problem: Problem, accelerator: int) -> str | None:
    """The first group of the workload that `accelerator` does not support, in words; None if it supports all."""
    for i, name in enumerate(problem.instances):
        for group, costs in enumerate(problem.costs(i).groups):
            if costs[accelerator] is None:
                return f"not group {group} of {name}"
    return None


def _time(problem: Problem, instance: int, accelerator: int) -> float:
    costs = [group[accelerator] for group in problem.costs(instance).groups]
    return sum(cost.time_ms for cost in costs if cost is not None)


def _best_sequence(problem: Problem, times: list[float]) -> tuple[int, ...]:
    """For latency any sequence is as good; for throughput the best of all that respect `after`."""
    if problem.workload.objective == "latency":
        return problem.workload.sequence()
    # best cost per set of instances already run: the set fixes the time, so only its best sequence matters
    waits = problem.workload.predecessors()
    best: dict[frozenset[int], tuple[float, tuple[int, ...]]] = {frozenset(): (0.0, ())}
    for _ in times:
        longer: dict[frozenset[int], tuple[float, tuple[int, ...]]] = {}
        for done, (gained, sequence) in best.items():
            for i in _may_follow(done, waits):
                finish = sum(times[j] for j in done) + times[i]
                total = gained + (1000 / finish if finish > 0 else math.inf)
                key = done | {i}
                if key not in longer or total > longer[key][0]:
                    longer[key] = total, (*sequence, i)
        best = longer
    return next(iter(best.values()))[1]


def _may_follow(done: frozenset[int], waits: tuple[tuple[int, ...], ...]) -> Iterator[int]:
    return (i for i in range(len(waits)) if i not in done and set(waits[i]) <= done)
