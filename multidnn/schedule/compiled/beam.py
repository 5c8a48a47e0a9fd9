"""Compiled beam search: builds schedules forward in time, keeping the most promising partial schedules of each moment.

Partial schedules wait in buckets by how far in time they have got, so that only such as have had the same time compete;
the one whose lower bound on the final cost is least has wasted least of it. The least bound among all that was given up
is a lower bound on every schedule the search did not see, so a wide enough search is a proof.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.costs import below, final_cost
from multidnn.schedule.compiled.jit import compiled, inlined
from multidnn.schedule.compiled.local import draw
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, Work
from multidnn.schedule.compiled.partial import (
    DECIDES,
    DONE,
    MOVES,
    SKIPS,
    STAYS,
    TAKES,
    States,
    ToGo,
    apply,
    begin_at_zero,
    copy,
    estimate,
    free_accelerator,
    may_start,
    run_to_decision,
    states,
)
from multidnn.schedule.compiled.patterns import is_excluded
from multidnn.schedule.compiled.timeline import finish_times

SPARE_ROOM = 12
"""Partial schedules that there is memory for, as a multiple of the width."""

CHAIN = 6
"""States expanded per bucket at most, as a multiple of the width: short moves stay in their bucket."""

# cells of `Beam.at`
BUCKET, FREE, RECORDS, EXPANDED, WAITING, INSIDE = 0, 1, 2, 3, 4, 5


class Beam(NamedTuple):
    """Memory of one beam search, which can be interrupted.

    Attributes:
        pool: partial schedules.
        free: places of `pool` not in use, the first at[FREE] of them.
        heap: [B, width] per bucket, places of the states in it, the one with the largest rank first.
        filled: [B] states in each.
        parent, move: [R] the moves that led to the states expanded so far.
        stack: places of states to expand within the bucket.
        seen: hashes of the states expanded in the bucket.
        at: the bucket, and the number of free places, of records, of states expanded, of states on the stack, and of
            states expanded in this bucket.
        floor: the least bound of a state given up for lack of room.
    """

    pool: States
    free: Ints
    heap: NDArray[np.int32]
    filled: Ints
    parent: NDArray[np.int32]
    move: NDArray[np.int16]
    stack: Ints
    seen: NDArray[np.uint64]
    at: Ints
    floor: Floats


def beam_for(n: int, accelerators: int, buckets: int, width: int) -> Beam:
    """Memory for a search of this width; `start_beam` makes it ready."""
    room = SPARE_ROOM * width + 4 * (n + accelerators)
    records = CHAIN * width * buckets + 1
    slots = 1
    # never full, or looking a state up would not end: what is expanded, and what is looked up after that
    while slots <= CHAIN * width + room:
        slots *= 2
    return Beam(
        states(room, n, accelerators), np.zeros(room, dtype=np.int64), np.zeros((buckets, width), dtype=np.int32),
        np.zeros(buckets, dtype=np.int64), np.zeros(records, dtype=np.int32), np.zeros(records, dtype=np.int16),
        np.zeros(room, dtype=np.int64), np.zeros(slots, dtype=np.uint64), np.zeros(6, dtype=np.int64),
        np.zeros(1),
    )  # fmt: skip


@compiled
def start_beam(beam: Beam, limits: Ints) -> None:
    """Put the state before anything has started into the first bucket."""
    room = len(beam.free)
    for x in range(room):
        beam.free[x] = room - 1 - x
    beam.filled[:] = 0
    begin_at_zero(beam.pool, 0, limits)
    beam.pool.parent[0] = -1
    beam.pool.move[0] = -1
    beam.pool.rank[0] = 0.0
    beam.pool.estimate[0] = -np.inf
    beam.heap[0, 0] = 0
    beam.filled[0] = 1
    beam.floor[0] = np.inf
    beam.at[BUCKET] = -1
    beam.at[FREE] = room - 1
    beam.at[RECORDS] = 0
    beam.at[EXPANDED] = 0
    beam.at[WAITING] = 0
    beam.at[INSIDE] = 0


@inlined
def release(beam: Beam, x: int) -> None:
    """Free the place of state `x`."""
    beam.free[beam.at[FREE]] = x
    beam.at[FREE] += 1


@inlined
def drop(beam: Beam, x: int) -> None:
    """Give up state `x` and all schedules that it leads to."""
    beam.floor[0] = min(beam.floor[0], beam.pool.estimate[x])
    release(beam, x)


@inlined
def push(beam: Beam, b: int, x: int) -> None:
    """Put state `x` into bucket `b`; if the bucket is full, give up the worst there or `x` itself."""
    rank = beam.pool.rank
    heap, count = beam.heap[b], beam.filled[b]
    if count < len(heap):
        k = count
        beam.filled[b] += 1
        while k > 0 and rank[heap[(k - 1) // 2]] < rank[x]:
            heap[k] = heap[(k - 1) // 2]
            k = (k - 1) // 2
        heap[k] = x
        return
    if rank[heap[0]] <= rank[x]:
        drop(beam, x)
        return
    drop(beam, heap[0])
    k = 0
    while 2 * k + 1 < count:
        child = 2 * k + 1
        if child + 1 < count and rank[heap[child + 1]] > rank[heap[child]]:
            child += 1
        if rank[heap[child]] <= rank[x]:
            break
        heap[k] = heap[child]
        k = child
    heap[k] = x


@inlined
def mix(h: np.uint64, value: np.uint64) -> np.uint64:
    """One more word in a hash."""
    h = (h ^ value) * np.uint64(0x9E3779B97F4A7C15)
    return h ^ (h >> np.uint64(29))


@inlined
def seen_before(beam: Beam, x: int) -> bool:
    """Whether a state equal to `x` in everything that matters later was expanded in this bucket; remembers this one."""
    s = beam.pool
    h = mix(np.uint64(1), np.float64(s.now[x]).view(np.uint64))
    for i in range(s.left.shape[1]):
        h = mix(h, np.float64(s.left[x, i]).view(np.uint64))
        h = mix(h, np.float64(s.finish[x, i]).view(np.uint64))
        small = s.group[x, i] * 64 + s.doing[x, i]
        small = (small * 64 + s.on[x, i] + 1) * 64 + s.next[x, i] + 1
        h = mix(h, np.uint64(small * 65536 + s.spare[x, i]))
    for a in range(s.holder.shape[1]):
        h = mix(h, np.uint64(s.skipped[x, a]))
    h |= np.uint64(1)
    mask = np.uint64(len(beam.seen) - 1)
    k = (h >> np.uint64(1)) & mask
    while beam.seen[k] != 0:
        if beam.seen[k] == h:
            return True
        k = (k + np.uint64(1)) & mask
    beam.seen[k] = h
    return False


@compiled
def replay(beam: Beam, x: int, groups: NDArray[np.int8], turns: Ints, path: Ints) -> None:
    """Work out placement [n, G] and turns [A, n * G] of complete state `x`; `path` is scratch."""
    n, accelerators = beam.pool.left.shape[1], beam.pool.holder.shape[1]
    steps = 1
    path[0] = beam.pool.move[x]
    record = beam.pool.parent[x]
    while record >= 0:
        path[steps] = beam.move[record]
        steps += 1
        record = beam.parent[record]
    turns[:] = -1
    count = np.zeros(accelerators, dtype=np.int64)
    at = np.full(n, -1)
    for k in range(steps - 1, -1, -1):
        move = path[k]
        if move < 0:
            continue
        a = move % accelerators
        i = move // accelerators % n
        kind = move // accelerators // n
        if kind == STAYS:
            at[i] += 1
            groups[i, at[i]] = a
        elif kind == TAKES:
            at[i] += 1
            groups[i, at[i]] = a
            turns[a, count[a]] = i
            count[a] += 1


@compiled
def run_beam(
    tables: Tables,
    prices: Prices,
    work: Work,
    go: ToGo,
    beam: Beam,
    horizon: float,
    idle: bool,
    noise: float,
    state: NDArray[np.uint64],
    excluded: NDArray[np.int8],
    cutoff: float,
    level: float,
    budget: int,
    best: NDArray[np.int8],
) -> tuple[float, bool]:
    """Search on until about `budget` more states are expanded.

    Args:
        tables: the problem; infinite times take placements out of the search.
        prices: bounds.
        work: memory; `work.best_turn` and `work.best_count` receive the turns of `best`.
        go: `to_go` of these tables and prices.
        beam: from `start_beam`.
        horizon: ms that the buckets divide.
        idle: let an accelerator wait although a segment could start.
        noise: random share of the estimate added to a state's rank at most.
        state: [1] of the random generator.
        excluded: [k, n, G] placements that are no result.
        cutoff: the cost to beat.
        level: states with this bound or a higher one are given up; a level that the floor is to reach.
        budget: states.
        best: [n, G] receives a placement better than `cutoff`.

    Returns:
        The cost of `best`, `cutoff` if nothing beats it; whether the search is through. Then, if `idle`, no schedule
        costs less than the smaller of that cost and `beam.floor`, except those that use excluded placements.
    """
    s = beam.pool
    n, accelerators = s.left.shape[1], s.holder.shape[1]
    buckets, width = beam.heap.shape
    early = np.zeros(n)
    factor = np.zeros(accelerators)
    groups = np.zeros(best.shape, dtype=np.int8)
    turns = np.zeros(work.turn.shape, dtype=np.int64)
    path = np.zeros(4 * (2 + accelerators) * n * best.shape[1] + 64, dtype=np.int64)
    moves = np.zeros(n + 2 * accelerators + 2, dtype=np.int64)
    until = beam.at[EXPANDED] + budget
    while beam.at[EXPANDED] < until:
        b = beam.at[BUCKET]
        if beam.at[WAITING] == 0:
            # the next bucket, the best on top of the stack
            b += 1
            while b < buckets and beam.filled[b] == 0:
                b += 1
            if b == buckets:
                return cutoff, True
            count = beam.filled[b]
            ranks = np.empty(count)
            for k in range(count):
                ranks[k] = -s.rank[beam.heap[b, k]]
            by_rank = np.argsort(ranks)
            for k in range(count):
                beam.stack[k] = beam.heap[b, by_rank[k]]
            beam.at[BUCKET] = b
            beam.at[WAITING] = count
            beam.at[INSIDE] = 0
            beam.seen[:] = 0
        beam.at[WAITING] -= 1
        x = beam.stack[beam.at[WAITING]]
        # equal states may differ in being excluded
        if s.estimate[x] >= below(cutoff) or (len(excluded) == 0 and seen_before(beam, x)):
            release(beam, x)
            continue
        if beam.at[INSIDE] == CHAIN * width or beam.at[RECORDS] == len(beam.parent):
            drop(beam, x)
            continue
        beam.at[INSIDE] += 1
        beam.at[EXPANDED] += 1
        record = beam.at[RECORDS]
        beam.at[RECORDS] += 1
        beam.parent[record] = s.parent[x]
        beam.move[record] = s.move[x]
        # what can be decided: an instance between groups, then a free accelerator
        who = -1
        for i in range(n):
            if s.doing[x, i] == DECIDES:
                who = i
                break
        many = 0
        if who >= 0:
            g, here = s.group[x, who], s.on[x, who]
            for a in range(accelerators):
                kind = STAYS if a == here else MOVES
                spare = s.spare[x, who] - (0 if a == here else 1)
                if spare >= 0 and go.start[len(prices.members), who, g + 1, a, spare] < np.inf:
                    moves[many] = (kind * n + who) * accelerators + a
                    many += 1
        else:
            where = free_accelerator(tables, go, s, x)
            waits = idle
            if where >= 0:
                for i in range(n):
                    if may_start(tables, go, s, x, i, where):
                        moves[many] = (TAKES * n + i) * accelerators + where
                        many += 1
                        # it may rather start elsewhere
                        waits = waits or s.on[x, i] < 0
                if waits:
                    moves[many] = SKIPS * n * accelerators + where
                    many += 1
        for k in range(many):
            # a child needs a place beside its parent's
            if beam.at[FREE] == 0:
                beam.floor[0] = min(beam.floor[0], s.estimate[x])
                break
            beam.at[FREE] -= 1
            y = beam.free[beam.at[FREE]]
            copy(s, x, y)
            s.parent[y] = record
            s.move[y] = moves[k]
            apply(tables, s, y, moves[k] // accelerators // n, moves[k] // accelerators % n, moves[k] % accelerators)
            open_end = run_to_decision(tables, go, s, y, factor)
            s.estimate[y] = estimate(tables, prices, go, s, y, early)
            keep = s.estimate[y] < below(cutoff)
            if keep and not open_end:
                keep = False
                complete = True
                for i in range(n):
                    if s.doing[y, i] != DONE:
                        complete = False
                if complete:
                    replay(beam, y, groups, turns, path)
                    if (
                        finish_times(tables, prices, work, groups, turns)
                        and final_cost(tables, work, int(0)) < below(cutoff)
                        and not is_excluded(tables, groups, excluded)
                    ):
                        cutoff = final_cost(tables, work, int(0))
                        best[:] = groups
                        for a in range(accelerators):
                            work.best_count[a] = work.count[0, a]
                            for h in range(work.count[0, a]):
                                work.best_turn[a, h] = turns[a, h]
            if not keep:
                release(beam, y)
                continue
            if s.estimate[y] >= level:
                drop(beam, y)
                continue
            s.rank[y] = s.estimate[y]
            if noise > 0.0:
                s.rank[y] += noise * abs(s.estimate[y]) * draw(state)
            to = min(buckets - 1, int(s.now[y] / horizon * buckets))
            if to <= b:
                beam.stack[beam.at[WAITING]] = y
                beam.at[WAITING] += 1
            else:
                push(beam, to, y)
        release(beam, x)
    return cutoff, False
