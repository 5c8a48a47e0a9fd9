"""The timeline of docs/semantics.md compiled: what happens in a given order, and the best order by branch and bound.

`finish_times` is the twin of `timeline.simulate`, to 1e-9. `best_order` follows the timeline too, but splits wherever an
accelerator is free and one of its segments could start: once for each instance whose segment may be next there, also
one that is not ready yet, so that every total order that does not deadlock is one path. A path is cut when a
lower bound on its cost reaches the cutoff. The bounds use what holds for every timeline:

- a group never runs faster than alone, holds run at rate 1, an instance's steps follow each other, and an accelerator
  does its remaining steps one at a time (contention has no part here, because more of it can shorten a timeline);
- dual prices of the configuration LP (`multidnn.schedule.lp`): whatever runs together earns at most one millisecond a
  millisecond, so the worth of the work that is left is a lower bound on the time that is left. Here contention counts.

Of instances that could trade places unnoticed, only the first is tried. Costs: makespan in ms for latency, throughput
negated for throughput, so smaller is better.
"""

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.jit import inlined, lean
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, Work

SLACK = 1e-9
"""Relative; an order must beat the cutoff by more than this, so that rounding is no improvement."""


@inlined
def below(cutoff: float) -> float:
    """The cost that counts as better than `cutoff`."""
    return cutoff - SLACK * abs(cutoff) if np.isfinite(cutoff) else cutoff


@inlined
def slowdown(tables: Tables, instance: int, group: int, accelerator: int, external: float) -> float:
    """The factor by which a group beside `external` GB/s is slower: linear between the points, clamped outside."""
    count = tables.points[accelerator]
    if external <= 0.0 or count == 1:
        return 1.0
    axis = tables.external[accelerator]
    row = tables.factor[instance, group, accelerator]
    if external >= axis[count - 1]:
        return row[count - 1]
    k = 1
    while axis[k] <= external:
        k += 1
    return row[k - 1] + (external - axis[k - 1]) / (axis[k] - axis[k - 1]) * (row[k] - row[k - 1])


@lean
def place(tables: Tables, prices: Prices, work: Work, i: int, groups: NDArray[np.int8]) -> None:
    """Lay out the steps of instance `i` on the accelerators `groups` [G]."""
    count = tables.groups[i]
    steps = 0
    segments = 0
    for a in range(work.load.shape[1]):
        work.load[i, a] = 0.0
    for g in range(count):
        a = groups[g]
        if g == 0 or groups[g - 1] != a:
            work.on[i, segments] = a
            work.first[i, segments] = g
            segments += 1
            if g > 0:
                work.ms[i, steps] = tables.hold_in[i, g - 1, groups[g - 1], a]
                work.item[i, steps] = -1
                steps += 1
        work.ms[i, steps] = tables.time[i, g, a]
        work.item[i, steps] = g
        steps += 1
        if g == count - 1 or groups[g + 1] != a:
            if g < count - 1:
                work.ms[i, steps] = tables.hold_out[i, g, a, groups[g + 1]]
                work.item[i, steps] = -1
                steps += 1
            work.last[i, segments - 1] = g
            work.end[i, segments - 1] = steps
    work.steps[i] = steps
    work.segments[i] = segments
    work.future[i, segments] = 0
    work.tail[i, steps] = 0.0
    for p in range(len(prices.members)):
        work.worth[p, i, steps] = 0.0
    step = steps - 1
    for s in range(segments - 1, -1, -1):
        a = work.on[i, s]
        work.future[i, s] = work.future[i, s + 1] | (1 << a)
        begin = work.end[i, s - 1] if s > 0 else 0
        while step >= begin:
            ms = work.ms[i, step]
            g = work.item[i, step]
            work.load[i, a] += ms
            work.tail[i, step] = work.tail[i, step + 1] + ms
            for p in range(len(prices.members)):
                price = prices.work[p, i, g, a] if g >= 0 else prices.hold[p, i, a]
                work.worth[p, i, step] = work.worth[p, i, step + 1] + price * ms
            step -= 1


@inlined
def reset(tables: Tables, work: Work) -> None:
    """Make depth 0 the state before time 0 of the placed instances."""
    n, accelerators = work.load.shape
    work.now[0] = 0.0
    for a in range(accelerators):
        work.rest[0, a] = 0.0
        work.holder[0, a] = -1
        work.wanted[0, a] = -1
        work.count[0, a] = 0
    for i in range(n):
        work.step[0, i] = 0
        work.segment[0, i] = 0
        work.running[0, i] = 0
        work.finish[0, i] = -1.0
        work.left[0, i] = work.ms[i, 0]
        for a in range(accelerators):
            work.rest[0, a] += work.load[i, a]


@inlined
def end_steps(work: Work, d: int) -> bool:
    """End every step that is done, and its segment if nothing more of it takes time; whether a segment ended."""
    ended = False
    for i in range(work.step.shape[1]):
        if work.running[d, i] == 0:
            continue
        while work.left[d, i] <= 0.0:
            work.step[d, i] += 1
            step = work.step[d, i]
            segment = work.segment[d, i]
            if step < work.steps[i]:
                work.left[d, i] = work.ms[i, step]
            if step == work.end[i, segment]:
                ended = True
                work.running[d, i] = 0
                work.holder[d, work.on[i, segment]] = -1
                work.segment[d, i] += 1
                if step == work.steps[i]:
                    work.finish[d, i] = work.now[d]
                break
            work.started[i, step] = work.now[d]
            work.rest[d, work.on[i, segment]] -= work.ms[i, step]
    return ended


@inlined
def is_ready(tables: Tables, work: Work, d: int, i: int, a: int) -> bool:
    """Whether the next segment of `i` is on `a` and could start there now."""
    segment = work.segment[d, i]
    if work.running[d, i] == 1 or segment >= work.segments[i] or work.on[i, segment] != a:
        return False
    for j in range(work.step.shape[1]):
        if tables.waits[i, j] == 1 and work.finish[d, j] < 0.0:
            return False
    return True


@inlined
def begin(work: Work, d: int, i: int, a: int) -> None:
    """Start the next segment of `i`, which is on `a`."""
    work.turn[a, work.count[d, a]] = i
    work.count[d, a] += 1
    work.wanted[d, a] = -1
    work.holder[d, a] = i
    work.running[d, i] = 1
    work.started[i, work.step[d, i]] = work.now[d]
    work.rest[d, a] -= work.ms[i, work.step[d, i]]


@inlined
def zero_left(work: Work, d: int) -> bool:
    """Whether a running step takes no more time."""
    for i in range(work.step.shape[1]):
        if work.running[d, i] == 1 and work.left[d, i] <= 0.0:
            return True
    return False


@inlined
def advance(tables: Tables, work: Work, d: int) -> bool:
    """Run to the next moment at which a step ends; False if nothing runs."""
    accelerators = work.holder.shape[1]
    passed = np.inf
    for a in range(accelerators):
        i = work.holder[d, a]
        if i < 0:
            continue
        g = work.item[i, work.step[d, i]]
        factor = 1.0
        if g >= 0:
            beside = 0.0
            for b in range(accelerators):
                j = work.holder[d, b]
                if b != a and j >= 0:
                    other = work.item[j, work.step[d, j]]
                    if other >= 0:
                        beside += tables.demand[j, other, b]
            factor = slowdown(tables, i, g, a, beside)
        work.early[i] = factor
        passed = min(passed, work.left[d, i] * factor)
    if passed == np.inf:
        return False
    for a in range(accelerators):
        i = work.holder[d, a]
        if i >= 0:
            if work.left[d, i] * work.early[i] == passed:
                work.left[d, i] = 0.0
            else:
                work.left[d, i] = max(0.0, work.left[d, i] - passed / work.early[i])
    work.now[d] += passed
    return True


@inlined
def finish_times(tables: Tables, prices: Prices, work: Work, groups: NDArray[np.int8], turns: Ints) -> bool:
    """Run one schedule; afterwards `work.finish[0]` holds when each instance finishes. False if it deadlocks.

    Args:
        tables: the problem.
        prices: any.
        work: memory.
        groups: [n, G] accelerator of each group.
        turns: [A, n * G] instances in turn, filled up with -1.
    """
    for i in range(len(groups)):
        place(tables, prices, work, i, groups[i])
    return follow(tables, work, turns)


@inlined
def follow(tables: Tables, work: Work, turns: Ints) -> bool:
    """`finish_times` of instances that are placed already."""
    n, accelerators = work.load.shape
    d = int(0)
    reset(tables, work)
    # only where a segment ended, others can start
    ended = True
    while True:
        while ended:
            for a in range(accelerators):
                if work.holder[d, a] >= 0 or work.count[d, a] >= turns.shape[1]:
                    continue
                i = turns[a, work.count[d, a]]
                if i >= 0 and is_ready(tables, work, d, i, a):
                    begin(work, d, i, a)
            ended = end_steps(work, d)
        if not advance(tables, work, d):
            break
        ended = end_steps(work, d)
    for i in range(n):
        if work.finish[d, i] < 0.0:
            return False
    return True


@lean
def many_finish_times(
    tables: Tables, prices: Prices, work: Work, groups: NDArray[np.int8], turns: Ints, finish: Floats
) -> None:
    """`finish_times` of groups [k, n, G] and turns [k, A, n * G] into finish [k, n]; -1 where an order deadlocks."""
    for k in range(len(groups)):
        if finish_times(tables, prices, work, groups[k], turns[k]):
            for i in range(finish.shape[1]):
                finish[k, i] = work.finish[0, i]
        else:
            for i in range(finish.shape[1]):
                finish[k, i] = -1.0


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


@inlined
def final_cost(tables: Tables, work: Work, d: int) -> float:
    """The cost of a finished timeline."""
    latest = 0.0
    total = 0.0
    for i in range(work.step.shape[1]):
        finish = work.finish[d, i]
        latest = max(latest, finish)
        if finish <= 0.0:
            total = np.inf
        else:
            total += 1000.0 / finish
    return latest if tables.latency == 1 else -total


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
