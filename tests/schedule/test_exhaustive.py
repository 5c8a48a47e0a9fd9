"""The compiled enumeration against the plain one."""

import math
from itertools import count, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.schedule import exhaustive as module
from multidnn.schedule.exhaustive import exhaustive, exhaustive_all, orders_of
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Order, Placement, simulate
from multidnn.schedule.workload import OBJECTIVES
from tests.schedule.problems import FLAT, network, problem, problems

MOST_TIMELINES = 3000
"""What the plain way can do in a test."""


@given(problems(groups=3, instances=3, accelerators=3), st.sampled_from([0, 1, 2, None]))
@settings(max_examples=100, deadline=None)
def test_both_ways_try_the_same_and_find_the_same(built: Problem, limit: int | None) -> None:
    own = [list(placements_of(built.costs(i), limit)) for i in range(len(built.instances))]
    everything = exhaustive_all(built, limit)
    assert everything.complete
    if everything.timelines > MOST_TIMELINES:
        return
    orders = {placement: list(orders_of(placement, len(built.accelerators))) for placement in product(*own)}
    assert everything.timelines == sum(map(len, orders.values()))
    for objective in OBJECTIVES:
        values: list[float] = []

        def found(value: float, placement: Placement, order: Order, values: list[float] = values) -> None:
            values.append(value)

        wanted = Problem(built.workload.with_objective(objective), built.accelerators, built.networks, built.slowdown)
        assert exhaustive(wanted, limit, found, lambda: False)
        assert bool(values) == bool(orders) == (objective in everything.best)
        if values:
            value, placement, order = everything.best[objective]
            assert value == pytest.approx(values[-1], rel=1e-8)
            assert order in orders[placement]
            assert value == simulate(built, placement, order).value(objective)


def test_objectives_are_found_apart() -> None:
    # apart, q takes 3 ms beside p; sharing a, whichever is second takes 4 ms
    built = problem(
        {"x": network([[1.0, None]]), "y": network([[3.0, 3.0]])},
        [("p", "x", ()), ("q", "y", ())],
        [FLAT, FLAT],
    )
    everything = exhaustive_all(built, 0)
    assert everything.timelines == 3
    assert {objective: found[0] for objective, found in everything.best.items()} == pytest.approx(
        {"latency": 3.0, "throughput": 1000 / 1 + 1000 / 3}
    )


def test_a_deadline_ends_it_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # 3 ** 8 placements of each of four instances, and their orders: no machine is through with them in a second
    built = problem({"x": network([[1.0, 1.1, 1.2]] * 8)}, [(f"i{k}", "x", ()) for k in range(4)], [FLAT, FLAT, FLAT])
    seconds = count()
    monkeypatch.setattr(module, "monotonic", lambda: float(next(seconds)))
    everything = exhaustive_all(built, None, 3.0)
    assert not everything.complete
    # it looks at the clock between stretches of so many
    assert everything.timelines == pytest.approx(3 * module.TRIED_BETWEEN_LOOKS, rel=0.01)
    assert everything.best["latency"][0] < math.inf
    nothing = exhaustive_all(built, None, 3.0)
    assert (nothing.best, nothing.complete, nothing.timelines) == ({}, False, 0)


def test_no_placement_is_no_schedule() -> None:
    built = problem({"x": network([[1.0, None], [None, 1.0]])}, [("p", "x", ())], [FLAT, FLAT])
    everything = exhaustive_all(built, 0)
    assert (everything.best, everything.complete, everything.timelines) == ({}, True, 0)
