"""Every bound, cut and symmetry that a proof rests on, against every placement and order in the plain simulator."""

import math
from collections.abc import Iterator
from itertools import combinations, pairwise, permutations, product
from time import monotonic

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from multidnn.schedule import Problem, haxconn, incumbents, pricing
from multidnn.schedule.compiled.engine import Engine, Found, Groups
from multidnn.schedule.compiled.packing import Ints
from multidnn.schedule.costs import below, cost_of
from multidnn.schedule.cubes import Cube, Pool
from multidnn.schedule.encoding import Encoding, chain_forms, load_forms, price_form
from multidnn.schedule.exhaustive import orders_of
from multidnn.schedule.haxconn import HaxConn
from multidnn.schedule.limits import earliest_finishes, limits
from multidnn.schedule.lp import Bound, prices_of, solve_bound
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.timeline import Deadlock, Order, Placement, Timeline, simulate
from tests.schedule.problems import FLAT, network, problem, problems

SMALL = st.one_of(
    problems(groups=4, instances=2, accelerators=2, positive=True),
    problems(groups=2, instances=3, accelerators=2, positive=True),
    problems(groups=2, instances=2, accelerators=3, positive=True),
)
LIMIT = 1
"""Transitions per instance: what is tried here must be tried completely."""

SLACK = 1e-9


def quick(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None)


def timelines_of(built: Problem, placement: Placement) -> Iterator[Timeline]:
    for order in orders_of(placement, len(built.accelerators)):
        try:
            yield simulate(built, placement, order)
        except Deadlock:
            continue


def every_placement(built: Problem) -> list[Placement]:
    return list(product(*(list(placements_of(built.costs(i), LIMIT)) for i in range(len(built.instances)))))


def least_costs(built: Problem) -> dict[Placement, float]:
    """The cost of the best order of every placement."""
    objective = built.workload.objective
    return {
        placement: min(cost_of(objective, timeline.value(objective)) for timeline in timelines_of(built, placement))
        for placement in every_placement(built)
    }


def limits_of(built: Problem) -> Ints:
    return np.array([min(LIMIT, len(built.costs(i).groups) - 1) for i in range(len(built.instances))], dtype=np.int64)


def start_of(engine: Engine, placement: Placement) -> list[Ints]:
    return [engine.groups_of(placement).astype(np.int64)]


def every_price(built: Problem, engine: Engine, start: Placement) -> list[Bound]:
    """Prices of all kinds that haxconn uses: of all instances, of each subset, of each order of finishing."""
    n = len(built.instances)
    begin, most = start_of(engine, start), limits_of(built)
    everyone = (1 << n) - 1
    found = [solve_bound(engine.tables, most, everyone, begin, lambda: False)]
    if built.workload.objective == "throughput" and n > 1:
        found += [
            solve_bound(engine.tables, most, members, begin, lambda: False)
            for members in range(3, everyone)
            if members.bit_count() > 1
        ]
        waits = built.workload.predecessors()
        for order in permutations(range(n)):
            if all(order.index(j) < order.index(i) for i in order for j in waits[i]):
                for lean in (1.0, 0.4):
                    weight = np.zeros(n)
                    weight[list(order)] = [lean**k for k in range(n)]
                    found.append(
                        solve_bound(engine.tables, most, everyone, begin, lambda: False, np.array(order), weight)
                    )
    return found


def nothing_excluded(engine: Engine) -> Groups:
    return np.zeros((0, *engine.tables.time.shape[:2]), dtype=np.int8)


def worth_left(built: Problem, timeline: Timeline, bound: Bound) -> list[tuple[float, float]]:
    """At every event of a timeline: the time, and the worth of what the priced instances still have to do."""
    index = {name: i for i, name in enumerate(built.instances)}
    where = {name: a for a, name in enumerate(built.accelerators)}
    prices = []
    for step in timeline.activities:
        i, a = index[step.instance], where[step.accelerator]
        price = bound.work[i, step.group, a] if step.kind == "group" else bound.hold[i, a]
        prices.append(float(price))
    left = sum(price * step.standalone_ms for price, step in zip(prices, timeline.activities, strict=True))
    moments = sorted({0.0, *(step.start_ms for step in timeline.activities), *(s.end_ms for s in timeline.activities)})
    found = [(0.0, left)]
    for begin, end in pairwise(moments):
        running = [
            (price, step)
            for price, step in zip(prices, timeline.activities, strict=True)
            if step.start_ms <= begin and step.end_ms >= end
        ]
        demand = {}
        for _, step in running:
            if step.kind == "group":
                cost = built.costs(index[step.instance]).groups[step.group][where[step.accelerator]]
                assert cost is not None
                demand[step.accelerator] = cost.demand_gb_s
        for price, step in running:
            rate = 1.0
            if step.kind == "group":
                beside = sum(gb_s for name, gb_s in demand.items() if name != step.accelerator)
                rate = 1.0 / built.slowdown[where[step.accelerator]](demand[step.accelerator], beside)
            left -= price * rate * (end - begin)
        found.append((end, left))
    return found


@given(SMALL, st.data())
@quick(40)
def test_at_no_moment_is_more_worth_left_than_time(built: Problem, data: st.DataObject) -> None:
    every = every_placement(built)
    assume(every)
    engine = Engine(built)
    placement = data.draw(st.sampled_from(every))
    for bound in every_price(built, engine, data.draw(st.sampled_from(every))):
        for timeline in list(timelines_of(built, placement))[:10]:
            finish = [timeline.finish_ms[name] for name in built.instances]
            if bound.order is None:
                latest = max(end for i, end in enumerate(finish) if bound.members >> i & 1)
                for now, left in worth_left(built, timeline, bound):
                    if now <= latest:
                        assert now + left <= latest * (1 + SLACK)
                assert bound.makespan_ms <= latest * (1 + SLACK)
            elif all(finish[a] <= finish[b] for a, b in pairwise(bound.order)):
                assert bound.weight is not None
                total = float(np.dot(bound.weight, finish))
                for now, left in worth_left(built, timeline, bound):
                    # what those that have finished weigh is paid; the others pay from now on
                    rest = sum(float(w) * (end - now) for w, end in zip(bound.weight, finish, strict=True) if end > now)
                    assert left <= rest + SLACK * total
                assert bound.makespan_ms <= total * (1 + SLACK)


@given(SMALL, st.data())
@quick(40)
def test_the_prices_of_a_cube_bound_every_placement_in_it(built: Problem, data: st.DataObject) -> None:
    every = every_placement(built)
    assume(every)
    engine = Engine(built)
    centre = data.draw(st.sampled_from(every))
    fixed = tuple(data.draw(st.integers(0, len(groups))) for groups in centre)
    time = engine.tables.time.copy()
    for i, count in enumerate(fixed):
        for g in range(count):
            time[i, g, [a for a in range(len(built.accelerators)) if a != centre[i][g]]] = np.inf
    everyone = (1 << len(centre)) - 1
    bound = solve_bound(
        engine.tables._replace(time=time), limits_of(built), everyone, start_of(engine, centre), lambda: False
    )
    inside = [p for p in every if all(p[i][:count] == centre[i][:count] for i, count in enumerate(fixed))]
    least = min(timeline.makespan_ms for placement in inside for timeline in timelines_of(built, placement))
    assert bound.makespan_ms <= least * (1 + SLACK)


@given(SMALL, st.floats(0.0, 0.5), st.sampled_from([1e-4, 0.03, 0.5]))
@quick(40)
def test_no_constraint_of_z3_excludes_a_better_placement(built: Problem, above: float, unit: float) -> None:
    costs = least_costs(built)
    assume(costs)
    level = min(costs.values())
    level += (above + 1e-6) * abs(level)
    encoding = Encoding(built, LIMIT, unit)
    followed = limits(built.workload.objective, level, earliest_finishes(built, LIMIT))
    forms = chain_forms(built) + load_forms(built)
    forms += [
        price_form(built, bound.work, bound.hold, None)
        for bound in every_price(built, Engine(built), next(iter(costs)))
        if bound.order is None
    ]
    for form in forms:
        encoding.require(form, followed.of(form))
    proposed = set()
    while (placement := encoding.propose(10.0)) is not False:
        assert placement is not None
        proposed.add(placement)
        encoding.refute(placement, [len(groups) for groups in placement])
    assert {placement for placement, cost in costs.items() if cost < level} <= proposed <= set(costs)


@given(SMALL, st.data())
@quick(20)
def test_a_clause_excludes_its_cube_and_nothing_else(built: Problem, data: st.DataObject) -> None:
    every = every_placement(built)
    assume(every)
    encoding = Encoding(built, LIMIT, 1e-3)
    left = set(every)
    with encoding.attempt():
        # what is only tried leaves no trace; the cube of everything has the empty clause
        encoding.refute(data.draw(st.sampled_from(every)), [0] * len(every[0]))
        assert encoding.propose(10.0) is False
    for _ in range(2):
        centre = data.draw(st.sampled_from(every))
        fixed = [data.draw(st.integers(0, len(groups))) for groups in centre]
        encoding.refute(centre, fixed)
        left -= {p for p in every if all(p[i][:count] == centre[i][:count] for i, count in enumerate(fixed))}
    proposed = set()
    while (placement := encoding.propose(10.0)) is not False:
        assert placement is not None
        proposed.add(placement)
        encoding.refute(placement, [len(groups) for groups in placement])
    assert proposed == left


def pool_of(built: Problem, engine: Engine) -> Pool:
    m = len(engine.prices.members)
    listed = [
        engine.enumerate(i, int(limit), np.full(m, math.inf), math.inf, 10**6)
        for i, limit in enumerate(limits_of(built))
    ]
    return Pool(engine, [own for own in listed if own is not None])


def waiting_of(built: Problem) -> list[float]:
    earliest = earliest_finishes(built, LIMIT)
    return [max((earliest[j] for j in waits), default=0.0) for waits in built.workload.predecessors()]


@given(SMALL, st.floats(0.0, 0.5), st.booleans())
@quick(40)
def test_narrowing_keeps_every_pattern_of_a_better_placement(built: Problem, above: float, priced: bool) -> None:
    costs = least_costs(built)
    assume(costs)
    objective = built.workload.objective
    level = min(costs.values())
    level += (above + 1e-6) * abs(level)
    engine = Engine(built)
    if priced:
        engine.use(prices_of(every_price(built, engine, next(iter(costs)))))
    pool = pool_of(built, engine)
    bounds = limits(objective, level, earliest_finishes(built, LIMIT))
    pool.narrow(bounds, waiting_of(built))
    cube = Cube(next(iter(costs)), (0,) * len(built.instances))
    kept = [
        {tuple(map(int, row[: len(built.costs(i).groups)])) for row in own[cube.allows(i, own)]}
        for i, own in enumerate(pool._groups)
    ]
    for placement, cost in costs.items():
        if cost < level:
            assert all(groups in kept[i] for i, groups in enumerate(placement))


@given(SMALL, st.booleans(), st.integers(1, 40), st.data())
@quick(60)
def test_cubes_settled_in_pieces_end_at_the_optimum(
    built: Problem, priced: bool, budget: int, data: st.DataObject
) -> None:
    """Any cubes, any budget, whatever was settled before is not searched again: nothing gets lost, twins included.

    Where everything is settled, nothing is open.
    """
    costs = least_costs(built)
    assume(costs)
    every = list(costs)
    engine = Engine(built)
    if priced:
        engine.use(prices_of(every_price(built, engine, every[0])))
    pool = pool_of(built, engine)
    earliest, waiting = earliest_finishes(built, LIMIT), waiting_of(built)
    best: Found | None = None

    def settle(cube: Cube, states: int) -> bool:
        nonlocal best
        cutoff = math.inf if best is None else best.cost
        bounds = limits(built.workload.objective, below(cutoff), earliest)
        found, settled = pool.settle(cube, bounds, waiting, nothing_excluded(engine), cutoff, states)
        best = found or best
        return settled

    for _ in range(3):
        centre = data.draw(st.sampled_from(every))
        pivot = int(pool.level[0])
        # only what needs nothing of the others may be forgotten
        free = data.draw(st.booleans())
        fixed = [data.draw(st.integers(0, len(own))) if free or i == pivot else 0 for i, own in enumerate(centre)]
        settle(Cube(centre, tuple(fixed)), data.draw(st.sampled_from([budget, 10**6])))
        if best is not None and data.draw(st.booleans()):
            # the pivot may become another
            pool.narrow(limits(built.workload.objective, below(best.cost), earliest), waiting)
    while not settle(Cube(every[0], (0,) * len(every[0])), budget):
        budget *= 2
    assert pool.combinations() == 0
    assert best is not None
    assert best.cost == pytest.approx(min(costs.values()), rel=1e-8)
    objective = built.workload.objective
    again = simulate(built, best.placement, best.order).value(objective)
    assert cost_of(objective, again) == pytest.approx(best.cost, rel=1e-9)


@given(
    st.one_of(
        problems(groups=2, instances=3, accelerators=2, positive=True),
        problems(groups=1, instances=4, accelerators=2, positive=True),
    ),
    st.data(),
)
@quick(60)
def test_prices_of_all_kinds_and_queues_leave_the_best_order(built: Problem, data: st.DataObject) -> None:
    every = every_placement(built)
    assume(every)
    placement = data.draw(st.sampled_from(every))
    objective = built.workload.objective
    costs = [cost_of(objective, timeline.value(objective)) for timeline in timelines_of(built, placement)]
    engine = Engine(built)
    if len(built.instances) <= pricing.MOST_SUBSETS - 1:
        engine.use(prices_of(every_price(built, engine, placement)))
    groups = engine.groups_of(placement)
    found, settled = engine.order(groups, math.inf, 10**9)
    assert settled
    assert found is not None
    assert found.cost == pytest.approx(min(costs), rel=1e-8)
    # just above any cost there is, an order that beats it is found
    level = data.draw(st.sampled_from(costs))
    found, settled = engine.order(groups, level + 1e-6 * abs(level), 10**9)
    assert settled
    assert found is not None


@given(SMALL, st.booleans())
@quick(200)
def test_what_beams_give_up_bounds_every_schedule(built: Problem, priced: bool) -> None:
    # with fewer, the little room there is holds the best one
    if len(every_placement(built)) <= 8:
        return
    costs = least_costs(built)
    least, worst = min(costs.values()), max(costs, key=lambda placement: costs[placement])
    engine = Engine(built)
    if priced:
        engine.use(prices_of(every_price(built, engine, worst)))
    order = next(_orders_that_run(built, worst))
    objective = built.workload.objective
    begin = Found(cost_of(objective, simulate(built, worst, order).value(objective)), worst, order)
    with pytest.MonkeyPatch.context() as patch:
        # hardly any room, and no dives: the best schedule is seldom found, and the bound has to know
        patch.setattr(incumbents, "WIDEST", 1)
        patch.setattr(incumbents, "BUCKETS", 2)
        found = incumbents.search(engine, limits_of(built), nothing_excluded(engine), begin, dives=False)
        for progress, _ in zip(found, range(8), strict=False):
            assert progress.bound <= least + SLACK * abs(least)
            assert progress.best is not None
            assert progress.best.cost >= least - SLACK * abs(least)


@given(SMALL, st.integers(0, 2))
@quick(40)
def test_z3_and_cubes_alone_close_at_the_optimum(built: Problem, without: int) -> None:
    """The proof with no help: nothing is settled beforehand, no beams; the best `without` placements are excluded."""
    costs = least_costs(built)
    assume(len(costs) > without)
    ranked = sorted(costs, key=lambda placement: costs[placement])
    excluded = ranked[:without]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("QUICK_S", "PRICED_QUICK", "FIRST_BEAMS_S", "BEAMS"):
            patch.setattr(haxconn, name, 0.0)
        patch.setattr(haxconn, "anneal", lambda _: iter(()))
        run = HaxConn(built, LIMIT, monotonic() + 600, excluded)
        # from the worst schedule there is, so that everything has to be found
        for found in run.improve([(ranked[-1], next(_orders_that_run(built, ranked[-1])))]):
            assert found.placement not in excluded
    assert run.best is not None
    assert run.best.cost == pytest.approx(costs[ranked[without]], rel=1e-8)
    assert run.bound == pytest.approx(run.best.cost, rel=1e-8)


def _orders_that_run(built: Problem, placement: Placement) -> Iterator[Order]:
    for order in orders_of(placement, len(built.accelerators)):
        try:
            simulate(built, placement, order)
        except Deadlock:
            continue
        yield order


def test_prices_of_every_subset_prove_its_load() -> None:
    net = network([[1.0], [2.0]])
    built = problem({"x": net}, [(f"i{k}", "x", ()) for k in range(3)], [FLAT], "throughput")
    bounds = [bound for bound in every_price(built, Engine(built), ((0, 0), (0, 0), (0, 0))) if bound.order is None]
    assert {bound.members for bound in bounds} == {0b111, *(1 << i | 1 << j for i, j in combinations(range(3), 2))}
    for bound in bounds:
        # one accelerator, 3 ms each
        assert bound.makespan_ms == pytest.approx(3.0 * bound.members.bit_count(), rel=2e-3)
