"""The best order of placed instances, by branch and bound along the timeline.

The search follows the timeline (`timeline`) and splits wherever an accelerator is free and one of its segments could
start: once for each instance whose segment may be next there, also one that is not ready yet, so that every total order
that does not deadlock is one path. A path is cut when a lower bound on its cost (`bounds`) reaches the cutoff. Of
instances that could trade places unnoticed, only the first is tried.
"""

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.bounds import bound
from multidnn.schedule.compiled.costs import below, final_cost
from multidnn.schedule.compiled.jit import inlined, lean
from multidnn.schedule.compiled.packing import Prices, Tables, Work
from multidnn.schedule.compiled.timeline import advance, begin, end_steps, is_ready, reset, zero_left


@inlined
def copies_are_even(tables: Tables, work: Work, d: int, groups: NDArray[np.int8], i: int) -> bool:
    """Whether an earlier twin of `i`, placed alike, is exactly as far, so that trying it is enough."""
    for j in range(i):
        if tables.twins[i] != tables.twins[j]:
            continue
        if work.step[d, i] != work.step[d, j] or work.left[d, i] != work.left[d, j]:
            continue
        if work.running[d, i] == 1 or work.running[d, j] == 1:
            continue
        alike = True
        for g in range(tables.groups[i]):
            if groups[i, g] != groups[j, g]:
                alike = False
                break
        if not alike:
            continue
        for a in range(work.wanted.shape[1]):
            if work.wanted[d, a] == i or work.wanted[d, a] == j:
                alike = False
        if alike:
            return True
    return False


@inlined
def start_segments(tables: Tables, work: Work, d: int, groups: NDArray[np.int8]) -> bool:
    """Start what is certain; True if the path splits, with the choices of one accelerator listed at depth `d`."""
    n, accelerators = work.load.shape
    for a in range(accelerators):
        if work.holder[d, a] >= 0:
            continue
        wanted = work.wanted[d, a]
        if wanted >= 0:
            if is_ready(tables, work, d, wanted, a):
                begin(work, d, wanted, a)
            continue
        ready = 0
        for i in range(n):
            if is_ready(tables, work, d, i, a) and not copies_are_even(tables, work, d, groups, i):
                # a good order early cuts more: for latency the longest rest first, for throughput the shortest
                rest = work.tail[i, work.step[d, i]]
                k = ready
                while k > 0:
                    other = work.tail[work.choice[d, k - 1], work.step[d, work.choice[d, k - 1]]]
                    if (other >= rest) if tables.latency == 1 else (other <= rest):
                        break
                    work.choice[d, k] = work.choice[d, k - 1]
                    k -= 1
                work.choice[d, k] = i
                work.ready[d, ready] = 1
                ready += 1
        if ready == 0:
            continue
        count = ready
        for i in range(n):
            begun = work.segment[d, i] + work.running[d, i]
            if (
                work.future[i, begun] >> a & 1
                and not is_ready(tables, work, d, i, a)
                and not copies_are_even(tables, work, d, groups, i)
            ):
                work.choice[d, count] = i
                work.ready[d, count] = 0
                count += 1
        if count == 1:
            begin(work, d, work.choice[d, 0], a)
            continue
        work.choices[d] = count
        work.tried[d] = 0
        work.where[d] = a
        return True
    return False


@inlined
def descend(work: Work, d: int) -> None:
    """Copy state `d` to the next depth."""
    n, accelerators = work.load.shape
    work.now[d + 1] = work.now[d]
    for i in range(n):
        work.left[d + 1, i] = work.left[d, i]
        work.finish[d + 1, i] = work.finish[d, i]
        work.step[d + 1, i] = work.step[d, i]
        work.segment[d + 1, i] = work.segment[d, i]
        work.running[d + 1, i] = work.running[d, i]
    for a in range(accelerators):
        work.rest[d + 1, a] = work.rest[d, a]
        work.holder[d + 1, a] = work.holder[d, a]
        work.wanted[d + 1, a] = work.wanted[d, a]
        work.count[d + 1, a] = work.count[d, a]


@lean
def best_order(
    tables: Tables, prices: Prices, work: Work, groups: NDArray[np.int8], cutoff: float, budget: int
) -> tuple[float, int, bool]:
    """The best order of the placed instances if its cost is below `cutoff`.

    Args:
        tables: the problem.
        prices: lower bounds on what is left.
        work: memory, with every instance placed by `place`.
        groups: [n, G] as given to `place`.
        cutoff: only better costs count; with infinity the first order is found whatever the budget.
        budget: states to visit at most.

    Returns:
        The least cost found, or `cutoff`; the states visited; whether the search is through. If the cost is below
        `cutoff`, `work.best_turn` and `work.best_count` hold its turns.
    """
    n, accelerators = work.load.shape
    reset(tables, work)
    nodes = 0
    d = int(0)
    entering = True
    while d >= 0:
        if entering:
            nodes += 1
            if nodes > budget and cutoff < np.inf:
                return cutoff, nodes, False
            entering = False
            check = True
            while True:
                if end_steps(work, d):
                    check = True
                split = start_segments(tables, work, d, groups)
                if not split and zero_left(work, d):
                    continue
                if split or check:
                    work.least[d] = bound(tables, prices, work, d)
                    if work.least[d] >= below(cutoff):
                        split = False
                        break
                if split:
                    break
                check = False
                if not advance(tables, work, d):
                    finished = True
                    for i in range(n):
                        if work.finish[d, i] < 0.0:
                            finished = False
                    if finished:
                        cost = final_cost(tables, work, d)
                        if cost < below(cutoff) or cutoff == np.inf:
                            cutoff = cost
                            for a in range(accelerators):
                                work.best_count[a] = work.count[d, a]
                                for k in range(work.count[d, a]):
                                    work.best_turn[a, k] = work.turn[a, k]
                    break
            if not split:
                d -= 1
                continue
        # an order found meanwhile may have settled the other choices
        if work.tried[d] == work.choices[d] or work.least[d] >= below(cutoff):
            d -= 1
            continue
        k = work.tried[d]
        work.tried[d] += 1
        descend(work, d)
        i, a = work.choice[d, k], work.where[d]
        work.wanted[d + 1, a] = i
        if work.ready[d, k] == 1:
            begin(work, d + 1, i, a)
        d += 1
        entering = True
    return cutoff, nodes, True
