"""The beam searches and the prices that guide them, against the plain simulator and exhaustive search."""

from itertools import islice, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.schedule import incumbents
from multidnn.schedule.compiled.engine import Engine
from multidnn.schedule.exhaustive import exhaustive, orders_of
from multidnn.schedule.incumbents import Progress, search
from multidnn.schedule.limits import earliest_finishes
from multidnn.schedule.lp import prices_of, solve_bound
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Deadlock, simulate
from tests.schedule.problems import FLAT, network, problem, problems


def cost_of(built: Problem, value: float) -> float:
    return value if built.workload.objective == "latency" else -value


def optimum(built: Problem, limit: int | None) -> float:
    values: list[float] = []
    assert exhaustive(built, limit, lambda value, *_: values.append(value), lambda: False)
    return cost_of(built, values[-1])


def limits_of(built: Problem, limit: int | None) -> np.ndarray:
    counts = [len(built.costs(i).groups) - 1 for i in range(len(built.instances))]
    return np.array([count if limit is None else min(limit, count) for count in counts])


def priced(built: Problem, limit: int | None) -> Engine:
    engine = Engine(built)
    n = len(built.instances)
    start = engine.groups_of([next(placements_of(built.costs(i), limit)) for i in range(n)]).astype(np.int64)
    engine.use(prices_of([solve_bound(engine.tables, limits_of(built, limit), (1 << n) - 1, [start], lambda: False)]))
    return engine


def no_placements(engine: Engine) -> np.ndarray:
    return np.zeros((0, *engine.tables.time.shape[:2]), dtype=np.int8)


def possible(built: Problem, limit: int | None) -> bool:
    return all(np.isfinite(end) for end in earliest_finishes(built, limit))


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(problems(), problems(instances=3, groups=2), problems(groups=2, accelerators=3)),
    st.sampled_from([None, 0, 1]),
    st.booleans(),
)
def test_search_ends_at_the_optimum_with_a_bound_that_is_never_above_it(
    built: Problem, limit: int | None, with_prices: bool
) -> None:
    if not possible(built, limit):
        return
    best = optimum(built, limit)
    engine = priced(built, limit) if with_prices else Engine(built)
    last: Progress | None = None
    for last in islice(search(engine, limits_of(built, limit), no_placements(engine)), 300):
        assert last.bound <= best + 1e-9 * abs(best) or last.bound == best
        if last.best is not None:
            timeline = simulate(built, last.best.placement, last.best.order)
            assert last.best.cost == pytest.approx(cost_of(built, timeline.value(built.workload.objective)), rel=1e-9)
            for i, groups in enumerate(last.best.placement):
                assert sum(a != b for a, b in pairwise(groups)) <= limits_of(built, limit)[i]
    assert last is not None
    assert last.best is not None
    assert last.best.cost == pytest.approx(best, rel=1e-9)
    assert last.bound == pytest.approx(best, rel=1e-6)


@settings(max_examples=80, deadline=None)
@given(st.one_of(problems(groups=3, positive=True), problems(instances=3, groups=2, positive=True)))
def test_the_bound_of_a_search_without_room_is_not_above_the_optimum(built: Problem) -> None:
    best = optimum(built, None)
    engine = Engine(built)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(incumbents, "WIDEST", 1)
        for progress in islice(search(engine, limits_of(built, None), no_placements(engine)), 6):
            assert progress.bound <= best + 1e-9 * abs(best)


def test_an_excluded_placement_is_not_returned() -> None:
    built = problem({"x": network([[1.0, 2.0]])}, [("i", "x", ())], [FLAT, FLAT])
    engine = Engine(built)
    assert [p.best.cost for p in search(engine, np.array([0]), no_placements(engine)) if p.best][-1] == 1.0
    excluded = engine.groups_of([[0]])[None]
    assert [p.best.cost for p in search(engine, np.array([0]), excluded) if p.best][-1] == 2.0


def test_the_same_search_gives_the_same_schedules() -> None:
    net = network([[1.0, 1.3, 0.8], [0.7, 0.4, 0.9], [0.3, 0.6, 0.5], [1.1, 0.9, 1.4]], hold=(0.05, 0.02))
    built = problem({"x": net}, [("i", "x", ()), ("j", "x", ()), ("k", "x", ("i",))], [FLAT] * 3)
    runs = []
    for _ in range(2):
        engine = priced(built, 2)
        runs.append(list(islice(search(engine, np.full(3, 2), no_placements(engine)), 20)))
    assert runs[0] == runs[1]


def test_neither_dives_nor_proofs_is_a_mistake() -> None:
    engine = Engine(problem({"x": network([[1.0]])}, [("i", "x", ())], [FLAT]))
    with pytest.raises(ValueError, match="neither"):
        next(search(engine, np.array([0]), no_placements(engine), dives=False, proofs=False))


def configurations_of(built: Problem) -> list[list[tuple[int, int | None, int]]]:
    """Every set of (instance, group or None for a hold, accelerator) that may run together, by plain enumeration."""
    waits = built.workload.predecessors()
    before = {i: set(others) for i, others in enumerate(waits)}
    for _ in before:
        for others in before.values():
            others |= {k for j in others for k in before[j]}
    options: list[list[tuple[int, int | None, int] | None]] = []
    for a in range(len(built.accelerators)):
        here: list[tuple[int, int | None, int] | None] = [None]
        for i in range(len(built.instances)):
            groups = built.costs(i).groups
            here += [(i, g, a) for g in range(len(groups)) if groups[g][a] is not None] + [(i, None, a)]
        options.append(here)
    found = []
    for choice in product(*options):
        items = [item for item in choice if item is not None]
        who = [i for i, _, _ in items]
        if len(set(who)) == len(who) and not any(j in before[i] for i in who for j in who):
            found.append(items)
    return found


def earning(built: Problem, items: list[tuple[int, int | None, int]], work: np.ndarray, hold: np.ndarray) -> float:
    demands = {a: built.costs(i).groups[g][a].demand_gb_s for i, g, a in items if g is not None}  # type: ignore[union-attr]
    total = 0.0
    for i, g, a in items:
        if g is None:
            total += hold[i, a]
        else:
            beside = sum(demand for b, demand in demands.items() if b != a)
            total += work[i, g, a] / built.slowdown[a](demands[a], beside)
    return total


@settings(max_examples=60, deadline=None)
@given(problems(instances=3, groups=2, objective="latency"), st.sampled_from([None, 1]))
def test_prices_earn_at_most_one_anywhere_and_prove_no_more_than_the_optimum(built: Problem, limit: int | None) -> None:
    if not possible(built, limit):
        return
    n = len(built.instances)
    engine = Engine(built)
    start = engine.groups_of([next(placements_of(built.costs(i), limit)) for i in range(n)]).astype(np.int64)
    bound = solve_bound(engine.tables, limits_of(built, limit), (1 << n) - 1, [start], lambda: False)
    assert max(earning(built, items, bound.work, bound.hold) for items in configurations_of(built)) <= 1 + 1e-12
    assert bound.makespan_ms <= optimum(built, limit) * (1 + 1e-9)


def test_prices_prove_the_load_and_the_chain() -> None:
    # one accelerator: the sum of all work
    net = network([[1.0], [2.0]])
    one = Engine(problem({"x": net}, [("i", "x", ()), ("j", "x", ())], [FLAT]))
    start = np.zeros((2, 2), dtype=np.int64)
    assert solve_bound(one.tables, np.array([0, 0]), 3, [start], lambda: False).makespan_ms == pytest.approx(
        6, rel=2e-3
    )
    # each on an accelerator of its own, but one after the other: both chains
    after = Engine(problem({"x": network([[1.0, 1.0]])}, [("i", "x", ()), ("j", "x", ("i",))], [FLAT] * 2))
    start = np.zeros((2, 1), dtype=np.int64)
    assert solve_bound(after.tables, np.array([0, 0]), 3, [start], lambda: False).makespan_ms == pytest.approx(
        2, rel=2e-3
    )


@settings(max_examples=40, deadline=None)
@given(problems(instances=2, accelerators=2, groups=2, positive=True), st.floats(0.1, 3.0), st.booleans())
def test_prices_for_an_order_bound_the_weighted_finishes_in_it(built: Problem, ratio: float, turned: bool) -> None:
    n = len(built.instances)
    order = np.arange(n)[::-1].copy() if turned else np.arange(n)
    weight = np.array([1.0, ratio][:n])
    engine = Engine(built)
    start = engine.groups_of([next(placements_of(built.costs(i), None)) for i in range(n)]).astype(np.int64)
    bound = solve_bound(engine.tables, limits_of(built, None), (1 << n) - 1, [start], lambda: False, order, weight)
    # each phase: what may run earns at most the weights of those that have not finished
    for k in range(n):
        running = set(map(int, order[k:]))
        for items in configurations_of(built):
            if {i for i, _, _ in items} <= running:
                assert earning(built, items, bound.work, bound.hold) <= weight[order[k:]].sum() * (1 + 1e-12)
    for finish in every_finish(built):
        if all(finish[a] <= finish[b] for a, b in pairwise(order)):
            assert bound.makespan_ms <= float(np.dot(weight, finish)) * (1 + 1e-9)


def test_prices_for_an_order_keep_to_what_each_phase_costs() -> None:
    built = problem(
        {"x": network([[1.0, 1.2], [0.5, 0.4]], hold=(0.05, 0.02))}, [("i", "x", ()), ("j", "x", ())], [FLAT] * 2
    )
    engine, weight = Engine(built), np.array([1.0, 0.3])
    start = np.zeros((2, 2), dtype=np.int64)
    bound = solve_bound(engine.tables, np.array([1, 1]), 3, [start], lambda: False, np.array([0, 1]), weight)
    for running, cost in (({0, 1}, 1.3), ({1}, 0.3)):
        for items in configurations_of(built):
            if {i for i, _, _ in items} <= running:
                assert earning(built, items, bound.work, bound.hold) <= cost * (1 + 1e-12)
    least = min(float(np.dot(weight, finish)) for finish in every_finish(built) if finish[0] <= finish[1])
    assert 0.9 * least <= bound.makespan_ms <= least


def every_finish(built: Problem) -> list[tuple[float, ...]]:
    """The finish times of every placement in every order."""
    found = []
    for placement in product(*(list(placements_of(built.costs(i), None)) for i in range(len(built.instances)))):
        for order in orders_of(placement, len(built.accelerators)):
            try:
                timeline = simulate(built, placement, order)
            except Deadlock:
                continue
            found.append(tuple(timeline.finish_ms[name] for name in built.instances))
    return found
