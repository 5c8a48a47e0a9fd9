"""Explanations: examples worked out by hand, and accounts that must add up for any schedule."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.schedule import Problem, Schedule, Timeline, streams
from multidnn.schedule.exhaustive import orders_of
from multidnn.schedule.explanation import Explanation, explain
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.schedule import named_order, named_placement
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.timeline import Deadlock, Order, Placement, simulate
from tests.schedule.problems import FLAT, network, problem, problems

TWICE = Slowdown((0.0,), (0.0, 10.0), ((1.0, 2.0),))


def _schedule(built: Problem, placement: Placement, order: Order) -> Schedule:
    return Schedule(
        workload="w", target="t", scheduler="given", objective="latency", max_transitions=None, status="feasible",
        value=None, bound=None, predicted=None,
        placement=named_placement(built, placement), order=named_order(built, order),
    )  # fmt: skip


def _explain(built: Problem, placement: Placement, order: Order) -> Explanation:
    return explain(built, _schedule(built, placement, order))


def test_each_segment_says_what_it_costs_and_what_it_waits_for() -> None:
    # p: 1 ms on a, out 0.5; in 0.25, 1 ms on b. q (1 ms alone) takes a at 1.5 and runs beside p's second group, at half
    # speed from 1.75 to 2.75, so it loses 0.5 ms and ends at 3.0. r comes after p, on b.
    costs = {
        "x": network([[1.0, 1.0], [1.0, 1.0]], 10.0, (0.5, 0.25)),
        "y": network([[1.0, None]], 0.0),
        "z": network([[None, 1.0]], 0.0),
    }
    built = problem(costs, [("p", "x", ()), ("q", "y", ()), ("r", "z", ("p",))], [TWICE, FLAT])
    found = _explain(built, ((0, 1), (0,), (1,)), (((0, 0, 0), (1, 0, 0)), ((0, 1, 1), (2, 0, 0))))
    p0, p1, q, r = sorted(found["segments"], key=lambda s: (s["instance"], s["first"]))
    assert p0 == {
        "instance": "p", "first": 0, "last": 0, "accelerator": "a", "start_ms": 0.0, "end_ms": 1.5,
        "standalone_ms": 1.0, "in_ms": 0.0, "out_ms": 0.5, "contention_ms": 0.0, "caused_by": {},
        "waited_ms": 0.0, "idle_before_ms": 0.0, "waits_for": None,
    }  # fmt: skip
    assert (p1["in_ms"], p1["out_ms"], p1["standalone_ms"]) == (0.25, 0.0, 1.0)
    assert (p1["idle_before_ms"], p1["waited_ms"]) == (1.5, 0.0)
    assert p1["waits_for"] == {"reason": "instance", "segment": ["p", 0, 0]}
    assert q["caused_by"] == pytest.approx({"p": 0.5})
    assert (q["waited_ms"], q["idle_before_ms"], q["contention_ms"]) == pytest.approx((1.5, 0.0, 0.5))
    assert q["waits_for"] == {"reason": "turn", "segment": ["p", 0, 0]}
    assert r["waits_for"] == {"reason": "after", "segment": ["p", 1, 1]}
    assert found["critical_chain"] == [["p", 0, 0], ["p", 1, 1], ["r", 0, 0]]
    assert found["accelerators"]["a"] == pytest.approx(
        {"busy_ms": 3.0, "idle_ms": 0.75, "standalone_ms": 2.0, "transitions_ms": 0.5, "contention_ms": 0.5}
    )
    assert found["accelerators"]["b"]["idle_ms"] == pytest.approx(1.5)


def test_the_loss_is_shared_by_demand() -> None:
    # p runs at half speed for 2 ms, so it loses 1 ms: 3/10 to q's 3 GB/s and 7/10 to r's 7 GB/s
    built = problem(
        {
            "x": network([[1.0, None, None]], 5.0),
            "y": network([[None, 2.0, None]], 3.0),
            "z": network([[None, None, 2.0]], 7.0),
        },
        [("p", "x", ()), ("q", "y", ()), ("r", "z", ())],
        [TWICE, FLAT, FLAT],
    )
    found = _explain(built, ((0,), (1,), (2,)), (((0, 0, 0),), ((1, 0, 0),), ((2, 0, 0),)))
    causes = {segment["instance"]: segment["caused_by"] for segment in found["segments"]}
    assert causes == {"p": pytest.approx({"q": 0.3, "r": 0.7}), "q": {}, "r": {}}


def test_a_schedule_without_placement_has_nothing_to_explain() -> None:
    built = problem({"x": network([[1.0]])}, [("p", "x", ())], [FLAT])
    with pytest.raises(ValueError, match="streams places nothing"):
        explain(built, streams(built.workload, "t"))


@st.composite
def scheduled(draw: st.DrawFn) -> tuple[Problem, Placement, Order, Timeline]:
    """Any problem with any schedule of it that does not deadlock."""
    built = draw(problems(groups=4, instances=3, accelerators=3))
    count = len(built.instances)
    placement = tuple(draw(st.sampled_from(list(placements_of(built.costs(i), None)))) for i in range(count))
    timelines = []
    for order, _ in zip(orders_of(placement, len(built.accelerators)), range(40), strict=False):
        try:
            timelines.append((order, simulate(built, placement, order)))
        except Deadlock:
            continue
    if not timelines:
        # one instance after another never deadlocks
        order = tuple(
            tuple(
                (i, first, last)
                for i in built.workload.sequence()
                for first, last in _runs(placement[i])
                if placement[i][first] == a
            )
            for a in range(len(built.accelerators))
        )
        timelines.append((order, simulate(built, placement, order)))
    order, timeline = draw(st.sampled_from(timelines))
    return built, placement, order, timeline


def _near(expected: Any) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=1e-9)


def _runs(groups: tuple[int, ...]) -> list[tuple[int, int]]:
    edges = [0, *(g for g in range(1, len(groups)) if groups[g] != groups[g - 1]), len(groups)]
    return [(first, after - 1) for first, after in pairwise(edges)]


@given(scheduled())
@settings(max_examples=150, deadline=None)
def test_the_accounts_add_up(case: tuple[Problem, Placement, Order, Timeline]) -> None:
    built, placement, order, timeline = case
    found = _explain(built, placement, order)
    finish = dict.fromkeys(built.instances, 0.0)
    after = {instance.name: instance.after for instance in built.workload.instances}
    for segment in found["segments"]:
        name, first, last = segment["instance"], segment["first"], segment["last"]
        # the shares are the whole loss, exactly
        assert sum(segment["caused_by"].values()) == segment["contention_ms"]
        assert all(share > 0 for share in segment["caused_by"].values())
        assert name not in segment["caused_by"]
        # and the loss is what the simulator's activities took beyond their time alone
        mine = [
            x for x in timeline.activities
            if x.instance == name and x.kind == "group" and first <= x.group <= last
        ]  # fmt: skip
        beyond = sum(x.end_ms - x.start_ms - x.standalone_ms for x in mine)
        assert segment["contention_ms"] == _near(beyond)
        holds = segment["in_ms"] + segment["out_ms"]
        parts = segment["start_ms"] + holds + segment["standalone_ms"] + segment["contention_ms"]
        assert parts == _near(segment["end_ms"])
        assert segment["waited_ms"] >= 0
        assert segment["idle_before_ms"] >= 0
        assert min(segment["waited_ms"], segment["idle_before_ms"]) == 0
        if segment["waits_for"] is None:
            assert segment["start_ms"] == 0
            assert first == 0
            assert not after[name]
        # only who runs beside it on another accelerator can be a cause
        beside = {
            x.instance for x in timeline.activities
            if x.kind == "group" and x.accelerator != segment["accelerator"]
            and any(x.start_ms < y.end_ms and y.start_ms < x.end_ms for y in mine)
        }  # fmt: skip
        assert set(segment["caused_by"]) <= beside
        finish[name] = max(finish[name], segment["end_ms"])
    assert finish == _near(timeline.finish_ms)
    for usage in found["accelerators"].values():
        assert usage["busy_ms"] + usage["idle_ms"] == _near(timeline.makespan_ms)
        parts = usage["standalone_ms"] + usage["transitions_ms"] + usage["contention_ms"]
        assert parts == _near(usage["busy_ms"])


@given(scheduled())
@settings(max_examples=100, deadline=None)
def test_the_critical_chain_has_no_gap(case: tuple[Problem, Placement, Order, Timeline]) -> None:
    built, placement, order, timeline = case
    found = _explain(built, placement, order)
    spans = {(s["instance"], s["first"], s["last"]): (s["start_ms"], s["end_ms"]) for s in found["segments"]}
    chain = [spans[instance, first, last] for instance, first, last in found["critical_chain"]]
    assert chain[0][0] == 0
    assert chain[-1][1] == timeline.makespan_ms
    assert all(earlier[1] == later[0] for earlier, later in pairwise(chain))


@given(scheduled())
@settings(max_examples=60, deadline=None)
def test_without_the_cause_the_loss_is_gone(case: tuple[Problem, Placement, Order, Timeline]) -> None:
    """Nothing is lost on grids that are flat, whatever the demands."""
    built, placement, order, _ = case
    calm = Problem(built.workload, built.accelerators, built.networks, (FLAT,) * len(built.accelerators))
    try:
        found = _explain(calm, placement, order)
    except Deadlock:
        pytest.fail("slowdown does not decide what deadlocks")
    assert all(segment["contention_ms"] == 0 for segment in found["segments"])
