"""Compiled search over placements: every combination of the listed patterns of all instances, cut by bounds.

A pattern is one placement of one instance. Bounds on a combination are sums over its instances: of the worth of
their work in dual prices (`lp`), of their loads per accelerator; and the chains through `after`. What passes
goes to `orders.best_order`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.bounds import orders_cost, subsets_cost
from multidnn.schedule.compiled.costs import below
from multidnn.schedule.compiled.jit import compiled, inlined, lean
from multidnn.schedule.compiled.orders import best_order
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, Work
from multidnn.schedule.compiled.timeline import place

COMBINATIONS_PER_NODE = 32
"""Combinations looked at that count as much as one state of a timeline against the budget."""


class Patterns(NamedTuple):
    """Patterns of all instances, one after another; those of an instance by ascending key.

    Attributes:
        start: [n + 1] where each instance's begin.
        groups: [P, G] accelerator of each group.
        chain: [P] ms alone from start to finish.
        load: [P, A] ms on each accelerator, holds included.
        worth: [m, P] in prices.
        key: [P] a worth that bounds the makespan when summed over the instances.
    """

    start: Ints
    groups: NDArray[np.int8]
    chain: Floats
    load: Floats
    worth: Floats
    key: Floats


@inlined
def measure(tables: Tables, prices: Prices, i: int, groups: NDArray[np.int8], load: Floats, worth: Floats) -> float:
    """Fill load [A] and worth [m] of a pattern of instance `i`; returns its chain."""
    load[:] = 0.0
    worth[:] = 0.0
    chain = 0.0
    for g in range(tables.groups[i]):
        a = groups[g]
        ms = tables.time[i, g, a]
        load[a] += ms
        chain += ms
        for p in range(len(worth)):
            worth[p] += prices.work[p, i, g, a] * ms
        if g > 0 and groups[g - 1] != a:
            b = groups[g - 1]
            out, into = tables.hold_out[i, g - 1, b, a], tables.hold_in[i, g - 1, b, a]
            load[b] += out
            load[a] += into
            chain += out + into
            for p in range(len(worth)):
                worth[p] += prices.hold[p, i, b] * out + prices.hold[p, i, a] * into
    return chain


@compiled
def completions(tables: Tables, prices: Prices, p: int, i: int) -> Floats:
    """Per group and accelerator, the least worth in prices `p` of it and all later groups; ms alone if p is -1."""
    count, accelerators = tables.groups[i], tables.time.shape[2]
    least = np.full((count, accelerators), np.inf)
    for g in range(count - 1, -1, -1):
        for a in range(accelerators):
            if tables.time[i, g, a] == np.inf:
                continue
            ms = tables.time[i, g, a]
            own = ms * (prices.work[p, i, g, a] if p >= 0 else 1.0)
            if g == count - 1:
                least[g, a] = own
                continue
            for b in range(accelerators):
                if least[g + 1, b] == np.inf:
                    continue
                rest = least[g + 1, b]
                if b != a:
                    out, into = tables.hold_out[i, g, a, b], tables.hold_in[i, g, a, b]
                    if p >= 0:
                        rest += prices.hold[p, i, a] * out + prices.hold[p, i, b] * into
                    else:
                        rest += out + into
                least[g, a] = min(least[g, a], own + rest)
    return least


@compiled
def enumerate_patterns(
    tables: Tables, prices: Prices, i: int, limit: int, most_worth: Floats, most_chain: float, most: int
) -> tuple[NDArray[np.int8], int]:
    """Every pattern of instance `i` with at most `limit` transitions that the bounds allow.

    Args:
        tables: the problem.
        prices: m prices.
        i: the instance.
        limit: transitions allowed.
        most_worth: [m] patterns worth this much or more are left out.
        most_chain: patterns with such a chain or a longer one are left out.
        most: the number of patterns to stop after.

    Returns:
        Patterns [count, G] and their number, -1 if there are more than `most`.
    """
    count, accelerators = tables.groups[i], tables.time.shape[2]
    m = len(prices.members)
    least = np.empty((m + 1, count, accelerators))
    for p in range(m + 1):
        least[p] = completions(tables, prices, p if p < m else -1, i)
    found = np.empty((min(most, 1024), tables.time.shape[1]), dtype=np.int8)
    total = 0
    groups = np.full(tables.time.shape[1], -1, dtype=np.int8)
    sums = np.zeros((count + 1, m + 1))
    used = np.zeros(count + 1, dtype=np.int64)
    g = 0
    while g >= 0:
        groups[g] += 1
        a = groups[g]
        if a == accelerators:
            groups[g] = -1
            g -= 1
            continue
        ms = tables.time[i, g, a]
        if ms == np.inf:
            continue
        used[g + 1] = used[g]
        moved = g > 0 and groups[g - 1] != a
        if moved:
            used[g + 1] += 1
            if used[g + 1] > limit:
                continue
        allowed = True
        for p in range(m + 1):
            own = ms * (prices.work[p, i, g, a] if p < m else 1.0)
            value = sums[g, p] + own
            if moved:
                b = groups[g - 1]
                out, into = tables.hold_out[i, g - 1, b, a], tables.hold_in[i, g - 1, b, a]
                value += prices.hold[p, i, b] * out + prices.hold[p, i, a] * into if p < m else out + into
            sums[g + 1, p] = value
            if value - own + least[p, g, a] >= (most_worth[p] if p < m else most_chain):
                allowed = False
                break
        if not allowed:
            continue
        if g < count - 1:
            g += 1
            continue
        if total == most:
            return found[:total], -1
        if total == len(found):
            larger = np.empty((min(most, 4 * total), found.shape[1]), dtype=np.int8)
            larger[:total] = found
            found = larger
        found[total] = groups
        total += 1
    return found[:total], total


@compiled
def measure_all(
    tables: Tables, prices: Prices, i: int, groups: NDArray[np.int8], chain: Floats, load: Floats, worth: Floats
) -> None:
    """`measure` of patterns [k, G] into chain [k], load [k, A] and worth [k, m]."""
    for k in range(len(groups)):
        chain[k] = measure(tables, prices, i, groups[k], load[k], worth[k])


@inlined
def combination_cost(
    tables: Tables, work: Work, prices: Prices, chains: Floats, loads: Floats, worths: Floats
) -> float:
    """A cost that no order of instances with these chains [n], total loads [A] and worths [m] can beat."""
    n = len(chains)
    cost = 0.0
    for k in range(n):
        i = tables.sequence[k]
        start = 0.0
        for j in range(n):
            if tables.waits[i, j] == 1 and work.early[j] > start:
                start = work.early[j]
        work.early[i] = start + chains[i]
        cost = max(cost, work.early[i])
    for a in range(len(loads)):
        cost = max(cost, loads[a])
    if tables.latency == 1:
        for p in range(len(worths)):
            cost = max(cost, worths[p])
        return cost
    total = 0.0
    least = np.inf
    for i in range(n):
        if work.early[i] <= 0.0:
            return -np.inf
        total -= 1000.0 / work.early[i]
        least = min(least, 1000.0 / work.early[i])
    if cost > 0.0:
        total += least - min(least, 1000.0 / cost)
    if len(work.subset) > 0 and len(worths) > 0:
        total = max(total, subsets_cost(work, worths, prices.members, 0.0))
        for p in range(len(worths)):
            work.worths[p] = worths[p]
        total = max(total, orders_cost(work, prices, int(0), cost, 0.0))
    return total


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


@inlined
def is_excluded(tables: Tables, groups: NDArray[np.int8], excluded: NDArray[np.int8]) -> bool:
    """Whether the placement [n, G] is one of `excluded` [k, n, G]."""
    for k in range(len(excluded)):
        same = True
        for i in range(len(groups)):
            for g in range(tables.groups[i]):
                if groups[i, g] != excluded[k, i, g]:
                    same = False
                    break
            if not same:
                break
        if same:
            return True
    return False
