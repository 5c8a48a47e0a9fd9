"""exhaustive: every placement and every order, through the simulator; the plain reference for small cases."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from multidnn.schedule.costs import below, cost_of
from multidnn.schedule.patterns import count_placements, placements_of
from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Deadlock, Order, Placement, Segment, segments_of, simulate

_T = TypeVar("_T")


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
