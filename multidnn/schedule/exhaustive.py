"""exhaustive: every placement and every order, through the simulator; the plain reference for small cases.

`exhaustive` is the scheduler, plain Python throughout. `exhaustive_all` tries the same through the compiled simulator, some
hundred times as fast and for both objectives at once, for comparisons on problems with millions of timelines.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TypeVar

from multidnn.schedule.costs import below, cost_of
from multidnn.schedule.patterns import count_placements, placements_of
from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Deadlock, Order, Placement, Segment, segments_of, simulate

_T = TypeVar("_T")

TRIED_BETWEEN_LOOKS = 100_000
"""Timelines that `exhaustive_all` tries between looks at the clock: some tenths of a second."""


def exhaustive(
    problem: Problem,
    max_transitions: int | None,
    found: Callable[[float, Placement, Order], None],
    out_of_time: Callable[[], bool],
) -> bool:
    """Try everything; call `found(value, placement, order)` at each improvement.

    Returns:
        Whether everything was tried, so that the last one found is optimal; False when `out_of_time()` said so.
    """
    objective = problem.workload.objective
    best = math.inf
    costs = [problem.costs(i) for i in range(len(problem.instances))]
    if not all(count_placements(network, max_transitions) for network in costs):
        return True
    for placement in lazy_product([partial(placements_of, network, max_transitions) for network in costs]):
        for order in orders_of(placement, len(problem.accelerators)):
            if out_of_time():
                return False
            try:
                value = simulate(problem, placement, order).value(objective)
            except Deadlock:
                continue
            if cost_of(objective, value) < below(best):
                best = cost_of(objective, value)
                found(value, placement, order)
    return True


@dataclass(frozen=True)
class Everything:
    """What `exhaustive_all` found.

    Attributes:
        best: per objective its best value (ms or 1/s), and a placement and an order that have it, by index; empty if
            there is no schedule, or none was reached.
        complete: whether everything was tried, so that the best are optimal.
        timelines: orders tried, those that deadlock included.
    """

    best: dict[str, tuple[float, Placement, Order]]
    complete: bool
    timelines: int


def exhaustive_all(problem: Problem, max_transitions: int | None, deadline: float = math.inf) -> Everything:
    """Try everything, for both objectives whichever the problem's is, until `deadline` (monotonic seconds)."""
    from multidnn.schedule.compiled import enumeration
    from multidnn.schedule.compiled.packing import no_prices, tables_of, work_for

    tables = tables_of(problem)
    prices = no_prices(tables)
    work = work_for(tables, prices)
    progress = enumeration.begin(tables)
    limit = tables.time.shape[1] if max_transitions is None else max_transitions
    complete = False
    while not complete and monotonic() < deadline:
        complete = enumeration.try_more(tables, prices, work, limit, progress, TRIED_BETWEEN_LOOKS)
    best = {}
    for k, objective in ((enumeration.LATENCY, "latency"), (enumeration.THROUGHPUT, "throughput")):
        if progress.cost[k] == math.inf:
            continue
        placement = tuple(
            tuple(map(int, row[:count])) for row, count in zip(progress.best_groups[k], tables.groups, strict=True)
        )
        order = _order_of(placement, [[int(i) for i in row if i >= 0] for row in progress.best_turns[k]])
        best[objective] = simulate(problem, placement, order).value(objective), placement, order
    return Everything(best, complete, int(progress.tried[0]))


def _order_of(placement: Placement, turns: Sequence[Sequence[int]]) -> Order:
    """The order in which the accelerators' turns go to these instances."""
    order = []
    for a, instances in enumerate(turns):
        own = [[ends for ends in segments_of(groups) if groups[ends[0]] == a] for groups in placement]
        order.append(tuple((i, *own[i].pop(0)) for i in instances))
    return tuple(order)


def orders_of(placement: Placement, accelerators: int) -> Iterator[Order]:
    """Every way to put the segments of each accelerator in turn, the segments of one instance in chain order."""
    own = [
        [
            [(i, first, last) for first, last in segments_of(groups) if groups[first] == a]
            for i, groups in enumerate(placement)
        ]
        for a in range(accelerators)
    ]
    yield from lazy_product([partial(_merges, chains) for chains in own])


def lazy_product(makers: Sequence[Callable[[], Iterable[_T]]]) -> Iterator[tuple[_T, ...]]:
    """As `itertools.product`, without listing anything first: lists this long would outlast the time limit."""
    if not makers:
        yield ()
        return
    for first in makers[0]():
        for rest in lazy_product(makers[1:]):
            yield (first, *rest)


def _merges(chains: Sequence[Sequence[Segment]]) -> Iterator[tuple[Segment, ...]]:
    if not any(chains):
        yield ()
    for i, chain in enumerate(chains):
        if chain:
            for rest in _merges([*chains[:i], chain[1:], *chains[i + 1 :]]):
                yield (chain[0], *rest)
