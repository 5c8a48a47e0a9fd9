"""naive: each instance whole on one accelerator, the best assignment and order by the simulator (GPU & DLA).

Source: HaX-CoNN, the baseline "GPU & DLA", which runs whole networks on different accelerators. It knows the
standalone times, `after`, and contention as the simulator computes it; it never moves a network between groups.

Branch and bound over assignments, most promising first: a partial one is cut when its chains and loads alone cannot
beat the best schedule so far, a whole one goes to the order search. Of instances that could trade places, one
assignment stands for all. With many different instances the orders alone can be too many; then the deadline ends
the search with the best so far.
"""

import math
from heapq import heappop, heappush
from time import monotonic

from multidnn.schedule.costs import below
from multidnn.schedule.orders import HURRIED_NODES, OrderSearch
from multidnn.schedule.patterns import Pattern, pattern_of
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.timeline import Order, Placement


def naive(problem: Problem, deadline: float = math.inf) -> tuple[Placement, Order, bool]:
    """Return the placement, the order, and whether they are proved best: False when `deadline` came first.

    Args:
        problem: workload and costs.
        deadline: in seconds of `time.monotonic`.

    Raises:
        Infeasible: some instance fits whole on no accelerator.
    """
    choices = [_choices(problem, i) for i in range(len(problem.instances))]
    # the longest first: they decide most
    sequence = sorted(range(len(choices)), key=lambda i: -min(pattern.chain for pattern in choices[i]))
    search = OrderSearch(problem, deadline)
    # a short look at every assignment finds good ones early; those it leaves open come again
    search.budget = HURRIED_NODES
    found = _greedy(search, choices, sequence)
    best = search.best(found, math.inf)
    assert best is not None, "without a cutoff some order is found"
    open_: list[tuple[float, list[Pattern]]] = []
    twins = problem.workload.twins()
    # (bound, how many are not placed yet, placed so far in `sequence`)
    waiting: list[tuple[float, int, tuple[int, ...]]] = [(-math.inf, len(sequence), ())]
    settled = True
    while waiting:
        bound, missing, taken = heappop(waiting)
        if bound >= below(best[0]):
            break
        if monotonic() > deadline:
            settled = False
            break
        if not missing:
            chosen = _chosen(choices, sequence, taken)
            better = search.best(chosen, best[0])
            if not search.settled:
                open_.append((bound, chosen))
            if better is not None:
                best, found = better, chosen
            continue
        i = sequence[len(taken)]
        earlier = [taken[k] for k, j in enumerate(sequence[: len(taken)]) if twins[j] == twins[i]]
        for choice in range(max(earlier, default=0), len(choices[i])):
            longer = (*taken, choice)
            heappush(waiting, (search.lower_bound(_chosen(choices, sequence, longer)), missing - 1, longer))
    search.budget = math.inf
    for bound, chosen in open_:
        if bound >= below(best[0]):
            break
        better = search.best(chosen, best[0])
        if better is not None:
            best, found = better, chosen
        if not search.settled:
            settled = False
            break
    return tuple(pattern.groups for pattern in found), best[1], settled


def _choices(problem: Problem, instance: int) -> list[Pattern]:
    """The instance whole on each accelerator that supports all of it."""
    costs = problem.costs(instance)
    count = len(problem.accelerators)
    fits = [a for a in range(count) if all(group[a] is not None for group in costs.groups)]
    if not fits:
        raise Infeasible(f"no accelerator supports every group of {problem.instances[instance]}")
    return [pattern_of(costs, (a,) * len(costs.groups), count) for a in fits]


def _greedy(search: OrderSearch, choices: list[list[Pattern]], sequence: list[int]) -> list[Pattern]:
    """Each instance in `sequence` where the bound grows least."""
    taken: tuple[int, ...] = ()
    for i in sequence:
        bounds = [search.lower_bound(_chosen(choices, sequence, (*taken, choice))) for choice in range(len(choices[i]))]
        taken = (*taken, bounds.index(min(bounds)))
    return _chosen(choices, sequence, taken)


def _chosen(choices: list[list[Pattern]], sequence: list[int], taken: tuple[int, ...]) -> list[Pattern]:
    """The patterns taken; an instance not placed yet counts with its shortest time and loads nothing."""
    chosen = [_unplaced(options) for options in choices]
    for i, choice in zip(sequence, taken, strict=False):
        chosen[i] = choices[i][choice]
    return chosen


def _unplaced(options: list[Pattern]) -> Pattern:
    shortest = min(options, key=lambda pattern: pattern.chain)
    return Pattern(
        shortest.groups, shortest.segments, shortest.steps, shortest.ends, (0.0,) * len(shortest.load), shortest.chain
    )
