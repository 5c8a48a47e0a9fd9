"""Compiled pricing of configurations: sets of groups and holds, of different instances on different accelerators, that run together."""

import numpy as np

from multidnn.schedule.compiled.jit import compiled, inlined, lean
from multidnn.schedule.compiled.packing import Floats, Ints, Tables
from multidnn.schedule.compiled.slowdown import slowdown


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


@inlined
def price_of(work: Floats, hold: Floats, i: int, g: int, a: int) -> float:
    """The price of a group, or of a hold if `g` is the number of groups."""
    return work[i, g, a] if g < work.shape[1] else hold[i, a]


@compiled
def items_by_price(tables: Tables, members: int, work: Floats, hold: Floats) -> tuple[Ints, Ints]:
    """Per accelerator the items (instance * (G + 1) + group) with a price [A, n * (G + 1)], dearest first, and how many."""
    n, longest, accelerators = tables.time.shape
    items = np.zeros((accelerators, n * (longest + 1)), dtype=np.int64)
    count = np.zeros(accelerators, dtype=np.int64)
    prices = np.empty(n * (longest + 1))
    for a in range(accelerators):
        many = 0
        for i in range(n):
            if not members >> i & 1:
                continue
            for g in range(longest + 1):
                price = price_of(work, hold, i, g, a)
                # what earns nothing is left to the configuration without it
                if price > 0.0 and (g == longest or tables.time[i, g, a] < np.inf):
                    k = many
                    while k > 0 and prices[k - 1] < price:
                        prices[k] = prices[k - 1]
                        items[a, k] = items[a, k - 1]
                        k -= 1
                    prices[k] = price
                    items[a, k] = i * (longest + 1) + g
                    many += 1
        count[a] = many
    return items, count


@compiled
def best_configurations(
    tables: Tables,
    apart: Ints,
    members: int,
    work: Floats,
    hold: Floats,
    best: Floats,
    instances: Ints,
    groups: Ints,
    least: float,
) -> float:
    """The best configuration with each group or hold in it, over all configurations that earn more than `least`.

    Args:
        tables: the problem.
        apart: [n, n] 1 where two instances never run together, because one waits for the other.
        members: bits of the instances that count.
        work, hold: prices as in `earned`.
        best: [A, n, G + 1] receives what the best configuration earns that has this item (G: hold) as its first,
            on the lowest accelerator in use; -1 if none earns more than `least`.
        instances, groups: [A, n, G + 1, A] receive that configuration.
        least: what earns this much or less is of no interest.

    Returns:
        The most that any configuration earns a millisecond, or `least` if that is more.
    """
    longest, accelerators = tables.time.shape[1:]
    best[:] = -1.0
    items, count = items_by_price(tables, members, work, hold)
    instance = np.full(accelerators, -1)
    group = np.full(accelerators, -1)
    rates = np.zeros(accelerators)
    # per accelerator, the place in its items plus 1; 0 is for nothing there
    digit = np.full(accelerators, -1)
    # prices up to each accelerator, and the most that those from it on can add, because no rate is above 1
    sums = np.zeros(accelerators + 1)
    rest = np.zeros(accelerators + 1)
    for a in range(accelerators - 1, -1, -1):
        most = 0.0
        if count[a] > 0:
            most = price_of(work, hold, items[a, 0] // (longest + 1), items[a, 0] % (longest + 1), a)
        rest[a] = rest[a + 1] + most
    top = least
    a = 0
    while a >= 0:
        if a == accelerators:
            first = 0
            while first < accelerators and instance[first] < 0:
                first += 1
            if first < accelerators:
                value = earned(tables, instance, group, work, hold, rates)
                i, g = instance[first], group[first]
                if value > least and value > best[first, i, g]:
                    top = max(top, value)
                    best[first, i, g] = value
                    instances[first, i, g] = instance
                    groups[first, i, g] = group
            a -= 1
            continue
        digit[a] += 1
        if digit[a] == 0:
            # nothing here
            instance[a] = -1
            if sums[a] + rest[a + 1] <= least:
                continue
            sums[a + 1] = sums[a]
            a += 1
            continue
        if digit[a] > count[a]:
            digit[a] = -1
            instance[a] = -1
            a -= 1
            continue
        item = items[a, digit[a] - 1]
        i = item // (longest + 1)
        g = item % (longest + 1)
        price = price_of(work, hold, i, g, a)
        if sums[a] + price + rest[a + 1] <= least:
            # the others here are no dearer
            digit[a] = -1
            instance[a] = -1
            a -= 1
            continue
        clash = False
        for b in range(a):
            if instance[b] >= 0 and (instance[b] == i or apart[instance[b], i] == 1):
                clash = True
        if clash:
            continue
        instance[a] = i
        group[a] = g
        sums[a + 1] = sums[a] + price
        a += 1
    return top


@compiled
def lift(tables: Tables, apart: Ints, members: int, work: Floats, hold: Floats, share: float) -> None:
    """Raise valid prices, one item after another, by a share of what keeps every configuration from earning more than 1.

    A solution of the LP leaves prices low wherever its own placements do not go; raised ones prove as much at the root
    and more of everything that differs from it.
    """
    n, longest, accelerators = tables.time.shape
    instance = np.full(accelerators, -1)
    group = np.full(accelerators, -1)
    rates = np.zeros(accelerators)
    digit = np.full(accelerators, -1)
    for g in range(longest + 1):
        for i in range(n):
            if not members >> i & 1:
                continue
            for here in range(accelerators):
                if g < longest and tables.time[i, g, here] == np.inf:
                    continue
                room = np.inf
                instance[:] = -1
                digit[:] = -2
                instance[here] = i
                group[here] = g
                a = 0
                while a >= 0:
                    if a == accelerators:
                        value = earned(tables, instance, group, work, hold, rates)
                        room = min(room, (1.0 - value) / rates[here])
                        a -= 1
                        continue
                    if a == here:
                        # passed through forwards, then backwards
                        digit[a] += 1
                        if digit[a] == -1:
                            a += 1
                        else:
                            digit[a] = -2
                            a -= 1
                        continue
                    digit[a] += 1
                    if digit[a] == -1:
                        instance[a] = -1
                        a += 1
                        continue
                    if digit[a] == n * (longest + 1):
                        digit[a] = -2
                        instance[a] = -1
                        a -= 1
                        continue
                    j = digit[a] // (longest + 1)
                    h = digit[a] % (longest + 1)
                    if j == i or not members >> j & 1 or apart[i, j] == 1:
                        continue
                    if h < longest and tables.time[j, h, a] == np.inf:
                        continue
                    clash = False
                    for b in range(a):
                        if b != here and instance[b] >= 0 and (instance[b] == j or apart[instance[b], j] == 1):
                            clash = True
                    if clash:
                        continue
                    instance[a] = j
                    group[a] = h
                    a += 1
                if room > 0.0 and room < np.inf:
                    if g < longest:
                        work[i, g, here] += share * room
                    else:
                        hold[i, here] += share * room


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
