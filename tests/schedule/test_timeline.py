"""The simulator: examples worked out by hand, and an independent second simulator in exact fractions."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.schedule.exhaustive import orders_of
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.problem import Problem
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.timeline import Deadlock, Order, Placement, simulate
from tests.schedule.fluid import finish_times
from tests.schedule.problems import FLAT, network, problem, problems

TWICE = Slowdown((0.0,), (0.0, 10.0), ((1.0, 2.0),))


def test_overlapping_groups_slow_each_other_until_one_ends() -> None:
    # both at half speed: y (1 ms) ends at 2 ms; x has then done 1 of its 3 ms and goes on alone until 4
    built = problem(
        {"x": network([[3.0, None]], 10.0), "y": network([[None, 1.0]], 10.0)},
        [("p", "x", ()), ("q", "y", ())],
        [TWICE, TWICE],
    )
    timeline = simulate(built, ((0,), (1,)), (((0, 0, 0),), ((1, 0, 0),)))
    assert timeline.finish_ms == pytest.approx({"p": 4.0, "q": 2.0}, rel=1e-12)
    assert timeline.makespan_ms == pytest.approx(4.0)
    assert timeline.throughput_per_s == pytest.approx(1000 / 4 + 1000 / 2)
    felt = {entry.instance: entry.slowdown for entry in timeline.activities}
    assert felt == pytest.approx({"p": 4 / 3, "q": 2.0})


def test_three_accelerators_add_up_the_demands_beside() -> None:
    # each sees 5 + 5 = 10 GB/s from the other two, so all run at half speed
    rows = {"x": [[2.0, None, None]], "y": [[None, 2.0, None]], "z": [[None, None, 2.0]]}
    built = problem(
        {name: network(times, 5.0) for name, times in rows.items()},
        [(name, name, ()) for name in rows],
        [TWICE] * 3,
    )
    timeline = simulate(built, ((0,), (1,), (2,)), (((0, 0, 0),), ((1, 0, 0),), ((2, 0, 0),)))
    assert list(timeline.finish_ms.values()) == pytest.approx([4.0, 4.0, 4.0])


def test_holds_occupy_their_accelerator_run_at_full_speed_and_load_nothing() -> None:
    # p: group 0 on a (1), out-hold on a (0.5), in-hold on b (0.25), group 1 on b (1); q on a waits for the out-hold
    built = problem(
        {"x": network([[1.0, 1.0], [1.0, 1.0]], 10.0, (0.5, 0.25)), "y": network([[1.0, None]], 0.0)},
        [("p", "x", ()), ("q", "y", ())],
        [TWICE, TWICE],
    )
    timeline = simulate(built, ((0, 1), (0,)), (((0, 0, 0), (1, 0, 0)), ((0, 1, 1),)))
    spans = {(s.instance, s.first): (s.start_ms, s.end_ms) for s in timeline.segments}
    # q starts at 1.5 and runs beside the in-hold (not slowed) until 1.75, then at half speed; p is not slowed by 0 GB/s
    assert spans == {("p", 0): (0.0, 1.5), ("p", 1): (1.5, 2.75), ("q", 0): (1.5, 3.0)}
    kinds = [(entry.kind, entry.start_ms, entry.end_ms) for entry in timeline.activities if entry.instance == "p"]
    assert kinds == [("group", 0.0, 1.0), ("out", 1.0, 1.5), ("in", 1.5, 1.75), ("group", 1.75, 2.75)]


def test_an_accelerator_waits_for_its_turn_even_if_another_segment_is_ready() -> None:
    built = problem(
        {"x": network([[1.0, None], [None, 1.0]]), "y": network([[None, 1.0]])},
        [("p", "x", ()), ("q", "y", ())],
        [FLAT, FLAT],
    )
    first = simulate(built, ((0, 1), (1,)), (((0, 0, 0),), ((1, 0, 0), (0, 1, 1))))
    assert first.finish_ms == {"p": 2.0, "q": 1.0}
    waiting = simulate(built, ((0, 1), (1,)), (((0, 0, 0),), ((0, 1, 1), (1, 0, 0))))
    assert waiting.finish_ms == {"p": 2.0, "q": 3.0}


def test_after_delays_the_start_and_costs_nothing() -> None:
    built = problem({"x": network([[1.0, 1.0]], 5.0)}, [("p", "x", ("q",)), ("q", "x", ())], [TWICE, TWICE])
    timeline = simulate(built, ((0,), (1,)), (((0, 0, 0),), ((1, 0, 0),)))
    assert timeline.finish_ms == {"p": 2.0, "q": 1.0}


def test_a_group_of_no_time_ends_at_once_and_slows_nobody() -> None:
    built = problem(
        {"x": network([[0.0, None], [1.0, None]], 10.0), "y": network([[None, 1.0]], 1.0)},
        [("p", "x", ()), ("q", "y", ("p",)), ("r", "y", ())],
        [FLAT, TWICE],
    )
    timeline = simulate(built, ((0, 0), (1,), (1,)), (((0, 0, 1),), ((2, 0, 0), (1, 0, 0))))
    # r runs beside p's second group at half speed for 1 ms, then alone
    assert timeline.finish_ms == pytest.approx({"p": 1.0, "q": 2.5, "r": 1.5})


def test_a_deadlock_names_the_segments_that_never_start() -> None:
    built = problem({"x": network([[1.0, 1.0], [1.0, 1.0]])}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    order = (((1, 1, 1), (0, 0, 0)), ((0, 1, 1), (1, 0, 0)))
    with pytest.raises(Deadlock, match=r"q groups 1-1 on a, p groups 1-1 on b"):
        simulate(built, ((0, 1), (1, 0)), order)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Problem, Placement, Order]:
    built = draw(problems(groups=4, instances=3, accelerators=3))
    placement = tuple(
        draw(st.sampled_from(list(placements_of(built.costs(i), None)))) for i in range(len(built.instances))
    )
    turns = []
    for a in range(len(built.accelerators)):
        chains = [list(chain) for chain in _chains(placement, a)]
        listed = []
        while any(chains):
            listed.append(draw(st.sampled_from([chain for chain in chains if chain])).pop(0))
        turns.append(tuple(listed))
    return built, placement, tuple(turns)


def _chains(placement: Placement, accelerator: int) -> list[list[tuple[int, int, int]]]:
    chains = []
    for i, groups in enumerate(placement):
        chain: list[tuple[int, int, int]] = []
        for g, a in enumerate(groups):
            if a != accelerator:
                continue
            if g and groups[g - 1] == a:
                chain[-1] = (i, chain[-1][1], g)
            else:
                chain.append((i, g, g))
        chains.append(chain)
    return chains


@given(schedules())
@settings(max_examples=250, deadline=None)
def test_agrees_with_a_second_simulator_in_exact_fractions(case: tuple[Problem, Placement, Order]) -> None:
    expected = finish_times(*case)
    if expected is None:
        with pytest.raises(Deadlock):
            simulate(*case)
        return
    timeline = simulate(*case)
    assert list(timeline.finish_ms.values()) == pytest.approx([float(end) for end in expected], rel=1e-9, abs=1e-12)
    assert timeline.makespan_ms == max(timeline.finish_ms.values())


@given(schedules())
@settings(max_examples=100, deadline=None)
def test_segments_hold_their_accelerator_alone_and_cover_their_activities(
    case: tuple[Problem, Placement, Order],
) -> None:
    built, placement, order = case
    try:
        timeline = simulate(built, placement, order)
    except Deadlock:
        return
    for a, name in enumerate(built.accelerators):
        held = [s for s in timeline.segments if s.accelerator == name]
        # zero-length segments may share an instant, so compare in the order's own turns
        spans = {(s.instance, s.first): s for s in held}
        listed = [spans[built.instances[i], first] for i, first, _ in order[a]]
        assert len(listed) == len(held)
        assert all(x.end_ms <= y.start_ms for x, y in itertools.pairwise(listed))
    groups = [entry for entry in timeline.activities if entry.kind == "group"]
    assert len(groups) == sum(len(row) for row in placement)
    assert all(entry.slowdown >= 1 - 1e-9 for entry in groups)


def test_orders_of_lists_every_merge_once() -> None:
    listed = list(orders_of(((0, 1, 0), (0, 0, 1)), 2))
    # accelerator a merges chains of 2 and 1 segments, b of 1 and 1
    assert len(listed) == len(set(listed)) == 3 * 2
