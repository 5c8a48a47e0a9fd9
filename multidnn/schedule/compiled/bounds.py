"""Lower bounds on costs: of every continuation of a state of the timeline, and of every order of a placement.

They use what holds for every timeline:

- a group never runs faster than alone, holds run at rate 1, an instance's steps follow each other, and an accelerator
  does its remaining steps one at a time (contention has no part here, because more of it can shorten a timeline);
- dual prices of the configuration LP (`multidnn.schedule.lp`): whatever runs together earns at most one millisecond a
  millisecond, so the worth of the work that is left is a lower bound on the time that is left. Here contention counts.
"""

import numpy as np

from multidnn.schedule.compiled.jit import inlined
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, Work


@inlined
def sort(values: Floats, count: int) -> None:
    """Put the first `count` values in ascending order."""
    for k in range(1, count):
        value = values[k]
        while k > 0 and values[k - 1] > value:
            values[k] = values[k - 1]
            k -= 1
        values[k] = value


@inlined
def queue_cost(free: float, lengths: Floats, earliest: Floats, count: int) -> float:
    """A cost that `count` jobs cannot beat: one machine from `free` on, each not before its earliest finish.

    Running the shortest first makes every finish of one machine as early as it can be, the k-th at the sum of the k
    shortest; the earliest finishes in ascending order bound the same k-th finish from below as well.
    """
    sort(lengths, count)
    sort(earliest, count)
    total = 0.0
    end = free
    for k in range(count):
        end += lengths[k]
        latest = max(end, earliest[k])
        if latest <= 0.0:
            return -np.inf
        total -= 1000.0 / latest
    return total


@inlined
def subsets_cost(work: Work, worths: Floats, members: Ints, now: float) -> float:
    """A throughput cost from the earliest finishes in `work.early` and the worth left [m] of each priced subset.

    Whichever order the instances finish in, the last of each leading set finishes no earlier than any of it, and no
    earlier than the set's bound; the best over all orders follows by dynamic programming over sets.
    """
    n = len(work.early)
    work.subset[0] = 0.0
    for chosen in range(1, 1 << n):
        latest = 0.0
        for i in range(n):
            if chosen >> i & 1 and work.early[i] > latest:
                latest = work.early[i]
        for p in range(len(members)):
            # instances outside the set only add to what must be done
            if members[p] > 0 and worths[p] > 0.0 and members[p] & chosen == members[p] and now + worths[p] > latest:
                latest = now + worths[p]
        best = 0.0
        gain = 1000.0 / latest if latest > 0.0 else np.inf
        for i in range(n):
            if chosen >> i & 1:
                best = max(best, work.subset[chosen & ~(1 << i)] + gain)
        work.subset[chosen] = best
    return -work.subset[(1 << n) - 1]


@inlined
def orders_cost(work: Work, prices: Prices, done: int, latest: float, now: float) -> float:
    """A throughput cost from weighted sums of finishes, which prices bound for one order of finishing each.

    Take the instances in one order of finishing, with the earliest finishes in `work.early` (exact for those in the
    bits of `done`) and the last no earlier than `latest`. A weighted sum of the finishes is at least what the prices
    say (`work.worths` and what has passed). Throughput is convex in the finishes, so it is largest at a corner of
    what these conditions allow: all finishes at their earliest, but one pushed back, with those after it that it
    meets, until the sum is reached. Each order has its best corner, and its least over the prices; the best order
    bounds all. Prices for orders cover every order that `after` allows, or there are none.
    """
    n = len(work.early)
    m = len(prices.members)
    level = work.lengths
    best = 0.0
    orders = 0
    p = int(0)
    while p < m:
        if prices.members[p] != -1:
            p += 1
            continue
        last = p + 1
        while last < m and prices.members[last] == -1:
            same = True
            for k in range(n):
                if prices.order[last, k] != prices.order[p, k]:
                    same = False
            if not same:
                break
            last += 1
        orders += 1
        possible = True
        for k in range(n):
            i = prices.order[p, k]
            level[k] = work.early[i]
            if k > 0:
                if done >> i & 1:
                    # it finished before the one in front of it, or that one is not even done
                    if work.early[i] < level[k - 1] or not done >> prices.order[p, k - 1] & 1:
                        possible = False
                elif level[k - 1] > level[k]:
                    level[k] = level[k - 1]
        if possible:
            if not done >> prices.order[p, n - 1] & 1:
                level[n - 1] = max(level[n - 1], latest)
            least = np.inf
            for q in range(p, last):
                slack = work.worths[q]
                for k in range(n):
                    i = prices.order[p, k]
                    if not done >> i & 1:
                        slack -= prices.weight[q, i] * (level[k] - now)
                value = 0.0
                if slack <= 0.0:
                    for k in range(n):
                        value += 1000.0 / level[k] if level[k] > 0.0 else np.inf
                else:
                    for j in range(n):
                        if done >> prices.order[p, j] & 1:
                            continue
                        x = level[j]
                        total = prices.weight[q, prices.order[p, j]]
                        need = slack
                        k = j
                        while k + 1 < n and need > total * (level[k + 1] - x):
                            need -= total * (level[k + 1] - x)
                            k += 1
                            x = level[k]
                            total += prices.weight[q, prices.order[p, k]]
                        x += need / total
                        corner = 0.0
                        for h in range(n):
                            finish = x if j <= h <= k else level[h]
                            corner += 1000.0 / finish if finish > 0.0 else np.inf
                        value = max(value, corner)
                least = min(least, value)
            best = max(best, least)
        p = last
    return -best if orders > 0 else -np.inf


@inlined
def bound(tables: Tables, prices: Prices, work: Work, d: int) -> float:
    """A cost that no continuation of state `d` can beat."""
    n, accelerators = work.load.shape
    lengths, earliest, worths = work.lengths, work.earliest, work.worths
    now = work.now[d]
    latency = tables.latency == 1
    cost = 0.0
    for p in range(len(prices.members)):
        left = 0.0
        for i in range(n):
            step = work.step[d, i]
            if work.finish[d, i] < 0.0:
                # the step in progress counts in proportion to what is left of it
                ms = work.ms[i, step]
                share = work.left[d, i] / ms if ms > 0.0 else 0.0
                left += work.worth[p, i, step + 1] + share * (work.worth[p, i, step] - work.worth[p, i, step + 1])
        worths[p] = left
        if latency and now + left > cost:
            cost = now + left
    early = work.early
    for k in range(n):
        i = tables.sequence[k]
        if work.finish[d, i] >= 0.0:
            early[i] = work.finish[d, i]
        else:
            start = now
            for j in range(n):
                if tables.waits[i, j] == 1 and early[j] > start:
                    start = early[j]
            early[i] = start + work.left[d, i] + work.tail[i, work.step[d, i] + 1]
        if latency and early[i] > cost:
            cost = early[i]
    for a in range(accelerators):
        free = now
        i = work.holder[d, a]
        if i >= 0:
            free += work.left[d, i]
        elif work.wanted[d, a] >= 0:
            # it waits for this instance to get through its steps elsewhere
            j = work.wanted[d, a]
            own = work.segment[d, j] + work.running[d, j]
            while work.on[j, own] != a:
                own += 1
            free = early[j] - work.tail[j, work.end[j, own - 1] if own > 0 else 0]
        if free + work.rest[d, a] > cost:
            cost = free + work.rest[d, a]
    if latency:
        return cost
    # every instance finishes by the chains, and the last one by everything
    total = 0.0
    least = np.inf
    for i in range(n):
        if early[i] <= 0.0:
            return -np.inf
        total -= 1000.0 / early[i]
        least = min(least, 1000.0 / early[i])
    if cost > 0.0:
        total = max(total, total + least - min(least, 1000.0 / cost))
    queues = 0.0
    for i in range(n):
        if work.finish[d, i] >= 0.0:
            queues -= 1000.0 / early[i]
    for a in range(accelerators):
        free = now
        i = work.holder[d, a]
        if i >= 0:
            step = work.step[d, i]
            free += work.left[d, i] + work.tail[i, step + 1] - work.tail[i, work.end[i, work.segment[d, i]]]
        count = int(0)
        for j in range(n):
            if work.finish[d, j] < 0.0 and work.on[j, work.segments[j] - 1] == a:
                segments = work.segments[j]
                begun = work.segment[d, j] + work.running[d, j]
                final = work.tail[j, work.end[j, segments - 2] if segments > 1 else 0]
                lengths[count] = final if begun < segments else 0.0
                earliest[count] = early[j]
                count += 1
        if count > 0:
            queues += queue_cost(free, lengths, earliest, count)
    total = max(total, queues)
    if len(work.subset) > 0 and len(prices.members) > 0:
        total = max(total, subsets_cost(work, worths, prices.members, now))
        done = int(0)
        for i in range(n):
            if work.finish[d, i] >= 0.0:
                done |= 1 << i
        total = max(total, orders_cost(work, prices, done, cost, now))
    return total


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
