"""A problem, and what a search works in, as flat arrays that compiled code can take."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_INSTANCES_FOR_SUBSETS = 6
"""Up to this many instances, bounds on every subset of them bound the throughput."""


class Tables(NamedTuple):
    """A `Problem`; n instances, G groups at most, A accelerators, E points of the longest grid axis.

    Attributes:
        groups: [n] number of groups.
        time: [n, G, A] ms alone, infinity where unsupported.
        demand: [n, G, A] GB/s.
        hold_out, hold_in: [n, G, A, A] ms of the transition after a group, from the first accelerator to the second.
        external, points: [A, E] axis of external demand in GB/s, and [A] how many of its points count.
        factor: [n, G, A, E] slowdown of the group at each point of that axis.
        waits: [n, n] 1 where the first instance waits for the second.
        sequence: [n] instances, each behind those it waits for.
        twins: [n] equal for instances that could trade places unnoticed.
        latency: 1 for the objective latency, 0 for throughput.
    """

    groups: Ints
    time: Floats
    demand: Floats
    hold_out: Floats
    hold_in: Floats
    external: Floats
    points: Ints
    factor: Floats
    waits: Ints
    sequence: Ints
    twins: Ints
    latency: int


class Prices(NamedTuple):
    """Dual solutions of the configuration LP (`lp`), m of them.

    Attributes:
        work: [m, n, G, A] what a millisecond alone of a group is worth in milliseconds of makespan.
        hold: [m, n, A] the same for holds of an instance.
        members: [m] bit i set if instance i has prices; the others' are 0. The worth bounds when the last of them
            finishes. -1 where it bounds a weighted sum of finishes instead, in one order of finishing:
        order: [m, n] the instances in that order.
        weight: [m, n] the weight of each instance's finish.
    """

    work: Floats
    hold: Floats
    members: Ints
    order: Ints
    weight: Floats


class Work(NamedTuple):
    """Memory of one search: the steps of the placed instances, then a stack of states (first axis: depth)."""

    ms: Floats  # [n, S] per step
    item: Ints  # [n, S] group of the step, -1 for a hold
    steps: Ints  # [n]
    segments: Ints  # [n]
    on: Ints  # [n, G] accelerator of each segment
    first: Ints  # [n, G] first group of each segment
    last: Ints  # [n, G]
    end: Ints  # [n, G] number of steps up to and including the segment
    future: Ints  # [n, G + 1] bits of the accelerators of this and later segments
    tail: Floats  # [n, S + 1] ms alone from the start of the step to the finish
    worth: Floats  # [m, n, S + 1] the same in prices
    load: Floats  # [n, A]
    started: Floats  # [n, S] when each step began on the path walked last
    now: Floats  # [D]
    left: Floats  # [D, n]
    finish: Floats  # [D, n]; -1 until finished
    rest: Floats  # [D, A] ms alone of steps not yet started
    step: Ints  # [D, n]
    segment: Ints  # [D, n]
    running: Ints  # [D, n]
    holder: Ints  # [D, A]
    wanted: Ints  # [D, A] the instance chosen to be next, or -1
    least: Floats  # [D] lower bound on the cost of what continues
    count: Ints  # type: ignore[assignment]  # [D, A] turns taken
    choice: Ints  # [D, n] instances to try next
    ready: Ints  # [D, n] whether that choice can start at once
    choices: Ints  # [D]
    tried: Ints  # [D]
    where: Ints  # [D] accelerator of the choice
    turn: Ints  # [A, n * G] instances in turn on the path walked
    best_turn: Ints  # [A, n * G] those of the best order found
    best_count: Ints  # [A]
    early: Floats  # [n] scratch: earliest finishes
    lengths: Floats  # [n] scratch
    earliest: Floats  # [n] scratch
    worths: Floats  # [m] scratch: worth left
    subset: Floats  # [2 ** n] scratch: best throughput of a subset; empty with many instances


def tables_of(problem: Problem) -> Tables:
    """Flatten a problem."""
    n, accelerators = len(problem.instances), len(problem.accelerators)
    counts = [len(problem.costs(i).groups) for i in range(n)]
    longest = max(counts)
    axis = max(len(grid.external) for grid in problem.slowdown)
    time = np.full((n, longest, accelerators), np.inf)
    demand = np.zeros((n, longest, accelerators))
    hold_out = np.zeros((n, longest, accelerators, accelerators))
    hold_in = np.zeros((n, longest, accelerators, accelerators))
    external = np.full((accelerators, axis), np.inf)
    factor = np.ones((n, longest, accelerators, axis))
    for a, grid in enumerate(problem.slowdown):
        external[a, : len(grid.external)] = grid.external
    for i in range(n):
        costs = problem.costs(i)
        for g, options in enumerate(costs.groups):
            for a, cost in enumerate(options):
                if cost is not None:
                    time[i, g, a], demand[i, g, a] = cost.time_ms, cost.demand_gb_s
                    grid = problem.slowdown[a]
                    for k, e in enumerate(grid.external):
                        factor[i, g, a, k] = grid(cost.demand_gb_s, e)
        for (g, a, b), (out_ms, in_ms) in costs.transitions.items():
            hold_out[i, g, a, b], hold_in[i, g, a, b] = out_ms, in_ms
    waits = np.zeros((n, n), dtype=np.int64)
    for i, others in enumerate(problem.workload.predecessors()):
        waits[i, list(others)] = 1
    kinds: dict[object, int] = {}
    twins = [kinds.setdefault(twin, len(kinds)) for twin in problem.workload.twins()]
    return Tables(
        np.array(counts), time, demand, hold_out, hold_in, external,
        np.array([len(grid.external) for grid in problem.slowdown]), factor, waits,
        np.array(problem.workload.sequence()), np.array(twins), int(problem.workload.objective == "latency"),
    )  # fmt: skip


def no_prices(tables: Tables) -> Prices:
    """Prices that bound nothing."""
    n, groups, accelerators = tables.time.shape
    none = np.zeros(0, dtype=np.int64)
    return Prices(
        np.zeros((0, n, groups, accelerators)),
        np.zeros((0, n, accelerators)),
        none,
        none.reshape(0, n),
        np.zeros((0, n)),
    )


def work_for(tables: Tables, prices: Prices) -> Work:
    """Memory for searches with these prices; one search at a time may use it."""
    n, groups, accelerators = tables.time.shape
    most = 3 * groups
    depth = n * groups + 2

    def ints(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    subsets = 2**n if n <= MOST_INSTANCES_FOR_SUBSETS else 0
    return Work(
        np.zeros((n, most)), ints(n, most), ints(n), ints(n), ints(n, groups), ints(n, groups), ints(n, groups),
        ints(n, groups), ints(n, groups + 1), np.zeros((n, most + 1)), np.zeros((len(prices.members), n, most + 1)),
        np.zeros((n, accelerators)), np.zeros((n, most)), np.zeros(depth), np.zeros((depth, n)), np.zeros((depth, n)),
        np.zeros((depth, accelerators)), ints(depth, n), ints(depth, n), ints(depth, n), ints(depth, accelerators),
        ints(depth, accelerators), np.zeros(depth), ints(depth, accelerators), ints(depth, n), ints(depth, n), ints(depth), ints(depth),
        ints(depth), ints(accelerators, n * groups), ints(accelerators, n * groups), ints(accelerators),
        np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(len(prices.members)), np.zeros(subsets),
    )  # fmt: skip
