"""h2h: where each group finishes first, then group by group towards its neighbours where that saves transitions.

Source: Zhang et al., "H2H: Heterogeneous Model to Heterogeneous System Mapping with Computation and Communication
Awareness", DAC 2022 (arXiv 2204.13852), in outline (docs/paper.md says what was at hand):

1. computation first: the layers that all their predecessors have been mapped for go to the accelerators where they
   finish first, communication left out;
2. weights are kept in the memory of the accelerator that uses them;
3. a tensor between layers on one accelerator stays there, so from here on only the others are paid for;
4. remapping: a layer is tried on the accelerators of its neighbours and moves if the latency of the whole system
   falls; repeated until nothing moves.

It knows standalone times, transitions, dependence, waiting for an accelerator and which groups it supports. It ignores
contention.

What differs here: step 2 has no counterpart, since the accelerators of our targets have no memory of their own to
choose weights for; step 3 is how transitions are counted anyway. In step 1 the instances take turns in the workload's
order. The latency of step 4 is that of serving segments first come, first served, which is also the order returned.
`throughput` changes nothing: it is the latency that H2H judges.
"""

from multidnn.schedule.problem import Problem
from multidnn.schedule.queues import first_come, supported, time_ms
from multidnn.schedule.timeline import Order, Placement

GAIN = 1e-9
"""The share by which a remapping must lower the latency, so that rounding moves nothing."""


def h2h(problem: Problem) -> tuple[Placement, Order]:
    """Return the placement and order; they always exist, since every group has an accelerator."""
    placement = remapped(problem, computation_first(problem))
    return placement, first_come(problem, placement)[0]


def computation_first(problem: Problem) -> Placement:
    """Step 1: each group where it finishes first, transitions left out; ties go to the first accelerator listed."""
    waits = problem.workload.predecessors()
    groups = [len(problem.costs(i).groups) for i in range(len(waits))]
    placed: list[list[int]] = [[] for _ in groups]
    free = [0.0] * len(problem.accelerators)
    ready = [0.0] * len(groups)

    def unmapped(i: int) -> bool:
        return len(placed[i]) < groups[i]

    while any(map(unmapped, range(len(groups)))):
        frontier = [i for i in range(len(groups)) if unmapped(i) and not any(map(unmapped, waits[i]))]
        for i in frontier:
            start = max([ready[i], *(ready[j] for j in waits[i])])
            ends = {
                a: max(start, free[a]) + time_ms(problem, i, len(placed[i]), a)
                for a in supported(problem, i, len(placed[i]))
            }
            chosen = min(ends, key=ends.__getitem__)
            free[chosen] = ready[i] = ends[chosen]
            placed[i].append(chosen)
    return tuple(map(tuple, placed))


def remapped(problem: Problem, placement: Placement) -> Placement:
    """Step 4: move single groups to a neighbour's accelerator as long as the latency falls; never worse than before."""
    latency = max(first_come(problem, placement)[1])
    moving = True
    while moving:
        moving = False
        for i in range(len(placement)):
            for group in range(len(placement[i])):
                for a in _neighbours(problem, placement, i, group):
                    trial = _with(placement, i, group, a)
                    reached = max(first_come(problem, trial)[1])
                    if reached < latency * (1 - GAIN):
                        placement, latency, moving = trial, reached, True
    return placement


def _neighbours(problem: Problem, placement: Placement, instance: int, group: int) -> list[int]:
    """Where the groups before and after are, if that is elsewhere and supports the group."""
    groups = placement[instance]
    beside = dict.fromkeys([*groups[max(group - 1, 0) : group], *groups[group + 1 : group + 2]])
    return [a for a in beside if a != groups[group] and a in supported(problem, instance, group)]


def _with(placement: Placement, instance: int, group: int, accelerator: int) -> Placement:
    groups = placement[instance]
    changed = (*groups[:group], accelerator, *groups[group + 1 :])
    return (*placement[:instance], changed, *placement[instance + 1 :])
