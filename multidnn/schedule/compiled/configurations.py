"""Compiled pricing of configurations: sets of groups and holds, of different instances on different accelerators, that run together."""

import numpy as np

from multidnn.schedule.compiled.jit import compiled, inlined, lean
from multidnn.schedule.compiled.kernel import slowdown
from multidnn.schedule.compiled.packing import Floats, Ints, Tables


@lean
def earned(tables: Tables, instance: Ints, group: Ints, work: Floats, hold: Floats, rates: Floats) -> float:
    """What a configuration earns a millisecond, and its rates [A].

    Args:
        tables: the problem.
        instance: [A] instance on each accelerator, -1 for none.
        group: [A] its group, or the largest number of groups for a hold.
        work: [n, G, A] price of a millisecond alone.
        hold: [n, A] price of a millisecond of a hold.
        rates: [A] receives standalone milliseconds done a millisecond.
    """
    accelerators = len(instance)
    holds = tables.time.shape[1]
    total = 0.0
    for a in range(accelerators):
        rates[a] = 0.0
        i = instance[a]
        if i < 0:
            continue
        if group[a] == holds:
            rates[a] = 1.0
            total += hold[i, a]
            continue
        beside = 0.0
        for b in range(accelerators):
            if b != a and instance[b] >= 0 and group[b] < holds:
                beside += tables.demand[instance[b], group[b], b]
        rates[a] = 1.0 / slowdown(tables, i, group[a], a, beside)
        total += work[i, group[a], a] * rates[a]
    return total


@compiled
def best_configurations(
    tables: Tables, apart: Ints, members: int, work: Floats, hold: Floats, best: Floats, instances: Ints, groups: Ints
) -> float:
    """The best configuration with each group or hold in it, over all configurations.

    Args:
        tables: the problem.
        apart: [n, n] 1 where two instances never run together, because one waits for the other.
        members: bits of the instances that count.
        work, hold: prices as in `earned`.
        best: [A, n, G + 1] receives what the best configuration earns that has this item (G: hold) as its first,
            on the lowest accelerator in use.
        instances, groups: [A, n, G + 1, A] receive that configuration.

    Returns:
        The most that any configuration earns a millisecond.
    """
    n, longest, accelerators = tables.time.shape
    best[:] = -1.0
    instance = np.full(accelerators, -1)
    group = np.full(accelerators, -1)
    rates = np.zeros(accelerators)
    # digits of an odometer: per accelerator -1 (nothing) or instance * (G + 1) + group
    digit = np.full(accelerators, -1)
    top = 0.0
    a = 0
    most = n * (longest + 1)
    entering = True
    while a >= 0:
        if a == accelerators:
            first = 0
            while first < accelerators and instance[first] < 0:
                first += 1
            if first < accelerators:
                value = earned(tables, instance, group, work, hold, rates)
                top = max(top, value)
                i, g = instance[first], group[first]
                if value > best[first, i, g]:
                    best[first, i, g] = value
                    instances[first, i, g] = instance
                    groups[first, i, g] = group
            a -= 1
            continue
        if entering:
            digit[a] = -1
            instance[a] = -1
            entering = False
            a += 1
            entering = a < accelerators
            continue
        digit[a] += 1
        if digit[a] == most:
            a -= 1
            continue
        i = digit[a] // (longest + 1)
        g = digit[a] % (longest + 1)
        if not members >> i & 1:
            continue
        if g < longest:
            # what earns nothing alone is left to the configuration without it
            if tables.time[i, g, a] == np.inf or work[i, g, a] <= 0.0:
                continue
        elif hold[i, a] <= 0.0:
            continue
        clash = False
        for b in range(a):
            if instance[b] >= 0 and (instance[b] == i or apart[instance[b], i] == 1):
                clash = True
        if clash:
            continue
        instance[a] = i
        group[a] = g
        a += 1
        entering = a < accelerators
    return top


@compiled
def cheapest_pattern(tables: Tables, i: int, limit: int, work: Floats, hold: Floats, groups: Ints) -> float:
    """The least worth of a pattern of instance `i` with at most `limit` transitions; `groups` [G] receives it."""
    count, accelerators = tables.groups[i], tables.time.shape[2]
    limit = min(limit, count - 1)
    least = np.full((count, accelerators, limit + 1), np.inf)
    came = np.zeros((count, accelerators, limit + 1), dtype=np.int64)
    for a in range(accelerators):
        if tables.time[i, 0, a] < np.inf:
            least[0, a, 0] = work[i, 0, a] * tables.time[i, 0, a]
    for g in range(1, count):
        for a in range(accelerators):
            if tables.time[i, g, a] == np.inf:
                continue
            own = work[i, g, a] * tables.time[i, g, a]
            for b in range(accelerators):
                moved = 0 if a == b else 1
                extra = own
                if moved:
                    extra += hold[i, b] * tables.hold_out[i, g - 1, b, a] + hold[i, a] * tables.hold_in[i, g - 1, b, a]
                for k in range(moved, limit + 1):
                    value = least[g - 1, b, k - moved] + extra
                    if value < least[g, a, k]:
                        least[g, a, k] = value
                        came[g, a, k] = b
    best = np.inf
    a, k = -1, -1
    for b in range(accelerators):
        for h in range(limit + 1):
            if least[count - 1, b, h] < best:
                best = least[count - 1, b, h]
                a, k = b, h
    if a < 0:
        return np.inf
    for g in range(count - 1, -1, -1):
        groups[g] = a
        b = came[g, a, k]
        if g > 0 and b != a:
            k -= 1
        a = b
    return best
