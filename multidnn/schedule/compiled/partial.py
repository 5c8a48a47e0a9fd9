"""Compiled partial schedules: what has happened up to now, what can be decided next, and what is left to do at least."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.jit import compiled, inlined
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables
from multidnn.schedule.compiled.slowdown import slowdown

# what an instance is doing
WAITS, ENTERS, RUNS, LEAVES, DECIDES, DONE = 0, 1, 2, 3, 4, 5

# kinds of move: an instance goes on where it is, or leaves for an accelerator, or takes one, or an accelerator waits
STAYS, MOVES, TAKES, SKIPS = 0, 1, 2, 3

Small = NDArray[np.int8]


class ToGo(NamedTuple):
    """The least worth of what is left of an instance, per price p (the last one: plain ms).

    Attributes:
        start: [p, n, G, A, K + 1] of the group on this accelerator and all later ones, with k transitions left.
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
        next: [., n] while it leaves, the accelerator it moves to; while it waits or enters, the one it came from.
        spare: [., n] transitions left.
        holder: [., A] the instance on the accelerator, or -1.
        skipped: [., A] 1 where the free accelerator has been looked at since the last event.
        finish: [., n] ms, -1 until finished.
        estimate: lower bound on the cost.
        rank: what the search sorts by.
        parent, move: the record (`beam`) of the state before the last move, and that move.
    """

    now: Floats
    left: Floats
    doing: Small
    group: NDArray[np.int16]
    on: Small
    next: Small
    spare: NDArray[np.int16]
    holder: Small
    skipped: Small
    finish: Floats
    estimate: Floats
    rank: Floats
    parent: NDArray[np.int32]
    move: NDArray[np.int16]


def states(many: int, n: int, accelerators: int) -> States:
    """Memory for `many` partial schedules."""

    def small(*shape: int) -> Small:
        return np.zeros((many, *shape), dtype=np.int8)

    return States(
        np.zeros(many), np.zeros((many, n)), small(n), np.zeros((many, n), dtype=np.int16), small(n), small(n), np.zeros((many, n), dtype=np.int16),
        small(accelerators),
        small(accelerators), np.zeros((many, n)), np.zeros(many), np.zeros(many), np.zeros(many, dtype=np.int32),
        np.zeros(many, dtype=np.int16),
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
    """A lower bound on the cost of all completions of state `x`; `early` is scratch of n entries."""
    n = s.left.shape[1]
    m = len(prices.members)
    cost = 0.0
    for p in range(m):
        if prices.members[p] < 0:
            # it bounds a weighted sum of finishes, no makespan
            continue
        total = 0.0
        for i in range(n):
            if prices.members[p] >> i & 1:
                total += left_to_do(tables, prices, go, s, x, p, i)
        if total > 0.0:
            cost = max(cost, s.now[x] + total)
    throughput = 0.0
    least = np.inf
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
        gain = 1000.0 / early[i] if early[i] > 0.0 else np.inf
        throughput += gain
        least = min(least, gain)
    if tables.latency == 1:
        return cost
    if cost > 0.0:
        # the last to finish does so at `cost` or after
        throughput += min(least, 1000.0 / cost) - least if least < np.inf else 0.0
    return -throughput


@inlined
def copy(s: States, x: int, y: int) -> None:
    """Copy state `x` to place `y`."""
    s.now[y] = s.now[x]
    for i in range(s.left.shape[1]):
        s.left[y, i] = s.left[x, i]
        s.doing[y, i] = s.doing[x, i]
        s.group[y, i] = s.group[x, i]
        s.on[y, i] = s.on[x, i]
        s.next[y, i] = s.next[x, i]
        s.spare[y, i] = s.spare[x, i]
        s.finish[y, i] = s.finish[x, i]
    for a in range(s.holder.shape[1]):
        s.holder[y, a] = s.holder[x, a]
        s.skipped[y, a] = s.skipped[x, a]


@inlined
def begin_at_zero(s: States, x: int, limits: Ints) -> None:
    """Make state `x` the one before anything has started."""
    s.now[x] = 0.0
    for i in range(s.left.shape[1]):
        s.left[x, i] = 0.0
        s.doing[x, i] = WAITS
        s.group[x, i] = 0
        s.on[x, i] = -1
        s.next[x, i] = -1
        s.spare[x, i] = limits[i]
        s.finish[x, i] = -1.0
    for a in range(s.holder.shape[1]):
        s.holder[x, a] = -1
        s.skipped[x, a] = 0


@inlined
def may_start(tables: Tables, go: ToGo, s: States, x: int, i: int, a: int) -> bool:
    """Whether instance `i` waits for accelerator `a`, or for any and can get through from `a`."""
    if s.doing[x, i] != WAITS:
        return False
    if s.on[x, i] >= 0:
        return s.on[x, i] == a
    if go.start[len(go.start) - 1, i, 0, a, s.spare[x, i]] == np.inf:
        return False
    for j in range(s.left.shape[1]):
        if tables.waits[i, j] == 1 and s.doing[x, j] != DONE:
            return False
    return True


@inlined
def apply(tables: Tables, s: States, x: int, kind: int, i: int, a: int) -> None:
    """Make a move (one of the constants above) of instance `i` with accelerator `a`."""
    g = s.group[x, i]
    if kind == STAYS:
        s.group[x, i] = g + 1
        s.doing[x, i] = RUNS
        s.left[x, i] = tables.time[i, g + 1, a]
    elif kind == MOVES:
        s.doing[x, i] = LEAVES
        s.spare[x, i] -= 1
        s.next[x, i] = a
        s.left[x, i] = tables.hold_out[i, g, s.on[x, i], a]
    elif kind == TAKES:
        s.holder[x, a] = i
        s.on[x, i] = a
        if g > 0:
            s.doing[x, i] = ENTERS
            s.left[x, i] = tables.hold_in[i, g - 1, s.next[x, i], a]
        else:
            s.doing[x, i] = RUNS
            s.left[x, i] = tables.time[i, 0, a]
    else:
        s.skipped[x, a] = 1


@inlined
def settle_instant(tables: Tables, s: States, x: int) -> int:
    """End what takes no more time; the first instance that then has to decide, or -1."""
    who = -1
    for i in range(s.left.shape[1] - 1, -1, -1):
        while s.left[x, i] <= 0.0:
            doing = s.doing[x, i]
            if doing == ENTERS:
                s.doing[x, i] = RUNS
                s.left[x, i] = tables.time[i, s.group[x, i], s.on[x, i]]
            elif doing == RUNS:
                if s.group[x, i] == tables.groups[i] - 1:
                    s.skipped[x, :] = 0
                    s.doing[x, i] = DONE
                    s.finish[x, i] = s.now[x]
                    s.holder[x, s.on[x, i]] = -1
                else:
                    s.doing[x, i] = DECIDES
            elif doing == LEAVES:
                s.skipped[x, :] = 0
                s.holder[x, s.on[x, i]] = -1
                source = s.on[x, i]
                s.doing[x, i] = WAITS
                s.on[x, i] = s.next[x, i]
                s.next[x, i] = source
                s.group[x, i] += 1
            else:
                break
        if s.doing[x, i] == DECIDES:
            who = i
    return who


@inlined
def free_accelerator(tables: Tables, go: ToGo, s: States, x: int) -> int:
    """The first free accelerator not yet looked at that an instance could take now, or -1."""
    for a in range(s.holder.shape[1]):
        if s.holder[x, a] < 0 and s.skipped[x, a] == 0:
            for i in range(s.left.shape[1]):
                if may_start(tables, go, s, x, i, a):
                    return a
    return -1


@inlined
def run_on(tables: Tables, s: States, x: int, factor: Floats) -> bool:
    """Advance to the next event; False if nothing runs. `factor` is scratch of A entries."""
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


@inlined
def run_to_decision(tables: Tables, go: ToGo, s: States, x: int, factor: Floats) -> bool:
    """Advance to the next moment with something to decide; False if there is none, because all is done or stuck."""
    while settle_instant(tables, s, x) < 0 and free_accelerator(tables, go, s, x) < 0:
        if not run_on(tables, s, x, factor):
            return False
    return True
