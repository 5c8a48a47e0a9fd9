"""The timeline of docs/semantics.md compiled: what happens in a given order.

`finish_times` is the twin of `multidnn.schedule.timeline.simulate`, to 1e-9. A schedule is laid out as the steps of its
instances (`place`: holds and groups, one after the other). A state of the timeline is one depth `d` of the stack in
`Work`; what is simulated here stays at depth 0, the search over orders (`orders`) walks on to further depths.
"""

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.jit import inlined, lean
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, Work
from multidnn.schedule.compiled.slowdown import slowdown


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
