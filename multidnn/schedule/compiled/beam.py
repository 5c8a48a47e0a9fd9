"""Compiled beam search: builds schedules forward in time, guided by the dual prices of what is left."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.jit import compiled, inlined
from multidnn.schedule.compiled.kernel import slowdown
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables

# what an instance is doing
WAITS, ENTERS, RUNS, LEAVES, DECIDES, DONE = 0, 1, 2, 3, 4, 5


class ToGo(NamedTuple):
    """The least worth of what is left of an instance, per price p (the last one: plain ms), group, accelerator and transitions left.

    Attributes:
        start: [p, n, G, A, K + 1] of the group on this accelerator and all later ones.
        after: [p, n, G, A, K + 1] of all later ones, after the group on this accelerator.
    """

    start: Floats
    after: Floats


class States(NamedTuple):
    """A list of partial schedules (first axis).

    Attributes:
        now: ms.
        left: [., n] ms alone left of what the instance is doing.
        doing: [., n] one of the constants above.
        group: [., n] the group it is at; while it waits or enters, the one it will run.
        on: [., n] the accelerator it is on, or waits for; -1 before it has one.
        next: [., n] while it leaves, the accelerator it moves to.
        spare: [., n] transitions left.
        holder: [., A] the instance on the accelerator, or -1.
        skipped: [., A] 1 where the free accelerator has been looked at since the last event.
        finish: [., n] ms, -1 until finished.
        placed: [., n, G] accelerators so far.
        turn, count: [., A, T] and [., A] instances in turn.
        estimate: lower bound on the cost.
    """

    now: Floats
    left: Floats
    doing: NDArray[np.int8]
    group: NDArray[np.int8]
    on: NDArray[np.int8]
    next: NDArray[np.int8]
    spare: NDArray[np.int8]
    holder: NDArray[np.int8]
    skipped: NDArray[np.int8]
    finish: Floats
    placed: NDArray[np.int8]
    turn: NDArray[np.int8]
    count: NDArray[np.int8]
    estimate: Floats


def states(many: int, n: int, groups: int, accelerators: int) -> States:
    """Memory for `many` partial schedules."""

    def small(*shape: int) -> NDArray[np.int8]:
        return np.zeros((many, *shape), dtype=np.int8)

    return States(
        np.zeros(many), np.zeros((many, n)), small(n), small(n), small(n), small(n), small(n), small(accelerators),
        small(accelerators), np.zeros((many, n)), small(n, groups), small(accelerators, n * groups),
        small(accelerators), np.zeros(many),
    )  # fmt: skip


@compiled
def to_go(tables: Tables, prices: Prices, limits: Ints) -> ToGo:
    """Work out `ToGo` for at most limits [n] transitions."""
    n, longest, accelerators = tables.time.shape
    m = len(prices.members)
    most = 0
    for i in range(n):
        most = max(most, limits[i])
    start = np.full((m + 1, n, longest, accelerators, most + 1), np.inf)
    after = np.full((m + 1, n, longest, accelerators, most + 1), np.inf)
    for p in range(m + 1):
        for i in range(n):
            for g in range(tables.groups[i] - 1, -1, -1):
                for a in range(accelerators):
                    if tables.time[i, g, a] == np.inf:
                        continue
                    for k in range(limits[i] + 1):
                        if g == tables.groups[i] - 1:
                            after[p, i, g, a, k] = 0.0
                        else:
                            least = start[p, i, g + 1, a, k]
                            for b in range(accelerators):
                                if b == a or k == 0 or start[p, i, g + 1, b, k - 1] == np.inf:
                                    continue
                                out, into = tables.hold_out[i, g, a, b], tables.hold_in[i, g, a, b]
                                if p < m:
                                    out *= prices.hold[p, i, a]
                                    into *= prices.hold[p, i, b]
                                least = min(least, out + into + start[p, i, g + 1, b, k - 1])
                            after[p, i, g, a, k] = least
                        price = prices.work[p, i, g, a] if p < m else 1.0
                        start[p, i, g, a, k] = price * tables.time[i, g, a] + after[p, i, g, a, k]
    return ToGo(start, after)


@inlined
def left_to_do(tables: Tables, prices: Prices, go: ToGo, s: States, x: int, p: int, i: int) -> float:
    """The least worth of what instance `i` of state `x` still has to do, in price `p`."""
    m = len(prices.members)
    g, a, k = s.group[x, i], s.on[x, i], s.spare[x, i]
    doing = s.doing[x, i]
    if doing == DONE:
        return 0.0
    if doing == RUNS:
        return s.left[x, i] * (prices.work[p, i, g, a] if p < m else 1.0) + go.after[p, i, g, a, k]
    if doing == DECIDES:
        return go.after[p, i, g, a, k]
    if doing == ENTERS:
        return s.left[x, i] * (prices.hold[p, i, a] if p < m else 1.0) + go.start[p, i, g, a, k]
    if doing == LEAVES:
        b = s.next[x, i]
        into = tables.hold_in[i, g, a, b]
        out = s.left[x, i]
        if p < m:
            out *= prices.hold[p, i, a]
            into *= prices.hold[p, i, b]
        return out + into + go.start[p, i, g + 1, b, k]
    if a < 0:
        least = np.inf
        for b in range(tables.time.shape[2]):
            least = min(least, go.start[p, i, g, b, k])
        return least
    into = tables.hold_in[i, g - 1, s.next[x, i], a] if g > 0 else 0.0
    if p < m:
        into *= prices.hold[p, i, a]
    return into + go.start[p, i, g, a, k]


@inlined
def estimate(tables: Tables, prices: Prices, go: ToGo, s: States, x: int, early: Floats) -> float:
    """A lower bound on the cost of all completions of state `x`."""
    n = s.left.shape[1]
    m = len(prices.members)
    cost = 0.0
    for p in range(m):
        total = s.now[x]
        for i in range(n):
            total += left_to_do(tables, prices, go, s, x, p, i)
        cost = max(cost, total)
    throughput = 0.0
    for k in range(n):
        i = tables.sequence[k]
        if s.doing[x, i] == DONE:
            early[i] = s.finish[x, i]
        else:
            begin = s.now[x]
            for j in range(n):
                if tables.waits[i, j] == 1:
                    begin = max(begin, early[j])
            early[i] = begin + left_to_do(tables, prices, go, s, x, m, i)
        cost = max(cost, early[i])
        throughput += 1000.0 / early[i] if early[i] > 0.0 else np.inf
    return cost if tables.latency == 1 else -throughput


@inlined
def copy(s: States, x: int, t: States, y: int) -> None:
    """Copy state `x` of `s` to place `y` of `t`."""
    n, groups = s.placed.shape[1], s.placed.shape[2]
    t.now[y] = s.now[x]
    for i in range(n):
        t.left[y, i] = s.left[x, i]
        t.doing[y, i] = s.doing[x, i]
        t.group[y, i] = s.group[x, i]
        t.on[y, i] = s.on[x, i]
        t.next[y, i] = s.next[x, i]
        t.spare[y, i] = s.spare[x, i]
        t.finish[y, i] = s.finish[x, i]
        for g in range(groups):
            t.placed[y, i, g] = s.placed[x, i, g]
    for a in range(s.holder.shape[1]):
        t.holder[y, a] = s.holder[x, a]
        t.skipped[y, a] = s.skipped[x, a]
        t.count[y, a] = s.count[x, a]
        for k in range(s.count[x, a]):
            t.turn[y, a, k] = s.turn[x, a, k]


@inlined
def settle_instant(tables: Tables, s: States, x: int) -> None:
    """End what takes no more time, up to the next decision of each instance."""
    for i in range(s.left.shape[1]):
        while s.left[x, i] <= 0.0:
            doing = s.doing[x, i]
            if doing == ENTERS:
                s.doing[x, i] = RUNS
                s.left[x, i] = tables.time[i, s.group[x, i], s.on[x, i]]
            elif doing == RUNS:
                if s.group[x, i] == tables.groups[i] - 1:
                    s.doing[x, i] = DONE
                    s.finish[x, i] = s.now[x]
                    s.holder[x, s.on[x, i]] = -1
                else:
                    s.doing[x, i] = DECIDES
            elif doing == LEAVES:
                s.holder[x, s.on[x, i]] = -1
                source = s.on[x, i]
                s.doing[x, i] = WAITS
                s.on[x, i] = s.next[x, i]
                s.next[x, i] = source
                s.group[x, i] += 1
            else:
                break


@inlined
def may_start(tables: Tables, s: States, x: int, i: int, a: int) -> bool:
    """Whether instance `i` waits for accelerator `a`, or for any that supports its first group."""
    if s.doing[x, i] != WAITS:
        return False
    if s.on[x, i] != a and (s.on[x, i] >= 0 or tables.time[i, 0, a] == np.inf):
        return False
    for j in range(s.left.shape[1]):
        if tables.waits[i, j] == 1 and s.doing[x, j] != DONE:
            return False
    return True


@inlined
def start_on(tables: Tables, s: States, x: int, i: int, a: int) -> None:
    """Let instance `i` take accelerator `a`."""
    g = s.group[x, i]
    s.turn[x, a, s.count[x, a]] = i
    s.count[x, a] += 1
    s.holder[x, a] = i
    s.placed[x, i, g] = a
    if g > 0:
        s.doing[x, i] = ENTERS
        s.left[x, i] = tables.hold_in[i, g - 1, s.next[x, i], a]
    else:
        s.doing[x, i] = RUNS
        s.left[x, i] = tables.time[i, 0, a]
    s.on[x, i] = a


@inlined
def run_on(tables: Tables, s: States, x: int, factor: Floats) -> bool:
    """Advance to the next event; False if nothing runs."""
    accelerators = s.holder.shape[1]
    passed = np.inf
    for a in range(accelerators):
        i = s.holder[x, a]
        if i < 0:
            continue
        factor[a] = 1.0
        if s.doing[x, i] == RUNS:
            beside = 0.0
            for b in range(accelerators):
                j = s.holder[x, b]
                if b != a and j >= 0 and s.doing[x, j] == RUNS:
                    beside += tables.demand[j, s.group[x, j], b]
            factor[a] = slowdown(tables, i, s.group[x, i], a, beside)
        passed = min(passed, s.left[x, i] * factor[a])
    if passed == np.inf:
        return False
    for a in range(accelerators):
        i = s.holder[x, a]
        if i >= 0:
            if s.left[x, i] * factor[a] == passed:
                s.left[x, i] = 0.0
            else:
                s.left[x, i] = max(0.0, s.left[x, i] - passed / factor[a])
        s.skipped[x, a] = 0
    s.now[x] += passed
    return True


@compiled
def beam_search(
    tables: Tables,
    prices: Prices,
    go: ToGo,
    limits: Ints,
    width: int,
    idle: bool,
    cutoff: float,
    s: States,
    t: States,
    results: int,
) -> int:
    """Fill the first places of `t` with complete schedules cheaper than `cutoff`, the best first; returns how many.

    Args:
        tables: the problem.
        prices: m prices.
        go: `to_go` of these prices.
        limits: [n] transitions allowed.
        width: partial schedules kept after each decision.
        idle: let an accelerator wait although a segment could start.
        cutoff: the cost to beat.
        s: memory for `width` partial schedules and their children.
        t: as much again.
        results: complete schedules wanted at most.
    """
    n, accelerators = s.left.shape[1], s.holder.shape[1]
    room = len(s.now)
    early = np.zeros(n)
    factor = np.zeros(accelerators)
    s.now[0] = 0.0
    for i in range(n):
        s.left[0, i] = 0.0
        s.doing[0, i] = WAITS
        s.group[0, i] = 0
        s.on[0, i] = -1
        s.next[0, i] = -1
        s.spare[0, i] = limits[i]
        s.finish[0, i] = -1.0
    for a in range(accelerators):
        s.holder[0, a] = -1
        s.skipped[0, a] = 0
        s.count[0, a] = 0
    s.estimate[0] = 0.0
    alive = 1
    finished = 0
    done = t
    found_cost = np.empty(results)
    found_groups = np.empty((results, n, s.placed.shape[2]), dtype=np.int8)
    found_turn = np.empty((results, accelerators, s.turn.shape[2]), dtype=np.int8)
    found_count = np.empty((results, accelerators), dtype=np.int8)
    children = np.empty(n + accelerators + 2, dtype=np.int64)
    while alive > 0:
        made = 0
        for x in range(alive):
            # the first open decision: an instance between groups, then a free accelerator
            who = -1
            for i in range(n):
                if s.doing[x, i] == DECIDES:
                    who = i
                    break
            count = 0
            first = made
            if who >= 0:
                i = who
                g, a = s.group[x, i], s.on[x, i]
                for b in range(accelerators):
                    if made == room:
                        break
                    if b == a:
                        if go.start[len(prices.members), i, g + 1, a, s.spare[x, i]] == np.inf:
                            continue
                        copy(s, x, t, made)
                        t.group[made, i] = g + 1
                        t.doing[made, i] = RUNS
                        t.left[made, i] = tables.time[i, g + 1, a]
                        t.placed[made, i, g + 1] = a
                    else:
                        if s.spare[x, i] == 0:
                            continue
                        if go.start[len(prices.members), i, g + 1, b, s.spare[x, i] - 1] == np.inf:
                            continue
                        copy(s, x, t, made)
                        t.doing[made, i] = LEAVES
                        t.spare[made, i] -= 1
                        t.next[made, i] = b
                        t.left[made, i] = tables.hold_out[i, g, a, b]
                    made += 1
            else:
                where = -1
                for a in range(accelerators):
                    if s.holder[x, a] >= 0 or s.skipped[x, a] == 1:
                        continue
                    for i in range(n):
                        if may_start(tables, s, x, i, a) and (
                            s.group[x, i] > 0 or go.start[len(prices.members), i, 0, a, s.spare[x, i]] < np.inf
                        ):
                            children[count] = i
                            count += 1
                    if count > 0:
                        where = a
                        break
                if where < 0:
                    continue
                waits = idle
                for k in range(count):
                    if s.on[x, children[k]] < 0:
                        # it may rather start elsewhere
                        waits = True
                    if made == room:
                        break
                    copy(s, x, t, made)
                    start_on(tables, t, made, children[k], where)
                    made += 1
                if waits and made < room:
                    copy(s, x, t, made)
                    t.skipped[made, where] = 1
                    made += 1
            # follow each child to its next decision
            y = first
            while y < made:
                keep = True
                while True:
                    settle_instant(tables, t, y)
                    open_decision = False
                    for i in range(n):
                        if t.doing[y, i] == DECIDES:
                            open_decision = True
                    if not open_decision:
                        for a in range(accelerators):
                            if t.holder[y, a] < 0 and t.skipped[y, a] == 0:
                                for i in range(n):
                                    if may_start(tables, t, y, i, a):
                                        open_decision = True
                    if open_decision:
                        break
                    if not run_on(tables, t, y, factor):
                        keep = False
                        break
                t.estimate[y] = estimate(tables, prices, go, t, y, early)
                if not keep:
                    complete = True
                    for i in range(n):
                        if t.doing[y, i] != DONE:
                            complete = False
                    if complete and t.estimate[y] < cutoff:
                        place = finished
                        if finished == results:
                            place = int(np.argmax(found_cost))
                            if found_cost[place] <= t.estimate[y]:
                                place = -1
                        else:
                            finished += 1
                        if place >= 0:
                            found_cost[place] = t.estimate[y]
                            found_groups[place] = t.placed[y]
                            found_turn[place] = t.turn[y]
                            found_count[place] = t.count[y]
                elif t.estimate[y] >= cutoff:
                    keep = False
                if keep:
                    y += 1
                else:
                    made -= 1
                    if y < made:
                        copy(t, made, t, y)
        # the best of the children are the next generation
        if made > width:
            rank = np.argsort(t.estimate[:made])
            alive = 0
            for r in range(made):
                x = rank[r]
                # equal estimates at the same time are nearly always one state reached twice
                if alive > 0 and t.estimate[x] == s.estimate[alive - 1] and t.now[x] == s.now[alive - 1]:
                    continue
                copy(t, x, s, alive)
                s.estimate[alive] = t.estimate[x]
                alive += 1
                if alive == width:
                    break
        else:
            for x in range(made):
                copy(t, x, s, x)
                s.estimate[x] = t.estimate[x]
            alive = made
    order = np.argsort(found_cost[:finished])
    for k in range(finished):
        r = order[k]
        done.estimate[k] = found_cost[r]
        done.placed[k] = found_groups[r]
        done.turn[k] = found_turn[r]
        done.count[k] = found_count[r]
    return finished
