"""The first incumbents of haxconn: the schedules it is given, or any at all, then what annealing makes of the best."""

import math
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from multidnn.schedule.compiled.engine import Found
from multidnn.schedule.costs import cost_of
from multidnn.schedule.exhaustive import lazy_product
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.problem import Infeasible
from multidnn.schedule.search_state import SearchState
from multidnn.schedule.timeline import Order, Placement, simulate


def take_starts(state: SearchState, starts: Iterable[tuple[Placement, Order] | None]) -> Iterator[Found]:
    """Yield each of the given schedules that is better than all before.

    Where one is missing or not allowed, any schedule is there at once.

    Raises:
        Infeasible: every placement is excluded.
    """
    for start in starts:
        if start is not None and state.is_allowed(start[0]):
            cost = cost_of(state.objective, simulate(state.problem, *start).value(state.objective))
            yield from state.better(Found(cost, *start))
        elif state.best is None:
            # anything, but now
            yield from state.better(_any(state))
    if state.best is None:
        yield from state.better(_any(state))


def _any(state: SearchState) -> Found:
    choices = [partial(placements_of, state.problem.costs(i), state.max_transitions) for i in state.instances()]
    placement = next((found for found in lazy_product(choices) if found not in state.excluded), None)
    if placement is None:
        raise Infeasible("there is no other placement")
    found, _ = state.engine.order(state.engine.groups_of(placement), math.inf, 1)
    assert found is not None, "without a cutoff some order is found"
    return found


def anneal(state: SearchState) -> Iterator[Found]:
    """Good schedules early: they cut everything that follows."""
    n, longest = state.engine.tables.time.shape[:2]
    for turn in range(8):
        if state.over():
            return
        groups = state.engine.groups_of(state.incumbent.placement)
        keys = np.tile(np.arange(longest, dtype=np.float64), (n, 1)) + 100.0 * np.arange(n)[:, None]
        _, found = state.engine.anneal(
            groups, keys, state.cost, state.limits, state.excluded_groups, 0.1 / (1 + turn), 1e-3, 1000
        )
        yield from state.better(found)
