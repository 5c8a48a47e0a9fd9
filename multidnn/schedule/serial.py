"""serial: all instances one after another on the one accelerator that makes this shortest (the paper's GPU only).

Source: HaX-CoNN, section of the baselines, "GPU only". It knows the standalone times and `after`; it ignores the
other accelerators, so nothing is ever slowed and nothing moves.
"""

import math
from collections.abc import Iterator

from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.timeline import Order, Placement


def serial(problem: Problem) -> tuple[Placement, Order]:
    """Return the placement and order: the accelerator of least total time, and on it the objective's best sequence.

    Raises:
        Infeasible: no accelerator supports every group.
    """
    best: tuple[float, Placement, Order] | None = None
    for accelerator in range(len(problem.accelerators)):
        if missing_group(problem, accelerator) is not None:
            continue
        times = [_time(problem, i, accelerator) for i in range(len(problem.instances))]
        if best is None or sum(times) < best[0]:
            sequence = _best_sequence(problem, times)
            lengths = [len(problem.costs(i).groups) for i in range(len(times))]
            turns = tuple((i, 0, lengths[i] - 1) for i in sequence)
            order = tuple(turns if a == accelerator else () for a in range(len(problem.accelerators)))
            best = sum(times), tuple((accelerator,) * length for length in lengths), order
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
    waits = _with_dominance(problem.workload.predecessors(), times)
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


def _with_dominance(waits: tuple[tuple[int, ...], ...], times: list[float]) -> tuple[tuple[int, ...], ...]:
    """`waits`, and each instance behind the shorter ones that could trade places with it in any sequence.

    Such a trade ends the earlier of the two sooner and what lies between them too, so it never costs throughput.
    """
    every = range(len(waits))
    before = [set(waits[i]) for i in every]
    behind = [{j for j in every if i in waits[j]} for i in every]
    return tuple(
        tuple(
            i
            for i in every
            if i in before[j] or ((times[i], i) < (times[j], j) and before[i] <= before[j] and behind[i] >= behind[j])
        )
        for j in every
    )


def _may_follow(done: frozenset[int], waits: tuple[tuple[int, ...], ...]) -> Iterator[int]:
    return (i for i in range(len(waits)) if i not in done and set(waits[i]) <= done)
