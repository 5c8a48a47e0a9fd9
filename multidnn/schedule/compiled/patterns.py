"""Patterns, the placements of one instance: listing those that bounds allow, and what each costs before it runs.

The compiled twin of `multidnn.schedule.patterns`, with the worth of a pattern in dual prices (`lp`) beside its load and chain.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.jit import compiled, inlined
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables


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
def measure_all(
    tables: Tables, prices: Prices, i: int, groups: NDArray[np.int8], chain: Floats, load: Floats, worth: Floats
) -> None:
    """`measure` of patterns [k, G] into chain [k], load [k, A] and worth [k, m]."""
    for k in range(len(groups)):
        chain[k] = measure(tables, prices, i, groups[k], load[k], worth[k])


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
