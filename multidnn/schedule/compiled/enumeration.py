"""Every placement and every order through the compiled simulator: the compiled twin of `multidnn.schedule.exhaustive`.

It cuts nothing and shares only the simulator with the searches, so that these can be compared with it. Placements count
up like an odometer, the last group of the last instance fastest. An order is, per accelerator, which instance has each
turn (an instance's segments take its turns in the order of its groups), so the orders of a placement are the distinct
permutations of these, per accelerator.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.costs import below
from multidnn.schedule.compiled.jit import inlined, lean
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, Work
from multidnn.schedule.compiled.timeline import follow, place

LATENCY, THROUGHPUT = 0, 1
"""Places of the objectives in `Progress`."""


class Progress(NamedTuple):
    """How far the enumeration has got and what it has found.

    Attributes:
        groups: [n, G] the placement tried last; -1 in the first group before the first.
        turns: [A, n * G] instances in turn, the order tried last, filled up with -1.
        length: [A] turns of each accelerator.
        tried: [1] orders tried so far, those that deadlock included.
        cost: [2] least cost of either objective, infinity before the first.
        best_groups: [2, n, G] placement of that cost.
        best_turns: [2, A, n * G] order of that cost.
    """

    groups: NDArray[np.int8]
    turns: Ints
    length: Ints
    tried: Ints
    cost: Floats
    best_groups: NDArray[np.int8]
    best_turns: Ints


def begin(tables: Tables) -> Progress:
    """Nothing tried yet."""
    n, longest, accelerators = tables.time.shape
    groups = np.full((n, longest), -1, dtype=np.int8)
    turns = np.full((accelerators, n * longest), -1, dtype=np.int64)
    return Progress(
        groups, turns, np.zeros(accelerators, dtype=np.int64), np.zeros(1, dtype=np.int64), np.full(2, np.inf),
        np.stack([groups, groups]), np.stack([turns, turns]),
    )  # fmt: skip


@inlined
def next_placement(tables: Tables, i: int, limit: int, groups: NDArray[np.int8]) -> bool:
    """Step to the next placement of instance `i` with at most `limit` transitions; after the last, False and all -1."""
    count, accelerators = tables.groups[i], tables.time.shape[2]
    g = count - 1 if groups[0] >= 0 else 0
    while g >= 0:
        groups[g] += 1
        if groups[g] == accelerators:
            groups[g] = -1
            g -= 1
            continue
        transitions = 0
        for h in range(g):
            if groups[h] != groups[h + 1]:
                transitions += 1
        if transitions > limit or tables.time[i, g, groups[g]] == np.inf:
            continue
        if g == count - 1:
            return True
        g += 1
    return False


@inlined
def next_placements(tables: Tables, prices: Prices, work: Work, limit: int, groups: NDArray[np.int8]) -> bool:
    """Step to the next placement [n, G] of all instances and lay it out; False after the last."""
    n = len(groups)
    i = n - 1 if groups[0, 0] >= 0 else 0
    while i >= 0:
        if not next_placement(tables, i, limit, groups[i]):
            i -= 1
            continue
        place(tables, prices, work, i, groups[i])
        if i == n - 1:
            return True
        i += 1
    return False


@inlined
def first_order(work: Work, turns: Ints, length: Ints) -> None:
    """The turns of the placed instances in ascending order of instance."""
    turns[:] = -1
    length[:] = 0
    for i in range(len(work.segments)):
        for s in range(work.segments[i]):
            a = work.on[i, s]
            turns[a, length[a]] = i
            length[a] += 1


@inlined
def next_order(turns: Ints, length: Ints) -> bool:
    """Step to the next order; after the last, False and the first one again."""
    for a in range(len(length)):
        # the next permutation in lexicographic order; a permutation that falls throughout is the last
        k = length[a] - 2
        while k >= 0 and turns[a, k] >= turns[a, k + 1]:
            k -= 1
        if k >= 0:
            other = length[a] - 1
            while turns[a, other] <= turns[a, k]:
                other -= 1
            turns[a, k], turns[a, other] = turns[a, other], turns[a, k]
        low, high = k + 1, length[a] - 1
        while low < high:
            turns[a, low], turns[a, high] = turns[a, high], turns[a, low]
            low += 1
            high -= 1
        if k >= 0:
            return True
    return False


@lean
def try_more(tables: Tables, prices: Prices, work: Work, limit: int, progress: Progress, budget: int) -> bool:
    """Go on with the enumeration.

    Args:
        tables: the problem; which of the objectives is its own does not matter.
        prices: any.
        work: memory that nothing else used since `begin`.
        limit: transitions allowed per instance.
        progress: from `begin`; updated.
        budget: orders to try in this call.

    Returns:
        Whether everything has been tried.
    """
    n, accelerators = work.load.shape
    for _ in range(budget):
        if progress.groups[0, 0] < 0 or not next_order(progress.turns, progress.length):
            if not next_placements(tables, prices, work, limit, progress.groups):
                return True
            first_order(work, progress.turns, progress.length)
        progress.tried[0] += 1
        if not follow(tables, work, progress.turns):
            continue
        makespan = 0.0
        throughput = 0.0
        for i in range(n):
            finish = work.finish[0, i]
            makespan = max(makespan, finish)
            throughput += 1000.0 / finish if finish > 0.0 else np.inf
        for objective in range(2):
            cost = makespan if objective == LATENCY else -throughput
            if cost < below(progress.cost[objective]):
                progress.cost[objective] = cost
                for i in range(n):
                    for g in range(progress.groups.shape[1]):
                        progress.best_groups[objective, i, g] = progress.groups[i, g]
                for a in range(accelerators):
                    for k in range(progress.turns.shape[1]):
                        progress.best_turns[objective, a, k] = progress.turns[a, k]
    return False
