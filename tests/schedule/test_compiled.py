"""The compiled simulator and searches against the plain ones, and against a simulator in exact fractions."""

import math
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from multidnn.schedule import Problem
from multidnn.schedule.compiled import jit, packing
from multidnn.schedule.compiled.engine import Engine, Groups
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, no_prices, tables_of, work_for
from multidnn.schedule.compiled.slowdown import slowdown
from multidnn.schedule.compiled.timeline import many_finish_times
from multidnn.schedule.costs import cost_of
from multidnn.schedule.exhaustive import orders_of
from multidnn.schedule.lp import prices_of, solve_bound
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.timeline import Deadlock, Order, Placement, simulate
from tests.schedule import fluid
from tests.schedule.problems import FLAT, network, problem, problems

MOST = 200
"""Orders of one placement that a test tries at most."""


@st.composite
def placed(draw: st.DrawFn, **sizes: int | bool) -> tuple[Problem, Placement]:
    built = draw(problems(**sizes))
    every = [list(placements_of(built.costs(i), None)) for i in range(len(built.instances))]
    return built, tuple(draw(st.sampled_from(each)) for each in every)


def _finish_times(built: Problem, placement: Placement, orders: list[Order]) -> Floats:
    """What the compiled simulator says, one row per order."""
    tables = tables_of(built)
    prices = no_prices(tables)
    groups = np.repeat(Engine(built).groups_of(placement)[np.newaxis], len(orders), axis=0)
    n, longest, accelerators = tables.time.shape
    turns = np.full((len(orders), accelerators, n * longest), -1)
    for k, order in enumerate(orders):
        for a, listed in enumerate(order):
            turns[k, a, : len(listed)] = [instance for instance, _, _ in listed]
    finish = np.zeros((len(orders), n))
    many_finish_times(tables, prices, work_for(tables, prices), groups, turns, finish)
    return finish


def _some_orders(built: Problem, placement: Placement) -> list[Order]:
    return [order for order, _ in zip(orders_of(placement, len(built.accelerators)), range(MOST), strict=False)]


@given(placed(groups=4, instances=3, accelerators=3))
@settings(max_examples=150, deadline=None)
def test_finish_times_are_those_of_the_plain_simulator(case: tuple[Problem, Placement]) -> None:
    built, placement = case
    orders = _some_orders(built, placement)
    for order, row in zip(orders, _finish_times(built, placement, orders), strict=True):
        try:
            expected = list(simulate(built, placement, order).finish_ms.values())
        except Deadlock:
            assert list(row) == [-1.0] * len(row)
            continue
        assert list(row) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(placed(groups=3, instances=3, accelerators=2), st.integers(0, MOST - 1))
@settings(max_examples=150, deadline=None)
def test_finish_times_are_those_of_exact_fractions(case: tuple[Problem, Placement], which: int) -> None:
    built, placement = case
    orders = _some_orders(built, placement)
    order = orders[which % len(orders)]
    (row,) = _finish_times(built, placement, [order])
    exact = fluid.finish_times(built, placement, order)
    expected = [-1.0] * len(row) if exact is None else [float(end) for end in exact]
    assert list(row) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_deadlock_among_others_leaves_them_alone() -> None:
    # p runs on a, then b; q on b, then a; if each accelerator waits for the other's second segment, nothing starts
    built = problem({"x": network([[1.0, 1.0], [1.0, 1.0]])}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    placement = ((0, 1), (1, 0))
    first, second = ((0, 0, 0), (1, 1, 1)), ((1, 0, 0), (0, 1, 1))
    orders = [(first, second), (first[::-1], second[::-1]), (first, second)]
    finish = _finish_times(built, placement, orders)
    assert finish.tolist() == [[2.0, 2.0], [-1.0, -1.0], [2.0, 2.0]]


@njit(error_model="numpy")
def _slowdowns(tables: Tables, i: int, g: int, a: int, external: Floats, found: Floats) -> None:
    for k in range(len(external)):
        found[k] = slowdown(tables, i, g, a, external[k])


@given(problems(groups=3, instances=2, accelerators=3), st.lists(st.floats(0.0, 120.0), max_size=20))
@settings(max_examples=100, deadline=None)
def test_slowdown_is_that_of_the_grid(built: Problem, beside: list[float]) -> None:
    tables = tables_of(built)
    for i in range(len(built.instances)):
        for g, row in enumerate(built.costs(i).groups):
            for a, cost in enumerate(row):
                if cost is None:
                    assert tables.time[i, g, a] == math.inf
                    continue
                grid = built.slowdown[a]
                external = np.array([*beside, *grid.external])
                found = np.zeros(len(external))
                _slowdowns(tables, i, g, a, external, found)
                assert list(found) == pytest.approx([grid(cost.demand_gb_s, e) for e in external], rel=1e-12)


def _limits(built: Problem, most: int) -> Ints:
    """Transitions allowed per instance: `most`, or more where an instance needs more."""
    return np.array(
        [
            next(k for k in range(most, 9) if any(True for _ in placements_of(built.costs(i), k)))
            for i in range(len(built.instances))
        ]
    )


def _prices(engine: Engine, built: Problem, limits: Ints) -> Prices:
    start = [next(placements_of(built.costs(i), int(limits[i]))) for i in range(len(built.instances))]
    everyone = (1 << len(built.instances)) - 1
    found = solve_bound(engine.tables, limits, everyone, [engine.groups_of(start).astype(np.int64)], lambda: False)
    return prices_of([found])


def _costs(built: Problem, placement: Placement) -> list[float]:
    objective = built.workload.objective
    costs = []
    for order in orders_of(placement, len(built.accelerators)):
        try:
            costs.append(cost_of(objective, simulate(built, placement, order).value(objective)))
        except Deadlock:
            continue
    return costs


@given(placed(groups=3, instances=3, accelerators=2, positive=True), st.booleans())
@settings(max_examples=80, deadline=None)
def test_the_best_order_is_the_best_of_all(case: tuple[Problem, Placement], priced: bool) -> None:
    built, placement = case
    engine = Engine(built)
    if priced:
        engine.use(_prices(engine, built, np.full(len(placement), 8)))
    least = min(_costs(built, placement))
    groups = engine.groups_of(placement)
    found, settled = engine.order(groups, math.inf, 10**9)
    assert found is not None
    assert settled
    assert found.cost == pytest.approx(least, rel=1e-8)
    assert found.placement == placement
    timeline = simulate(built, placement, found.order)
    objective = built.workload.objective
    assert cost_of(objective, timeline.value(objective)) == pytest.approx(found.cost, rel=1e-9)
    # below the least there is nothing, and it says so
    assert engine.order(groups, least - 1e-6 * abs(least), 10**9) == (None, True)
    again, settled = engine.order(groups, least + 1e-6 * abs(least), 10**9)
    assert settled
    assert again is not None
    assert again.cost == pytest.approx(least, rel=1e-8)


def _settle(built: Problem, engine: Engine, limits: Ints, excluded: Groups, cutoff: float) -> float:
    """The least cost that the search over regions finds, `cutoff` if nothing beats it."""
    n, m = len(limits), len(engine.prices.members)
    choices = [engine.enumerate(i, int(limits[i]), np.full(m, math.inf), math.inf, 10**6) for i in range(n)]
    patterns = engine.patterns_of([own for own in choices if own is not None])
    members = [np.arange(patterns.start[i], patterns.start[i + 1]) for i in range(n)]
    found, settled, _ = engine.settle(patterns, members, np.arange(n), excluded, cutoff, 10**9)
    assert settled
    if found is None:
        return cutoff
    objective = built.workload.objective
    value = simulate(built, found.placement, found.order).value(objective)
    assert cost_of(objective, value) == pytest.approx(found.cost, rel=1e-9)
    return found.cost


@given(problems(groups=3, instances=2, accelerators=2, positive=True), st.integers(0, 2), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_region_is_settled_at_the_best_of_its_placements(built: Problem, most: int, priced: bool) -> None:
    engine = Engine(built)
    limits = _limits(built, most)
    if priced:
        engine.use(_prices(engine, built, limits))
    every = product(*(list(placements_of(built.costs(i), int(k))) for i, k in enumerate(limits)))
    least = sorted((min(_costs(built, placement)), placement) for placement in every)
    none = np.zeros((0, *engine.tables.time.shape[:2]), dtype=np.int8)
    assert _settle(built, engine, limits, none, math.inf) == pytest.approx(least[0][0], rel=1e-8)
    low = least[0][0] - 1e-6 * abs(least[0][0])
    assert _settle(built, engine, limits, none, low) == low


def test_an_excluded_placement_is_not_returned() -> None:
    built = problem({"x": network([[1.0, 1.5]])}, [("p", "x", ())], [FLAT, FLAT])
    engine = Engine(built)
    without = np.stack([engine.groups_of(((0,),))])
    assert _settle(built, engine, np.array([0]), without, math.inf) == 1.5


def test_a_helper_without_an_entrance_says_so_instead_of_crashing() -> None:
    tables = tables_of(problem({"x": network([[1.0]])}, [("p", "x", ())], [FLAT]))
    _finish_times(problem({"x": network([[1.0]])}, [("p", "x", ())], [FLAT]), ((0,),), [(((0, 0, 0),),)])
    with pytest.raises(TypeError, match="slowdown can only be called by compiled code"):
        slowdown(tables, 0, 0, 0, 1.0)


def test_a_change_in_one_compiled_file_recompiles_what_uses_it(tmp_path: Path) -> None:
    (tmp_path / "jit.py").write_text(Path(jit.__file__).read_text())
    (tmp_path / "inner.py").write_text("from jit import inlined\n@inlined\ndef two():\n    return 2\n")
    (tmp_path / "outer.py").write_text(
        "from jit import lean\nfrom inner import two\n@lean\ndef twice():\n    return 2 * two()\n"
        "print(twice(), sum(twice.stats.cache_hits.values()))\n"
    )

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "outer.py"], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        return done.stdout.strip()

    assert [run(), run()] == ["4 0", "4 1"]
    (tmp_path / "inner.py").write_text("from jit import inlined\n@inlined\ndef two():\n    return 3\n")
    assert run() == "6 0"


def test_many_instances_need_no_memory_for_their_subsets() -> None:
    many = packing.MOST_INSTANCES_FOR_SUBSETS + 2
    built = problem({"x": network([[1.0, 2.0]])}, [(f"i{k}", "x", ()) for k in range(many)], [FLAT, FLAT], "throughput")
    placement = ((0,),) * many
    found, _ = Engine(built).order(Engine(built).groups_of(placement), math.inf, 10**6)
    assert found is not None
    assert found.cost == pytest.approx(-sum(1000.0 / k for k in range(1, many + 1)), rel=1e-9)
