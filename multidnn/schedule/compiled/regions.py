"""Compiled search over placements: every combination of the listed patterns of all instances, cut by bounds.

Bounds on a combination are sums over its instances: of the worth of their work in dual prices (`lp`), of their loads per
accelerator; and the chains through `after`. What passes goes to `orders.best_order`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.bounds import combination_cost
from multidnn.schedule.compiled.costs import below
from multidnn.schedule.compiled.jit import lean
from multidnn.schedule.compiled.orders import best_order
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, Work
from multidnn.schedule.compiled.patterns import Patterns, is_excluded
from multidnn.schedule.compiled.timeline import place

COMBINATIONS_PER_NODE = 32
"""Combinations looked at that count as much as one state of a timeline against the budget."""


class Levels(NamedTuple):
    """Memory of `search_region`; one level per instance chosen, and one behind the last.

    Attributes:
        groups: [n, G] the patterns chosen.
        rest_key, rest_load, rest_worth: [n + 1], [n + 1, A], [n + 1, m] what the instances not chosen yet add at least.
        keys, loads, worths: the same of those chosen.
        chains, least_chain: [n] of the pattern chosen, or of the shortest; always of the shortest.
        total_load, total_worth: [A], [m] scratch.
        at: [n] the member to try next.
        chosen: [n] index into the patterns.
    """

    groups: NDArray[np.int8]
    rest_key: Floats
    rest_load: Floats
    rest_worth: Floats
    keys: Floats
    loads: Floats
    worths: Floats
    chains: Floats
    least_chain: Floats
    total_load: Floats
    total_worth: Floats
    at: Ints
    chosen: Ints


def search_region(
    tables: Tables,
    prices: Prices,
    work: Work,
    patterns: Patterns,
    members: Ints,
    starts: Ints,
    level: Ints,
    excluded: NDArray[np.int8],
    cutoff: float,
    budget: int,
    best: NDArray[np.int8],
    through: Ints,
) -> tuple[float, int, bool]:
    """Find the best schedule among combinations of patterns if its cost is below `cutoff`.

    Args:
        tables: the problem.
        prices: as for `patterns`.
        work: memory.
        patterns: the patterns.
        members: the region: indices into `patterns`, ascending, of instance i at starts[i]:starts[i + 1].
        starts: [n + 1].
        level: [n] instances in the order in which they are chosen.
        excluded: [k, n, G] placements to leave out.
        cutoff: only better costs count.
        budget: states to visit at most, combinations counting for a part of one.
        best: [n, G] receives the placement found.
        through: [1] receives how many members of the instance chosen first are settled with all the others'.

    Returns:
        The least cost found, or `cutoff`; the states visited; whether every combination is settled. If the cost is
        below `cutoff`, `work.best_turn` and `work.best_count` hold the turns.
    """
    n, accelerators = work.load.shape
    m = len(prices.members)
    levels = Levels(
        np.zeros(best.shape, dtype=np.int8), np.zeros(n + 1), np.zeros((n + 1, accelerators)), np.zeros((n + 1, m)),
        np.zeros(n + 1), np.zeros((n + 1, accelerators)), np.zeros((n + 1, m)), np.zeros(n), np.zeros(n),
        np.zeros(accelerators), np.zeros(m), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64),
    )  # fmt: skip
    found: tuple[float, int, bool] = _search(
        tables, prices, work, patterns, members, starts, level, excluded, cutoff, budget, best, through, levels
    )
    return found


@lean
def _search(
    tables: Tables,
    prices: Prices,
    work: Work,
    patterns: Patterns,
    members: Ints,
    starts: Ints,
    level: Ints,
    excluded: NDArray[np.int8],
    cutoff: float,
    budget: int,
    best: NDArray[np.int8],
    through: Ints,
    levels: Levels,
) -> tuple[float, int, bool]:
    """`search_region`, with its memory."""
    n, accelerators = work.load.shape
    m = len(prices.members)
    groups, chains, least_chain, at, chosen = (
        levels.groups, levels.chains, levels.least_chain, levels.at, levels.chosen,
    )  # fmt: skip
    rest_key, rest_load, rest_worth = levels.rest_key, levels.rest_load, levels.rest_worth
    keys, loads, worths = levels.keys, levels.loads, levels.worths
    total_load, total_worth = levels.total_load, levels.total_worth
    for k in range(n - 1, -1, -1):
        i = level[k]
        if starts[i] == starts[i + 1]:
            through[0] = starts[level[0] + 1] - starts[level[0]]
            return cutoff, 0, True
        key = np.inf
        chain = np.inf
        total_load[:] = np.inf
        total_worth[:] = np.inf
        for x in range(starts[i], starts[i + 1]):
            q = members[x]
            key = min(key, patterns.key[q])
            chain = min(chain, patterns.chain[q])
            for a in range(accelerators):
                total_load[a] = min(total_load[a], patterns.load[q, a])
            for p in range(m):
                total_worth[p] = min(total_worth[p], patterns.worth[p, q])
        rest_key[k] = rest_key[k + 1] + key
        for a in range(accelerators):
            rest_load[k, a] = rest_load[k + 1, a] + total_load[a]
        for p in range(m):
            rest_worth[k, p] = rest_worth[k + 1, p] + total_worth[p]
        least_chain[i] = chain
        chains[i] = chain
    latency = tables.latency == 1
    nodes = 0
    looked = 0
    k = 0
    at[0] = starts[level[0]]
    while k >= 0:
        i = level[k]
        if at[k] == starts[i + 1]:
            chains[i] = least_chain[i]
            k -= 1
            continue
        q = members[at[k]]
        limit = below(cutoff)
        if latency and keys[k] + patterns.key[q] + rest_key[k + 1] >= limit:
            # the later ones have larger keys
            chains[i] = least_chain[i]
            k -= 1
            continue
        at[k] += 1
        looked += 1
        if looked == COMBINATIONS_PER_NODE:
            looked = 0
            nodes += 1
            if nodes > budget:
                through[0] = at[0] - 1 - starts[level[0]]
                return cutoff, nodes, False
        allowed = True
        for a in range(accelerators):
            total_load[a] = loads[k, a] + patterns.load[q, a] + rest_load[k + 1, a]
            if latency and total_load[a] >= limit:
                allowed = False
                break
        if not allowed:
            continue
        for p in range(m):
            total_worth[p] = worths[k, p] + patterns.worth[p, q] + rest_worth[k + 1, p]
            if latency and total_worth[p] >= limit:
                allowed = False
                break
        if not allowed:
            continue
        # of twins, the earlier one takes the pattern that comes first
        for h in range(k):
            j = level[h]
            if tables.twins[i] == tables.twins[j]:
                for g in range(tables.groups[i]):
                    own, other = patterns.groups[q, g], patterns.groups[chosen[h], g]
                    if own != other:
                        if (own < other) == (i > j):
                            allowed = False
                        break
        if not allowed:
            continue
        chains[i] = patterns.chain[q]
        if combination_cost(tables, work, prices, chains, total_load, total_worth) >= limit:
            continue
        chosen[k] = q
        for g in range(tables.groups[i]):
            groups[i, g] = patterns.groups[q, g]
        place(tables, prices, work, i, groups[i])
        if k < n - 1:
            keys[k + 1] = keys[k] + patterns.key[q]
            for a in range(accelerators):
                loads[k + 1, a] = loads[k, a] + patterns.load[q, a]
            for p in range(m):
                worths[k + 1, p] = worths[k, p] + patterns.worth[p, q]
            k += 1
            at[k] = starts[level[k]]
            continue
        if is_excluded(tables, groups, excluded):
            continue
        cost, visited, settled = best_order(tables, prices, work, groups, cutoff, budget - nodes)
        nodes += visited
        if cost < cutoff:
            cutoff = cost
            for j in range(n):
                for g in range(tables.groups[j]):
                    best[j, g] = groups[j, g]
        if not settled:
            through[0] = at[0] - 1 - starts[level[0]]
            return cutoff, nodes, False
    through[0] = starts[level[0] + 1] - starts[level[0]]
    return cutoff, nodes, True
