"""herald: every group on its fastest accelerator as long as the accelerators' loads stay balanced.

Source: Kwon et al., "Heterogeneous Dataflow Accelerators for Multi-DNN Workloads", HPCA 2021 (arXiv 1909.07437), the
layer scheduler of Herald, in outline (docs/paper.md says what was at hand):

1. the layers of all networks in one sequence that respects dependence, depth first (one network after the other) or
   breadth first (the networks take turns);
2. in that sequence, each layer goes to the accelerator that runs it at least cost, unless this unbalances the loads by
   more than a given factor; then the next best is tried;
3. idle time that dependence leaves on an accelerator is filled with later layers that are ready and fit.

It knows standalone times, dependence and which groups an accelerator supports. It ignores what a transition costs and
contention.

What differs here: the cost is the time (Herald also takes energy and the product of both, which our tables lack), and
the accelerators' own memory, which bounds what Herald may run at once, has no counterpart where all share one DRAM.
Sequence and factor are the user's choice in the paper; here all of `FACTORS` are tried with both sequences, and the
shortest schedule by Herald's own model is kept. The imbalance is measured as the largest load less the smallest over
the sum of all loads; where every accelerator exceeds the factor, the one that leaves the least imbalance is taken.
Herald interleaves layers freely; here a segment runs without interruption (docs/semantics.md, rule 3), so segments take
their turns by when Herald starts their first groups. `throughput` changes nothing: it is the makespan that Herald judges.
"""

from bisect import insort

from multidnn.schedule.problem import Problem
from multidnn.schedule.queues import by_start, supported, time_ms
from multidnn.schedule.timeline import Order, Placement

Sequence = list[tuple[int, int]]
"""(instance, group), all groups of the workload, each behind those that it depends on."""

FACTORS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Imbalances allowed: 0 balances whatever it costs, 1 takes the fastest accelerator whatever the loads."""


def herald(problem: Problem) -> tuple[Placement, Order]:
    """Return the placement and order; they always exist, since every group has an accelerator."""
    best: tuple[float, Placement, Order] | None = None
    for sequence in (breadth_first(problem), depth_first(problem)):
        for placement in dict.fromkeys(assign(problem, sequence, factor) for factor in FACTORS):
            starts, makespan = fill(problem, sequence, placement)
            if best is None or makespan < best[0]:
                positions = {entry: (starts[entry], position) for position, entry in enumerate(sequence)}
                best = makespan, placement, by_start(placement, positions, len(problem.accelerators))
    assert best is not None, "there are two sequences"
    return best[1], best[2]


def depth_first(problem: Problem) -> Sequence:
    """All groups of one instance, then all of the next."""
    return [(i, group) for i in problem.workload.sequence() for group in range(len(problem.costs(i).groups))]


def breadth_first(problem: Problem) -> Sequence:
    """One group of every instance in turn; an instance joins once those it waits for are through."""
    waits = problem.workload.predecessors()
    left = [len(problem.costs(i).groups) for i in range(len(waits))]
    sequence: Sequence = []
    while any(left):
        # as the round begins, so that none joins in the round in which what it waits for ends
        taking_turns = [i for i in range(len(left)) if left[i] and not any(left[j] for j in waits[i])]
        for i in taking_turns:
            sequence.append((i, len(problem.costs(i).groups) - left[i]))
            left[i] -= 1
    return sequence


def assign(problem: Problem, sequence: Sequence, factor: float) -> Placement:
    """Step 2: an accelerator for each group in `sequence`; `factor` is the imbalance allowed, 0 to 1."""
    loads = [0.0] * len(problem.accelerators)
    placed = [[-1] * len(problem.costs(i).groups) for i in range(len(problem.instances))]
    for i, group in sequence:
        times = {a: time_ms(problem, i, group, a) for a in supported(problem, i, group)}
        left = {a: _imbalance([*loads[:a], loads[a] + times[a], *loads[a + 1 :]]) for a in times}
        preferred = sorted(times, key=times.__getitem__)
        allowed = [a for a in preferred if left[a] <= factor]
        chosen = allowed[0] if allowed else min(preferred, key=left.__getitem__)
        loads[chosen] += times[chosen]
        placed[i][group] = chosen
    return tuple(map(tuple, placed))


def fill(problem: Problem, sequence: Sequence, placement: Placement) -> tuple[dict[tuple[int, int], float], float]:
    """Steps 1 and 3: start each group in the first idle time that is long enough once what it depends on has ended.

    No group starts later than if each accelerator ran its groups in the order of `sequence`.

    Returns:
        The start of each (instance, group) and the makespan, in ms.
    """
    waits = problem.workload.predecessors()
    busy: list[list[tuple[float, float]]] = [[] for _ in problem.accelerators]
    ends = [0.0] * len(placement)
    starts = {}
    for i, group in sequence:
        a = placement[i][group]
        start = max([ends[i], *(ends[j] for j in waits[i])])
        length = time_ms(problem, i, group, a)
        for begun, ended in busy[a]:
            if start + length <= begun:
                break
            start = max(start, ended)
        insort(busy[a], (start, start + length))
        starts[i, group] = start
        ends[i] = start + length
    return starts, max(ends)


def _imbalance(loads: list[float]) -> float:
    """From 0, all equal, to 1, all on one of several."""
    total = sum(loads)
    return (max(loads) - min(loads)) / total if total > 0 else 0.0
