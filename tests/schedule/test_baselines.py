"""mensa, herald and h2h: worked examples from their papers' rules, and what must hold for any problem."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.schedule import Problem, solve
from multidnn.schedule.h2h import computation_first, h2h
from multidnn.schedule.herald import FACTORS, assign, breadth_first, depth_first, fill, herald
from multidnn.schedule.mensa import mensa
from multidnn.schedule.queues import first_come
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.timeline import Order, Placement, segments_of, simulate
from tests.schedule.problems import FLAT, network, problem, problems

BASELINES = {"mensa": mensa, "herald": herald, "h2h": h2h}
Scheduler = Callable[[Problem], tuple[Placement, Order]]
ANY = problems(groups=5, instances=4, accelerators=3)


def uncontended(built: Problem) -> Problem:
    """The same problem if nothing slowed anything down."""
    return replace(built, slowdown=(FLAT,) * len(built.accelerators))


def alone(times: list[list[float | None]], hold: float) -> Problem:
    """One instance; a move costs `hold` on either side."""
    return problem({"x": network(times, 0.0, (hold, hold))}, [("p", "x", ())], [FLAT] * len(times[0]))


# mensa


@pytest.mark.parametrize(
    ("times", "hold", "placement"),
    [
        # moving costs 1: 1 + 1 on the ideal accelerator against 3 where it is, twice
        ([[1.0, 3.0], [3.0, 1.0], [1.0, 3.0]], 0.5, (0, 1, 0)),
        # moving costs 2.5: 2.5 + 1 against 3, so it stays
        ([[1.0, 3.0], [3.0, 1.0], [1.0, 3.0]], 1.25, (0, 0, 0)),
        # the two groups together would earn the move (1 + 1 + 1 against 4), but each is weighed by itself: 1 + 1 against 2
        ([[1.0, 9.0], [2.0, 1.0], [2.0, 1.0]], 0.5, (0, 0, 0)),
        # the second phase starts from where the group before went (b, as a lacks it), not from its ideal accelerator
        ([[1.0, 5.0], [None, 5.0], [1.0, 1.5]], 0.5, (0, 1, 1)),
        # an accelerator that is neither ideal nor that of the group before is never considered
        ([[1.0, 9.0, 9.0], [9.0, 2.0, 1.0], [None, 1.0, 2.0]], 0.25, (0, 2, 1)),
    ],
)
def test_mensa_weighs_the_ideal_accelerator_against_the_last_one(
    times: list[list[float | None]], hold: float, placement: tuple[int, ...]
) -> None:
    assert mensa(alone(times, hold))[0] == (placement,)


def test_mensa_knows_nothing_of_the_other_instances() -> None:
    # both on their ideal accelerator, one after the other, with the other accelerator nearly as fast and idle
    built = problem({"x": network([[2.0, 2.25]])}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    assert mensa(built) == (((0,), (0,)), (((0, 0, 0), (1, 0, 0)), ()))
    assert solve(built, "mensa").value == pytest.approx(4.0)


def test_who_is_ready_first_is_served_first() -> None:
    # q comes to b at 1, p at 2, r at 2.5; b works on o until 3
    networks = {
        "o": network([[None, 3.0, None]]),
        "p": network([[2.0, None, None], [None, 1.0, None]]),
        "q": network([[None, None, 1.0], [None, 1.0, None]]),
        "r": network([[None, None, 1.5], [None, 1.0, None]]),
    }
    built = problem(networks, [(name, name, ()) for name in "opqr"], [FLAT] * 3)
    order, finish = first_come(built, mensa(built)[0])
    assert order[1] == ((0, 0, 0), (2, 1, 1), (1, 1, 1), (3, 1, 1))
    assert finish == (3.0, 5.0, 4.0, 6.0)


@given(problems(groups=5, instances=1, accelerators=3))
@settings(max_examples=60, deadline=None)
def test_mensa_alone_and_moving_for_nothing_is_the_fastest_of_every_group(built: Problem) -> None:
    costs = built.networks[built.workload.instances[0].network]
    free = replace(costs, transitions=dict.fromkeys(costs.transitions, (0.0, 0.0)))
    built = replace(built.with_objective("latency"), networks=dict.fromkeys(built.networks, free))
    fastest = sum(min(cost.time_ms for cost in group if cost is not None) for group in costs.groups)
    assert solve(built, "mensa").value == pytest.approx(fastest, abs=1e-12)


# herald


def test_herald_spreads_equal_loads() -> None:
    # breadth first p0 a, q0 b, p1 a, q1 b; mensa would take a for all four
    built = problem({"x": network([[1.0, 1.0]] * 2)}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    assert herald(built)[0] == ((0, 0), (1, 1))
    assert solve(built, "herald").value == pytest.approx(2.0)


def test_herald_takes_a_slower_accelerator_for_balance() -> None:
    # loads after each choice, factor 0: p on a (1, 0), q on b (1, 1.5) for 0.2 against 1, r on a (2, 1.5) for 1/7
    # against 1/2: makespan 2, with everything on the fastest accelerator 3
    built = problem({"x": network([[1.0, 1.5]])}, [(name, "x", ()) for name in "pqr"], [FLAT, FLAT])
    assert assign(built, depth_first(built), 0.0) == ((0,), (1,), (0,))
    assert assign(built, depth_first(built), 1.0) == ((0,), (0,), (0,))
    assert solve(built, "herald").value == pytest.approx(2.0)


def test_herald_ignores_what_transitions_cost_and_the_others_do_not() -> None:
    # 1 ms on a, then 1 ms on b: to herald 2 ms, in fact 2 + 2 x 50; staying on a takes 3 ms
    built = alone([[1.0, 2.0], [2.0, 1.0]], 50.0)
    assert solve(built, "herald").value == pytest.approx(102.0)
    assert solve(built, "mensa").value == pytest.approx(3.0)
    assert solve(built, "h2h").value == pytest.approx(3.0)


def test_sequences_respect_dependence() -> None:
    built = problem(
        {"x": network([[1.0]] * 2), "y": network([[1.0]] * 3)},
        [("late", "x", ("p",)), ("p", "x", ()), ("q", "y", ())],
        [FLAT],
    )
    assert depth_first(built) == [(1, 0), (1, 1), (0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]
    # late joins when p is through
    assert breadth_first(built) == [(1, 0), (2, 0), (1, 1), (2, 1), (0, 0), (2, 2), (0, 1)]


@pytest.mark.parametrize(("length", "start", "makespan"), [(2.0, 1.0, 5.0), (3.0, 1.0, 5.0), (4.0, 5.0, 9.0)])
def test_herald_fills_idle_time_that_is_long_enough(length: float, start: float, makespan: float) -> None:
    # p runs on a 0-1, on b 1-4, on a 4-5; q, listed behind, finds a idle from 1 to 4
    built = problem(
        {"x": network([[1.0, None], [None, 3.0], [1.0, None]]), "y": network([[length, None]])},
        [("p", "x", ()), ("q", "y", ())],
        [FLAT, FLAT],
    )
    starts, end = fill(built, depth_first(built), ((0, 1, 0), (0,)))
    assert (starts[1, 0], end) == (start, makespan)
    assert starts[0, 2] == 4.0


def test_herald_gives_turns_by_when_groups_start() -> None:
    # in both sequences q is the last; it fits on a while s runs on b from 1 to 4, so it goes before t
    networks = {
        name: network([[ms if a == place else None for a in range(3)]])
        for name, place, ms in (
            ("r", 0, 1.0),
            ("s", 1, 3.0),
            ("t", 0, 1.0),
            ("y", 2, 0.25),
            ("z", 2, 0.25),
            ("q", 0, 2.0),
        )
    }
    after = {"s": ("r",), "t": ("s",), "z": ("y",), "q": ("z",)}
    built = problem(networks, [(name, name, after.get(name, ())) for name in networks], [FLAT] * 3)
    assert breadth_first(built)[-1] == depth_first(built)[-1] == (5, 0)
    assert herald(built)[1][0] == ((0, 0, 0), (5, 0, 0), (2, 0, 0))
    assert solve(built, "herald").value == pytest.approx(5.0)


@given(
    st.lists(st.floats(0.1, 5.0), min_size=1, max_size=9),
    st.integers(2, 4),
    st.sampled_from([breadth_first, depth_first]),
)
@settings(max_examples=60, deadline=None)
def test_herald_balances_equal_accelerators_within_one_group(
    times: list[float], count: int, sequence: Callable[[Problem], list[tuple[int, int]]]
) -> None:
    networks = {f"x{k}": network([[ms] * count]) for k, ms in enumerate(times)}
    built = problem(networks, [(f"i{k}", f"x{k}", ()) for k in range(len(times))], [FLAT] * count)
    placement = assign(built, sequence(built), 0.0)
    loads = [sum(ms for ms, (a,) in zip(times, placement, strict=True) if a == b) for b in range(count)]
    assert max(loads) - min(loads) <= max(times) + 1e-9
    # what it returns is at least as short as that: Graham's bound for list scheduling
    makespan = solve(built, "herald").value
    assert makespan is not None
    assert makespan <= sum(times) / count + (1 - 1 / count) * max(times) + 1e-9


@given(ANY, st.sampled_from(FACTORS), st.sampled_from([breadth_first, depth_first]))
@settings(max_examples=80, deadline=None)
def test_filling_idle_time_delays_nothing(
    built: Problem, factor: float, sequence: Callable[[Problem], list[tuple[int, int]]]
) -> None:
    listed, waits = sequence(built), built.workload.predecessors()
    placement = assign(built, listed, factor)
    starts, makespan = fill(built, listed, placement)
    groups = [built.costs(i).groups for i in range(len(placement))]
    ends = {(i, g): start + groups[i][g][placement[i][g]].time_ms for (i, g), start in starts.items()}  # type: ignore[union-attr]
    # each accelerator in the order of the sequence, one group behind the other
    free, done = [0.0] * len(built.accelerators), [0.0] * len(placement)
    for i, g in listed:
        a = placement[i][g]
        depended = max([done[i], *(done[j] for j in waits[i])])
        begun = max(depended, free[a])
        free[a] = done[i] = begun + ends[i, g] - starts[i, g]
        assert starts[i, g] <= begun + 1e-9
        assert (
            starts[i, g] >= max([ends.get((i, g - 1), 0.0), *(ends[j, len(groups[j]) - 1] for j in waits[i])]) - 1e-12
        )
    for a in range(len(built.accelerators)):
        busy = sorted((start, ends[entry]) for entry, start in starts.items() if placement[entry[0]][entry[1]] == a)
        assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(busy))
    assert makespan == pytest.approx(max(ends.values()))


# h2h


def test_h2h_moves_groups_to_their_neighbours_where_that_saves_latency() -> None:
    # computation first a b a: 3 + 4 holds of 1 = 7; group 0 to b: 2 + 1 + 2 + 1 = 6; group 1 to a: 7, no;
    # group 2 to b: 2 + 1 + 2 = 5. All on a would take 4, but no single move leads there
    built = alone([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]], 1.0)
    assert computation_first(built) == ((0, 1, 0),)
    assert h2h(built)[0] == ((1, 1, 1),)
    assert solve(built, "h2h").value == pytest.approx(5.0)


def test_h2h_counts_waiting_for_an_accelerator() -> None:
    # p on a until 1; q would end at 2 there and ends at 1.5 on b; r at 2 on a against 3 on b
    built = problem({"x": network([[1.0, 1.5]])}, [(name, "x", ()) for name in "pqr"], [FLAT, FLAT])
    assert computation_first(built) == ((0,), (1,), (0,))


def test_h2h_ignores_contention() -> None:
    # side by side each is slowed threefold: 6 ms, one after the other 4 ms
    grid = Slowdown((10.0,), (0.0, 10.0), ((1.0, 3.0),))
    built = problem({"x": network([[2.0, 2.0]], 10.0)}, [("p", "x", ()), ("q", "x", ())], [grid, grid])
    assert solve(built, "h2h").value == pytest.approx(6.0)
    assert solve(built, "serial").value == pytest.approx(4.0)


def _latency(built: Problem, placement: Placement) -> float:
    """By the simulator, without contention: h2h's own model."""
    return simulate(uncontended(built), placement, first_come(built, placement)[0]).makespan_ms


@given(ANY)
@settings(max_examples=80, deadline=None)
def test_h2h_ends_where_no_single_move_helps_and_no_worse_than_it_began(built: Problem) -> None:
    placement, _ = h2h(built)
    reached = _latency(built, placement)
    assert reached <= _latency(built, computation_first(built)) + 1e-9
    for i, groups in enumerate(placement):
        for g in range(len(groups)):
            for a in {*groups[max(g - 1, 0) : g], *groups[g + 1 : g + 2]}:
                if built.costs(i).groups[g][a] is not None:
                    moved = (*placement[:i], (*groups[:g], a, *groups[g + 1 :]), *placement[i + 1 :])
                    assert _latency(built, moved) >= reached * (1 - 1e-8)


# all of them


@pytest.mark.parametrize("name", BASELINES)
@given(built=ANY)
@settings(max_examples=120, deadline=None)
def test_any_problem_gets_a_schedule_that_runs(name: str, built: Problem) -> None:
    placement, order = BASELINES[name](built)
    # every group is supported, every segment has its turn on its accelerator, and the simulator meets no deadlock
    for i, groups in enumerate(placement):
        assert len(groups) == len(built.costs(i).groups)
        assert all(built.costs(i).groups[g][a] is not None for g, a in enumerate(groups))
    expected = {(groups[s], i, s, e) for i, groups in enumerate(placement) for s, e in segments_of(groups)}
    assert sorted((a, *segment) for a, turns in enumerate(order) for segment in turns) == sorted(expected)
    assert len(simulate(built, placement, order).finish_ms) == len(placement)
    # the same again, and under the other objective, of which their papers know nothing
    other = "latency" if built.workload.objective == "throughput" else "throughput"
    assert BASELINES[name](built) == BASELINES[name](built.with_objective(other)) == (placement, order)


@pytest.mark.parametrize("name", BASELINES)
@given(built=problems(groups=3, instances=2, accelerators=2, positive=True))
@settings(max_examples=25, deadline=None)
def test_none_beats_the_optimum(name: str, built: Problem) -> None:
    schedule, best = solve(built, name), solve(built, "exhaustive")
    assert (schedule.status, schedule.bound, schedule.max_transitions) == ("feasible", None, None)
    assert schedule.value is not None
    assert best.value is not None
    sign = 1 if built.workload.objective == "latency" else -1
    assert sign * schedule.value >= sign * best.value - 1e-9 * abs(best.value)


@given(built=ANY, scheduler=st.sampled_from([mensa, herald, h2h]))
@settings(max_examples=80, deadline=None)
def test_first_come_is_what_the_simulator_runs_without_contention(built: Problem, scheduler: Scheduler) -> None:
    placement, _ = scheduler(built)
    order, finish = first_come(built, placement)
    timeline = simulate(uncontended(built), placement, order)
    assert list(timeline.finish_ms.values()) == pytest.approx(finish, abs=1e-9)
    # nobody is overtaken by one that came later
    interval = {(s.instance, s.first): s for s in timeline.segments}
    waits, names = built.workload.predecessors(), built.instances
    came = {}
    for i, groups in enumerate(placement):
        before = max((timeline.finish_ms[names[j]] for j in waits[i]), default=0.0)
        for first, last in segments_of(groups):
            came[i, first] = before
            before = interval[names[i], first].end_ms
            assert interval[names[i], first].last == last
    for turns in order:
        assert all(came[s[:2]] <= came[t[:2]] + 1e-9 for s, t in pairwise(turns))


def test_no_accelerator_for_a_whole_network_is_no_obstacle() -> None:
    built = problem(
        {"x": network([[1.0, None], [None, 1.0]], 0.0, (0.25, 0.25))}, [("p", "x", ()), ("q", "x", ("p",))], [FLAT] * 2
    )
    for name in BASELINES:
        assert solve(built, name).value == pytest.approx(5.0)
