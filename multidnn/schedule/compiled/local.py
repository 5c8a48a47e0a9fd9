"""Compiled simulated annealing: good schedules early, by small changes of placement and order together."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.bounds import combination_cost
from multidnn.schedule.compiled.costs import below, final_cost
from multidnn.schedule.compiled.jit import inlined, lean
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, Work
from multidnn.schedule.compiled.patterns import is_excluded, measure
from multidnn.schedule.compiled.timeline import follow, place


@inlined
def draw(state: NDArray[np.uint64]) -> float:
    """A number in [0, 1) from the generator in state[0] (xorshift64*; Vigna 2016)."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return float((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@inlined
def below_n(state: NDArray[np.uint64], n: int) -> int:
    """A whole number from 0 to n - 1."""
    return int(draw(state) * n)


@inlined
def transitions(tables: Tables, i: int, groups: NDArray[np.int8]) -> int:
    """Changes of accelerator, or -1 if a group is not supported where it is."""
    count = 0
    for g in range(tables.groups[i]):
        if tables.time[i, g, groups[g]] == np.inf:
            return -1
        if g > 0 and groups[g] != groups[g - 1]:
            count += 1
    return count


@inlined
def change(tables: Tables, state: NDArray[np.uint64], i: int, groups: NDArray[np.int8]) -> None:
    """One small change: a border between segments moves, or a run of groups goes to another accelerator."""
    count, accelerators = tables.groups[i], tables.time.shape[2]
    borders = 0
    for g in range(1, count):
        if groups[g] != groups[g - 1]:
            borders += 1
    if borders > 0 and draw(state) < 0.5:
        which = below_n(state, borders)
        g = 0
        while which >= 0:
            g += 1
            if groups[g] != groups[g - 1]:
                which -= 1
        by = 1 + below_n(state, 3)
        if draw(state) < 0.5:
            for h in range(g, min(count, g + by)):
                groups[h] = groups[g - 1]
        else:
            a = groups[g]
            for h in range(max(0, g - by), g):
                groups[h] = a
        return
    first = below_n(state, count)
    last = first
    if draw(state) < 0.4:
        last = first + below_n(state, count - first)
    else:
        # to the end of the segment, or the whole of it
        while last + 1 < count and groups[last + 1] == groups[first]:
            last += 1
        if draw(state) < 0.5:
            while first > 0 and groups[first - 1] == groups[last]:
                first -= 1
    a = below_n(state, accelerators)
    for h in range(first, last + 1):
        groups[h] = a


@inlined
def line_up(work: Work, keys: Floats, turns: Ints, sorted_keys: Floats, counts: Ints) -> None:
    """Turns [A, n * G] of the placed segments by ascending key [n, G] of their first group; the rest is -1."""
    turns[:] = -1
    counts[:] = 0
    for i in range(len(work.segments)):
        for s in range(work.segments[i]):
            a = work.on[i, s]
            key = keys[i, work.first[i, s]]
            k = counts[a]
            while k > 0 and sorted_keys[a, k - 1] > key:
                sorted_keys[a, k] = sorted_keys[a, k - 1]
                turns[a, k] = turns[a, k - 1]
                k -= 1
            sorted_keys[a, k] = key
            turns[a, k] = i
            counts[a] += 1


@inlined
def read_keys(work: Work, keys: Floats) -> None:
    """Set the key of every group to when it started in the timeline run last."""
    for i in range(keys.shape[0]):
        for step in range(work.steps[i]):
            if work.item[i, step] >= 0:
                keys[i, work.item[i, step]] = work.started[i, step]


class Trial(NamedTuple):
    """Memory of `anneal`: the current placement's figures and the changed one's.

    Attributes:
        turns: [A, n * G] as for `follow`.
        sorted_keys: [A, n * G] scratch of `line_up`.
        count: [A] likewise.
        keys: [n, G] changed keys.
        groups: [n, G] changed placement.
        chains: [n] of each instance's pattern.
        load, worth: [n, A], [n, m] likewise.
        loads, worths: [A], [m] of all instances together.
        new_load, new_worth: [A], [m] of a changed pattern.
    """

    turns: Ints
    sorted_keys: Floats
    count: Ints  # type: ignore[assignment]
    keys: Floats
    groups: NDArray[np.int8]
    chains: Floats
    load: Floats
    worth: Floats
    loads: Floats
    worths: Floats
    new_load: Floats
    new_worth: Floats


def anneal(
    tables: Tables,
    prices: Prices,
    work: Work,
    limits: Ints,
    groups: NDArray[np.int8],
    keys: Floats,
    cost: float,
    excluded: NDArray[np.int8],
    hot: float,
    cold: float,
    steps: int,
    state: NDArray[np.uint64],
    best: NDArray[np.int8],
    cutoff: float,
) -> tuple[float, float]:
    """Simulated annealing (Kirkpatrick et al. 1983) over placements and orders.

    Segments take their turns by ascending key; a group's key is when it started in the current timeline, so a
    changed placement keeps the order of what it does not touch.

    Args:
        tables: the problem.
        prices: for the bounds.
        work: memory; `work.best_turn` and `work.best_count` receive the turns of `best`.
        limits: [n] transitions allowed.
        groups: [n, G] where to start; holds the placement arrived at afterwards.
        keys: [n, G] likewise.
        cost: of the start; infinity to have it worked out.
        excluded: [k, n, G] placements that may be passed through, but are no result.
        hot, cold: temperature at the first and the last step, as a share of the cost.
        steps: changes to try.
        state: [1] of the random generator.
        best: [n, G] receives a placement better than `cutoff`.
        cutoff: the cost to beat.

    Returns:
        The cost arrived at, and the cost of `best` (`cutoff` if nothing beats it).
    """
    n, accelerators = work.load.shape
    m = len(prices.members)
    memory = Trial(
        np.full(work.turn.shape, -1), np.zeros(work.turn.shape), np.zeros(accelerators, dtype=np.int64), keys.copy(),
        groups.copy(), np.zeros(n), np.zeros((n, accelerators)), np.zeros((n, m)), np.zeros(accelerators), np.zeros(m),
        np.zeros(accelerators), np.zeros(m),
    )  # fmt: skip
    found: tuple[float, float] = _anneal(
        tables, prices, work, limits, groups, keys, cost, excluded, hot, cold, steps, state, best, cutoff, memory
    )
    return found


@lean
def _anneal(
    tables: Tables,
    prices: Prices,
    work: Work,
    limits: Ints,
    groups: NDArray[np.int8],
    keys: Floats,
    cost: float,
    excluded: NDArray[np.int8],
    hot: float,
    cold: float,
    steps: int,
    state: NDArray[np.uint64],
    best: NDArray[np.int8],
    cutoff: float,
    memory: Trial,
) -> tuple[float, float]:
    """`anneal`, with its memory."""
    n, accelerators = work.load.shape
    turns, trial_keys, trial, chains = memory.turns, memory.keys, memory.groups, memory.chains
    load, worth, loads, worths = memory.load, memory.worth, memory.loads, memory.worths
    new_load, new_worth = memory.new_load, memory.new_worth
    for i in range(n):
        chains[i] = measure(tables, prices, i, groups[i], load[i], worth[i])
        place(tables, prices, work, i, groups[i])
    line_up(work, keys, turns, memory.sorted_keys, memory.count)
    if follow(tables, work, turns):
        cost = final_cost(tables, work, int(0))
        read_keys(work, keys)
    else:
        return np.inf, cutoff
    fall = (cold / hot) ** (1.0 / max(1, steps))
    heat = hot
    for _ in range(steps):
        heat *= fall
        accept = cost - abs(cost) * heat * np.log(1.0 - draw(state))
        i = below_n(state, n)
        if draw(state) < 0.7:
            for _again in range(1 + below_n(state, 2)):
                change(tables, state, i, trial[i])
            used = transitions(tables, i, trial[i])
            same = True
            for g in range(tables.groups[i]):
                if trial[i, g] != groups[i, g]:
                    same = False
                    break
            if same or used < 0 or used > limits[i]:
                copy_to(trial[i], groups[i])
                continue
            old_chain = chains[i]
            chains[i] = measure(tables, prices, i, trial[i], new_load, new_worth)
            copy_to(loads, new_load)
            copy_to(worths, new_worth)
            for j in range(n):
                if j != i:
                    for a in range(accelerators):
                        loads[a] += load[j, a]
                    for p in range(len(worths)):
                        worths[p] += worth[j, p]
            if combination_cost(tables, work, prices, chains, loads, worths) >= accept:
                chains[i] = old_chain
                copy_to(trial[i], groups[i])
                continue
            place(tables, prices, work, i, trial[i])
            moved = True
            line_up(work, keys, turns, memory.sorted_keys, memory.count)
        else:
            # one segment earlier or later in its accelerator's order
            s = below_n(state, work.segments[i])
            g = work.first[i, s]
            for j in range(n):
                copy_to(trial_keys[j], keys[j])
            span = 0.5 * abs(final_span(work))
            trial_keys[i, g] += (draw(state) - 0.5) * span
            moved = False
            line_up(work, trial_keys, turns, memory.sorted_keys, memory.count)
        found = np.inf
        if follow(tables, work, turns):
            found = final_cost(tables, work, int(0))
        if not found < accept:
            if moved:
                chains[i] = old_chain
                copy_to(trial[i], groups[i])
                place(tables, prices, work, i, groups[i])
            continue
        cost = found
        read_keys(work, keys)
        if moved:
            copy_to(groups[i], trial[i])
            copy_to(load[i], new_load)
            copy_to(worth[i], new_worth)
        if cost < below(cutoff) and not is_excluded(tables, groups, excluded):
            cutoff = cost
            for j in range(n):
                copy_to(best[j], groups[j])
            for a in range(accelerators):
                work.best_count[a] = work.count[0, a]
                for k in range(work.count[0, a]):
                    work.best_turn[a, k] = turns[a, k]
    return cost, cutoff


@inlined
def copy_to(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy a row; numba's own way of it allocates."""
    for k in range(len(source)):
        target[k] = source[k]


@inlined
def final_span(work: Work) -> float:
    """The makespan of the timeline run last."""
    latest = 0.0
    for i in range(work.finish.shape[1]):
        latest = max(latest, work.finish[0, i])
    return latest
