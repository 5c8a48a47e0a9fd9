"""The searches and the bounds they rest on, each against plain enumeration through the simulator."""

import math
from itertools import pairwise, permutations, product
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.schedule import Infeasible, Problem, evaluate, solve
from multidnn.schedule.compiled.loading import load
from multidnn.schedule.costs import cost_of
from multidnn.schedule.encoding import Encoding, chain_forms, load_forms
from multidnn.schedule.exhaustive import orders_of
from multidnn.schedule.limits import earliest_finishes, limits
from multidnn.schedule.orders import OrderSearch
from multidnn.schedule.patterns import count_placements, patterns, placements_of
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.timeline import Deadlock, Order, Placement, Timeline, simulate
from tests.schedule.problems import FLAT, network, problem, problems

LIMITS = st.sampled_from([0, 1, 2, None])


def _all_placements(built: Problem, limit: int | None) -> list[Placement]:
    return list(product(*(list(placements_of(built.costs(i), limit)) for i in range(len(built.instances)))))


def _timelines(built: Problem, placement: Placement) -> list[tuple[Order, Timeline]]:
    timelines = []
    for order in orders_of(placement, len(built.accelerators)):
        try:
            timelines.append((order, simulate(built, placement, order)))
        except Deadlock:
            continue
    return timelines


@st.composite
def placed(draw: st.DrawFn, **sizes: int) -> tuple[Problem, Placement]:
    built = draw(problems(positive=True, **sizes))
    every = [
        list(placements_of(built.costs(i), 2)) or list(placements_of(built.costs(i), None))
        for i in range(len(built.instances))
    ]
    return built, tuple(draw(st.sampled_from(each)) for each in every)


@given(placed(groups=4, instances=3, accelerators=2))
@settings(max_examples=120, deadline=None)
def test_order_search_finds_the_best_of_all_orders(case: tuple[Problem, Placement]) -> None:
    built, placement = case
    objective = built.workload.objective
    costs = [cost_of(objective, timeline.value(objective)) for _, timeline in _timelines(built, placement)]
    search = OrderSearch(built)
    found = search.best(patterns(built, placement), math.inf)
    assert found is not None
    assert found[0] == pytest.approx(min(costs), rel=1e-8)
    again = simulate(built, placement, found[1]).value(objective)
    assert cost_of(objective, again) == pytest.approx(found[0], rel=1e-9)
    # nothing is found below the best, and the best is found below anything worse
    assert search.best(patterns(built, placement), min(costs) - 1e-6 * abs(min(costs))) is None
    assert search.best(patterns(built, placement), min(costs) + 1e-6 * abs(min(costs))) is not None


def test_an_accelerator_may_be_kept_waiting_for_a_segment_that_is_not_ready() -> None:
    # a waits 0.1 ms for q, whose long last group on b is then under way while p runs on a
    built = problem(
        {"x": network([[None, 0.1], [1.0, None], [None, 5.0]]), "y": network([[3.0, None]])},
        [("p", "y", ()), ("q", "x", ())],
        [FLAT, FLAT],
    )
    found = OrderSearch(built).best(patterns(built, ((0,), (1, 0, 1))), math.inf)
    assert found is not None
    assert found[0] == pytest.approx(6.1)
    assert found[1] == (((1, 1, 1), (0, 0, 0)), ((1, 0, 0), (1, 2, 2)))


@given(placed(groups=4, instances=3, accelerators=3))
@settings(max_examples=80, deadline=None)
def test_no_timeline_beats_a_bound(case: tuple[Problem, Placement]) -> None:
    built, placement = case
    objective = built.workload.objective
    chosen = {(i, g, a) for i, groups in enumerate(placement) for g, a in enumerate(groups)}
    chosen |= {(i, g, a, groups[g + 1]) for i, groups in enumerate(placement) for g, a in enumerate(groups[:-1])}
    chains, loads = chain_forms(built), load_forms(built)
    bound = OrderSearch(built).lower_bound(patterns(built, placement))
    earliest = earliest_finishes(built, None)
    for _, timeline in _timelines(built, placement)[:40]:
        finish = list(timeline.finish_ms.values())
        slack = 1e-9 * timeline.makespan_ms
        for form in chains + loads:
            ms = sum(cost for atom, cost in form.costs.items() if atom in chosen)
            limit = timeline.makespan_ms if form.finishes is None else finish[form.finishes]
            assert ms <= limit + slack
        cost = cost_of(objective, timeline.value(objective))
        assert bound <= cost + 1e-9 * abs(cost)
        assert all(early <= end + slack for early, end in zip(earliest, finish, strict=True))
        # what beats any cost above this one keeps to the limits that follow from that cost
        followed = limits(objective, cost + 1e-6 * abs(cost), earliest)
        assert all(end < limit for end, limit in zip(finish, followed.finish, strict=True))
        assert timeline.makespan_ms < followed.makespan


@given(problems(groups=4, instances=2, accelerators=3), LIMITS)
@settings(max_examples=40, deadline=None)
def test_z3_proposes_exactly_the_placements_that_exist(built: Problem, limit: int | None) -> None:
    expected = set(_all_placements(built, limit))
    for i in range(len(built.instances)):
        assert count_placements(built.costs(i), limit) == len(list(placements_of(built.costs(i), limit)))
    encoding = Encoding(built, limit, 1e-3)
    seen = set()
    while len(seen) <= 60:
        proposed = encoding.propose(10.0)
        if proposed is False:
            assert seen == expected
            return
        assert proposed in expected - seen
        seen.add(proposed)
        encoding.refute(proposed, [len(groups) for groups in proposed])
    assert len(expected) > 60


@given(problems(groups=3, instances=2, accelerators=2, positive=True), st.floats(0.0, 0.5))
@settings(max_examples=60, deadline=None)
def test_z3_proposes_every_placement_that_beats_a_cost(built: Problem, above: float) -> None:
    objective = built.workload.objective
    costs = {
        placement: min(cost_of(objective, timeline.value(objective)) for _, timeline in _timelines(built, placement))
        for placement in _all_placements(built, 1)
    }
    if not costs:
        return
    best = min(costs.values())
    level = best + (above + 1e-6) * abs(best)
    encoding = Encoding(built, 1, 1e-3)
    followed = limits(objective, level, earliest_finishes(built, 1))
    for form in chain_forms(built) + load_forms(built):
        encoding.require(form, followed.of(form))
    proposed = set()
    while (placement := encoding.propose(10.0)) is not False:
        assert placement is not None
        proposed.add(placement)
        encoding.refute(placement, [len(groups) for groups in placement])
    assert {placement for placement, cost in costs.items() if cost < level} <= proposed


def _best_by_hand(built: Problem, limit: int | None) -> float | None:
    """The best value over everything, without any of the schedulers' code but the simulator."""
    objective = built.workload.objective
    values = [
        timeline.value(objective)
        for placement in product(
            *(
                [
                    groups
                    for groups in product(range(len(built.accelerators)), repeat=len(built.costs(i).groups))
                    if all(built.costs(i).groups[g][a] is not None for g, a in enumerate(groups))
                    and (limit is None or sum(x != y for x, y in pairwise(groups)) <= limit)
                ]
                for i in range(len(built.instances))
            )
        )
        for _, timeline in _timelines(built, placement)
    ]
    return (min if objective == "latency" else max)(values) if values else None


@given(problems(groups=3, instances=2, accelerators=2, positive=True), LIMITS)
@settings(max_examples=60, deadline=None)
def test_haxconn_and_exhaustive_prove_the_optimum(built: Problem, limit: int | None) -> None:
    expected = _best_by_hand(built, limit)
    for scheduler in ("haxconn", "exhaustive"):
        if expected is None:
            with pytest.raises(Infeasible, match="transitions"):
                solve(built, scheduler, max_transitions=limit)
            continue
        schedule = solve(built, scheduler, max_transitions=limit)
        assert schedule.status == "optimal"
        assert schedule.value == pytest.approx(expected, rel=1e-6)
        assert schedule.bound == pytest.approx(expected, rel=1e-6)


@given(problems(groups=3, instances=3, accelerators=3, positive=True), st.sampled_from([0, 1]))
@settings(max_examples=25, deadline=None)
def test_haxconn_equals_exhaustive_on_three_instances(built: Problem, limit: int) -> None:
    try:
        expected = solve(built, "exhaustive", max_transitions=limit, time_limit_s=1.5)
    except Infeasible:
        with pytest.raises(Infeasible):
            solve(built, "haxconn", max_transitions=limit)
        return
    found = solve(built, "haxconn", max_transitions=limit, time_limit_s=20)
    assert found.value is not None
    assert expected.value is not None
    if expected.status == "optimal":
        assert (found.status, found.value) == ("optimal", pytest.approx(expected.value, rel=1e-6))
    else:
        sign = cost_of(built.workload.objective, 1.0)
        assert sign * found.value <= sign * expected.value + 1e-6 * expected.value


@given(problems(groups=3, instances=3, accelerators=2, objective="latency"))
@settings(max_examples=60, deadline=None)
def test_haxconn_takes_groups_without_time(built: Problem) -> None:
    found = solve(built, "haxconn", max_transitions=1) if _feasible(built, 1) else None
    if found is not None:
        expected = solve(built, "exhaustive", max_transitions=1, time_limit_s=1.5)
        assert found.status == "optimal"
        if expected.status == "optimal":
            assert found.value == pytest.approx(expected.value, rel=1e-6, abs=1e-12)


def _feasible(built: Problem, limit: int) -> bool:
    return all(count_placements(built.costs(i), limit) for i in range(len(built.instances)))


@given(problems(groups=4, instances=3, accelerators=2, positive=True))
@settings(max_examples=40, deadline=None)
def test_haxconn_is_never_worse_than_the_baselines(built: Problem) -> None:
    sign = cost_of(built.workload.objective, 1.0)
    for scheduler in ("serial", "naive"):
        try:
            baseline = solve(built, scheduler)
        except Infeasible:
            continue
        found = solve(built, "haxconn", max_transitions=0)
        assert baseline.max_transitions is None
        assert baseline.bound is None
        assert baseline.status == "feasible"
        assert found.value is not None
        assert baseline.value is not None
        assert sign * found.value <= sign * baseline.value + 1e-9 * baseline.value


def _large(objective: str) -> Problem:
    times = [[0.1 + 0.37 * (g * 7 % 5), 0.2 + 0.29 * (g * 3 % 4), 0.15 + 0.31 * (g * 5 % 3)] for g in range(14)]
    return problem(
        {"x": network(times, 3.0, (0.02, 0.01))}, [(f"i{k}", "x", ()) for k in range(4)], [FLAT] * 3, objective
    )


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_the_time_limit_gives_the_best_so_far_with_a_true_bound(objective: str) -> None:
    seen: list[tuple[float, float]] = []
    started = process_time()
    schedule = solve(
        _large(objective), "haxconn", max_transitions=3, time_limit_s=2.0,
        on_incumbent=lambda seconds, value: seen.append((seconds, value)),
    )  # fmt: skip
    # of the processor's time, which a busy machine does not stretch
    assert process_time() - started < 6
    assert schedule.status == "feasible"
    assert schedule.value is not None
    assert schedule.bound is not None
    sign = cost_of(objective, 1.0)
    assert sign * schedule.bound < sign * schedule.value
    assert tuple(seen) == schedule.incumbents
    costs = [sign * value for _, value in seen]
    assert costs == sorted(costs, reverse=True)
    assert [seconds for seconds, _ in seen] == sorted(seconds for seconds, _ in seen)
    assert seen[-1][1] == pytest.approx(schedule.value)


@given(problems(groups=4, instances=3, accelerators=2, positive=True), st.floats(0.001, 0.05))
@settings(max_examples=25, deadline=None)
def test_a_bound_after_little_time_still_holds(built: Problem, seconds: float) -> None:
    if not _feasible(built, 2):
        return
    sign = cost_of(built.workload.objective, 1.0)
    hurried = solve(built, "haxconn", max_transitions=2, time_limit_s=seconds)
    best = solve(built, "haxconn", max_transitions=2, time_limit_s=20)
    assert best.status == "optimal"
    assert hurried.bound is not None
    assert best.value is not None
    assert hurried.value is not None
    assert sign * hurried.bound <= sign * best.value + 1e-6 * best.value
    assert sign * best.value <= sign * hurried.value + 1e-9 * best.value


def test_exhaustive_stops_at_its_limit_without_a_bound() -> None:
    schedule = solve(_large("latency"), "exhaustive", max_transitions=3, time_limit_s=0.3)
    assert (schedule.status, schedule.bound) == ("feasible", None)


def test_serial_takes_the_shortest_accelerator_and_the_best_sequence() -> None:
    built = problem(
        {"x": network([[3.0, 2.0]]), "y": network([[1.0, 1.5]])}, [("p", "x", ()), ("q", "y", ())], [FLAT, FLAT]
    )
    schedule = solve(built, "serial")
    assert schedule.predicted is not None
    assert schedule.predicted["makespan_ms"] == pytest.approx(3.5)
    assert schedule.order == {"a": [], "b": [["p", 0, 0], ["q", 0, 0]]}
    # throughput: b stays, although 1000/1 + 1000/4 on a would be more; the short one goes first
    schedule = solve(built.with_objective("throughput"), "serial")
    assert schedule.value == pytest.approx(1000 / 1.5 + 1000 / 3.5)
    assert schedule.order == {"a": [], "b": [["q", 0, 0], ["p", 0, 0]]}


def test_serial_respects_after() -> None:
    built = problem(
        {"x": network([[3.0]]), "y": network([[1.0]])}, [("q", "y", ("p",)), ("p", "x", ())], [FLAT], "throughput"
    )
    assert solve(built, "serial").order == {"a": [["p", 0, 0], ["q", 0, 0]]}


def test_a_baseline_that_cannot_exist_says_why() -> None:
    built = problem({"x": network([[1.0, None], [None, 1.0]])}, [("p", "x", ())], [FLAT, FLAT])
    with pytest.raises(Infeasible, match=r"a: not group 1 of p; b: not group 0 of p"):
        solve(built, "serial")
    with pytest.raises(Infeasible, match="no accelerator supports every group of p"):
        solve(built, "naive")
    with pytest.raises(Infeasible, match="p needs more than 0 transitions"):
        solve(built, "haxconn", max_transitions=0)
    assert solve(built, "haxconn", max_transitions=1).value == pytest.approx(2.0)


def test_naive_may_put_everything_on_one_accelerator() -> None:
    built = problem({"x": network([[1.0, 9.0]])}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    assert solve(built, "naive").placement == {"p": ["a"], "q": ["a"]}


def _nine(objective: str, distinct: bool) -> Problem:
    """Nine instances of ten groups on two accelerators that disturb each other."""
    networks = {
        f"x{k}": network(
            [[0.2 + 0.17 * ((g + 3 * k) * 7 % 11), 0.3 + 0.19 * ((g + 5 * k) * 3 % 11)] for g in range(10)],
            3.0 + 2.5 * k,
            (0.05, 0.04),
        )
        for k in range(9 if distinct else 1)
    }
    grid = Slowdown((0.0, 30.0), (0.0, 60.0), ((1.0, 1.4), (1.0, 1.8)))
    instances: list[tuple[str, str, tuple[str, ...]]] = [(f"i{k}", f"x{k if distinct else 0}", ()) for k in range(9)]
    return problem(networks, instances, [grid] * 2, objective)


@pytest.mark.parametrize("objective", ["latency", "throughput"])
@pytest.mark.parametrize("scheduler", ["haxconn", "naive", "exhaustive"])
def test_the_time_limit_holds_for_nine_instances(scheduler: str, objective: str) -> None:
    built = _nine(objective, distinct=True)
    load()
    started = process_time()
    schedule = solve(built, scheduler, max_transitions=2, time_limit_s=1.0)
    assert process_time() - started < 2.5
    assert schedule.status == "feasible"
    assert schedule.placement is not None
    assert schedule.order is not None
    assert schedule.value is not None
    again = evaluate(built, schedule.placement, schedule.order)
    assert again.value(objective) == pytest.approx(schedule.value, rel=1e-9)
    if scheduler == "haxconn":
        sign = cost_of(objective, 1.0)
        assert schedule.bound is not None
        # nobody can do better than haxconn's bound, which the baselines test from the other side
        for other in ("serial", "naive"):
            value = solve(built, other, time_limit_s=0.3).value
            assert value is not None
            assert sign * schedule.bound <= sign * value
        assert sign * schedule.bound < sign * schedule.value


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_naive_is_exact_and_quick_where_instances_are_alike(objective: str) -> None:
    started = process_time()
    schedule = solve(_nine(objective, distinct=False), "naive", time_limit_s=60.0)
    assert process_time() - started < 5
    assert schedule.extra is not None
    assert "stopped" not in schedule.extra
    # which of the twins runs where makes no difference, so how many run on the first accelerator is all there is
    built = _nine(objective, distinct=False)
    values = []
    for first in range(10):
        placement = tuple((0,) * 10 if k < first else (1,) * 10 for k in range(9))
        order = tuple((k, 0, 9) for k in range(first)), tuple((k, 0, 9) for k in range(first, 9))
        values.append(simulate(built, placement, order).value(objective))
    assert schedule.value == pytest.approx((min if objective == "latency" else max)(values))


def test_naive_says_when_the_time_limit_stopped_it() -> None:
    schedule = solve(_nine("latency", distinct=True), "naive", time_limit_s=0.05)
    assert schedule.extra is not None
    assert "time limit" in schedule.extra["stopped"]


@given(problems(groups=2, instances=4, accelerators=2, positive=True))
@settings(max_examples=60, deadline=None)
def test_naive_finds_the_best_assignment_and_order(built: Problem) -> None:
    objective = built.workload.objective
    values = [
        timeline.value(objective)
        for placement in _all_placements(built, 0)
        for _, timeline in _timelines(built, placement)
    ]
    if not values:
        with pytest.raises(Infeasible):
            solve(built, "naive")
        return
    schedule = solve(built, "naive")
    assert schedule.extra is not None
    assert "stopped" not in schedule.extra
    assert schedule.value == pytest.approx((min if objective == "latency" else max)(values), rel=1e-6)


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_a_group_that_takes_very_long_somewhere_is_avoided(objective: str) -> None:
    built = problem(
        {"x": network([[1.0, 1e9], [1.0, 1.0]]), "y": network([[0.5, 1.0], [1e8, 1.0]])},
        [("p", "x", ()), ("q", "y", ())],
        [FLAT, FLAT],
        objective,
    )
    best, found = solve(built, "exhaustive"), solve(built, "haxconn")
    assert (found.status, found.value) == ("optimal", pytest.approx(best.value))


@pytest.mark.parametrize("below_ms", [1e-3, 1.0, 1e6, 1e15])
def test_z3_takes_any_limit_and_any_cost(below_ms: float) -> None:
    built = problem({"x": network([[1.0, 1e9], [0.5, 1e-9]])}, [("p", "x", ())], [FLAT, FLAT])
    encoding = Encoding(built, None, 1e-9)
    for form in chain_forms(built):
        encoding.require(form, below_ms)
    seen = set()
    while (placement := encoding.propose(10.0)) is not False:
        assert placement is not None
        seen.add(placement)
        encoding.refute(placement, [len(placement[0])])
    chains = {groups: patterns(built, (groups,))[0].chain for groups in product((0, 1), repeat=2)}
    assert {placement[0] for placement in seen} >= {groups for groups, chain in chains.items() if chain < below_ms}
    assert not {placement[0] for placement in seen} & {
        groups for groups, chain in chains.items() if chain > 2 * below_ms
    }


@given(st.lists(st.floats(0.1, 5.0), min_size=1, max_size=5), st.data())
@settings(max_examples=60, deadline=None)
def test_serial_runs_the_best_sequence_for_throughput(times: list[float], data: st.DataObject) -> None:
    instances = [
        (f"i{k}", f"x{k}", tuple(f"i{j}" for j in range(k) if data.draw(st.integers(0, 3)) == 0))
        for k in range(len(times))
    ]
    built = problem({f"x{k}": network([[ms]]) for k, ms in enumerate(times)}, instances, [FLAT], "throughput")
    values = []
    for order in permutations(range(len(times))):
        try:
            values.append(simulate(built, ((0,),) * len(times), (tuple((i, 0, 0) for i in order),)).throughput_per_s)
        except Deadlock:
            continue
    assert solve(built, "serial").value == pytest.approx(max(values), rel=1e-9)


def test_serial_is_quick_with_many_instances() -> None:
    networks = {f"x{k}": network([[1.0 + k % 7]]) for k in range(24)}
    instances = [(f"i{k}", f"x{k}", ("i0",) if k == 5 else ()) for k in range(24)]
    started = process_time()
    assert solve(problem(networks, instances, [FLAT], "throughput"), "serial").value is not None
    assert process_time() - started < 2


def test_the_time_limit_holds_with_many_paths_through_after() -> None:
    instances = [(f"i{k}", "x", tuple(f"i{j}" for j in range(max(0, k - 4), k - 1))) for k in range(18)]
    built = problem({"x": network([[1.0, 1.25]] * 6, 3.0, (0.05, 0.04))}, instances, [FLAT] * 2)
    started = process_time()
    schedule = solve(built, "haxconn", max_transitions=2, time_limit_s=1.0)
    assert process_time() - started < 2.5
    assert schedule.bound is not None
    assert schedule.value is not None
    assert schedule.bound <= schedule.value
