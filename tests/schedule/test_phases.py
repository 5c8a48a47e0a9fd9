"""Each phase of haxconn by itself, also the late ones, which small problems settle before; what a stopped run has proved."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, pairwise, product
from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from multidnn.schedule import Infeasible, Problem, Schedule, evaluate, haxconn, incumbents, settling, solve
from multidnn.schedule.anytime import improve
from multidnn.schedule.compiled.engine import Engine
from multidnn.schedule.costs import cost_of
from multidnn.schedule.encoding import Encoding
from multidnn.schedule.exhaustive import exhaustive_all, orders_of
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.problem import GroupCost, NetworkCosts
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.timeline import Deadlock, Placement, simulate
from tests.schedule.problems import FLAT, network, problem, problems

PHASES = (
    "everything at once", "everything at once, with prices", "cubes", "single placements", "beams beside cubes",
    "no proposals", "beams only",
)  # fmt: skip

LIMITS = st.sampled_from([0, 1, 2, None])

CASES = st.one_of(
    problems(groups=4, positive=True),
    problems(groups=2, instances=3, positive=True),
    problems(groups=1, instances=4, positive=True),
    problems(groups=2, accelerators=3, positive=True),
    problems(groups=3, objective="latency"),
)
"""Small enough for every timeline to be tried; instances differ in length, and some problems have zero times."""

PLENTY_S = 20.0


Propose = Callable[[Encoding, float, Callable[[], bool]], Placement | Literal[False] | None]


def _at_a_loss(propose: Propose) -> Propose:
    def no_placement(encoding: Encoding, timeout_s: float, stop: Callable[[], bool]) -> Literal[False] | None:
        return False if propose(encoding, PLENTY_S, lambda: False) is False else None

    return no_placement


@contextmanager
def only(phase: str) -> Iterator[None]:
    """Let nothing but this phase find and prove."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(haxconn, "QUICK_S", 0.0)
        patch.setattr(haxconn, "PRICED_QUICK", 0.0)
        patch.setattr(settling, "FIRST_BUDGET", 1)
        patch.setattr(haxconn, "anneal", lambda _: iter(()))
        patch.setattr(haxconn, "FIRST_BEAMS_S", 0.0)
        patch.setattr(haxconn, "BEAMS", 0.0)
        if phase == "everything at once":
            patch.setattr(haxconn, "QUICK_S", PLENTY_S)
        elif phase == "everything at once, with prices":
            patch.setattr(haxconn, "PRICED_QUICK", 1e6)
        elif phase == "single placements":
            # cubes shrink at once
            patch.setattr(settling, "SLICE_S", 1e-5)
            patch.setattr(settling, "LEAST_EFFORT_S", 1e-9)
        elif phase == "beams beside cubes":
            patch.setattr(haxconn, "FIRST_BEAMS_S", 0.02)
            patch.setattr(haxconn, "BEAMS", 1.0)
            # narrow, so that most is given up, and interrupted all the time
            patch.setattr(incumbents, "WIDEST", 3)
            patch.setattr(incumbents, "STRETCH", 7)
            patch.setattr(incumbents, "BUCKETS", 3)
        elif phase == "no proposals":
            # Z3 never comes to a placement, only to the end
            patch.setattr(haxconn, "PATIENCE_S", 1e-3)
            patch.setattr(Encoding, "propose", _at_a_loss(Encoding.propose))
        elif phase == "beams only":
            patch.setattr(settling, "MOST_PATTERNS", 0)
            patch.setattr(incumbents, "FIRST_WIDTH", 2)
            patch.setattr(incumbents, "WIDEST", 3000)
        yield


def best_value(built: Problem, limit: int | None) -> float | None:
    """The best value over every timeline, None if there is none; problems with too many are left out."""
    everything = exhaustive_all(built, limit)
    found = everything.best.get(built.workload.objective)
    return None if found is None else found[0]


def placed(built: Problem, schedule: Schedule) -> Placement:
    assert schedule.placement is not None
    return tuple(tuple(map(built.accelerators.index, schedule.placement[name])) for name in built.instances)


def check_allowed(built: Problem, limit: int | None, schedule: Schedule) -> None:
    """The schedule keeps the rules, and its value is what the simulator says."""
    assert schedule.placement is not None
    assert schedule.order is not None
    for i, groups in enumerate(placed(built, schedule)):
        assert all(built.costs(i).groups[g][a] is not None for g, a in enumerate(groups))
        assert limit is None or sum(a != b for a, b in pairwise(groups)) <= limit
    objective = built.workload.objective
    assert evaluate(built, schedule.placement, schedule.order).value(objective) == schedule.value


@pytest.mark.parametrize("phase", PHASES)
@given(CASES, LIMITS)
@settings(max_examples=40, deadline=None)
def test_every_phase_alone_proves_the_optimum(phase: str, built: Problem, limit: int | None) -> None:
    expected = best_value(built, limit)
    with only(phase):
        if expected is None:
            with pytest.raises(Infeasible, match="transitions"):
                solve(built, "haxconn", max_transitions=limit)
            return
        schedule = solve(built, "haxconn", max_transitions=limit, time_limit_s=PLENTY_S)
    check_allowed(built, limit, schedule)
    assert schedule.status == "optimal"
    assert schedule.value == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert schedule.bound == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("phase", PHASES)
@given(CASES, LIMITS, st.integers(0, 12))
@settings(max_examples=30, deadline=None)
def test_what_a_stopped_phase_has_proved_holds(phase: str, built: Problem, limit: int | None, looks: int) -> None:
    expected = best_value(built, limit)
    assume(expected is not None)
    left = iter(range(looks))
    with only(phase):
        found = list(
            improve(built, max_transitions=limit, time_limit_s=PLENTY_S, stop=lambda: next(left, None) is None)
        )
    schedule = found[-1].schedule
    check_allowed(built, limit, schedule)
    assert expected is not None
    assert schedule.value is not None
    sign = cost_of(built.workload.objective, 1.0)
    slack = 1e-6 * abs(expected) + 1e-12
    assert schedule.bound is not None
    assert sign * schedule.bound <= sign * expected + slack
    assert sign * schedule.value >= sign * expected - slack
    if schedule.status == "optimal":
        assert schedule.value == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("phase", PHASES)
@given(problems(groups=3, positive=True))
@settings(max_examples=6, deadline=None)
def test_the_unit_of_time_makes_no_difference(phase: str, scale: float, built: Problem) -> None:
    networks = {
        name: NetworkCosts(
            tuple(
                tuple(None if cost is None else GroupCost(cost.time_ms * scale, cost.demand_gb_s) for cost in row)
                for row in costs.groups
            ),
            {key: (out_ms * scale, in_ms * scale) for key, (out_ms, in_ms) in costs.transitions.items()},
        )
        for name, costs in built.networks.items()
    }
    scaled = Problem(built.workload, built.accelerators, networks, built.slowdown)
    expected = best_value(scaled, 2)
    assume(expected is not None)
    with only(phase):
        schedule = solve(scaled, "haxconn", max_transitions=2, time_limit_s=PLENTY_S)
    assert schedule.status == "optimal"
    assert schedule.value == pytest.approx(expected, rel=1e-6)


def _best_without(built: Problem, excluded: set[Placement]) -> float | None:
    """The best value over the timelines of all other placements."""
    objective = built.workload.objective
    values = []
    for placement in product(*(placements_of(built.costs(i), None) for i in range(len(built.instances)))):
        if placement in excluded:
            continue
        for order in orders_of(placement, len(built.accelerators)):
            try:
                values.append(simulate(built, placement, order).value(objective))
            except Deadlock:
                continue
    return (min if objective == "latency" else max)(values) if values else None


@pytest.mark.parametrize("phase", PHASES)
@given(problems(groups=2, positive=True), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_the_best_other_placement(phase: str, built: Problem, times: int) -> None:
    excluded: set[Placement] = set()
    for _ in range(times):
        expected = _best_without(built, excluded)
        with only(phase):
            if expected is None:
                with pytest.raises(Infeasible):
                    solve(built, "haxconn", exclude=excluded)
                return
            schedule = solve(built, "haxconn", exclude=excluded, time_limit_s=PLENTY_S)
        assert placed(built, schedule) not in excluded
        assert schedule.status == "optimal"
        assert schedule.value == pytest.approx(expected, rel=1e-6)
        assert schedule.bound == pytest.approx(expected, rel=1e-6)
        excluded.add(placed(built, schedule))


def test_beams_keep_apart_what_differs_only_in_being_excluded() -> None:
    # group 0 takes as long on a as on c, and after group 1 on b nothing tells the two apart
    built = problem(
        {"x": network([[1.0, None, 1.0], [None, 1.0, None], [3.0, None, 1.0]])}, [("p", "x", ())], [FLAT] * 3
    )
    for excluded, other in (((0, 1, 2), (2, 1, 2)), ((2, 1, 2), (0, 1, 2))):
        with only("beams only"):
            schedule = solve(built, "haxconn", exclude=[(excluded,)], time_limit_s=PLENTY_S)
        assert schedule.status == "optimal"
        assert schedule.value == pytest.approx(3.0)
        assert placed(built, schedule) == (other,)


def test_beams_count_more_transitions_than_a_byte_holds() -> None:
    # with any number of transitions, the quicker accelerator of each of 150 groups
    draw = random.Random(1)
    times = [[round(draw.uniform(0.05, 0.5), 3), round(draw.uniform(0.05, 0.5), 3)] for _ in range(150)]
    engine = Engine(problem({"x": network(times)}, [("p", "x", ())], [FLAT] * 2))
    least = sum(min(row) for row in times)
    nothing = np.zeros((0, 1, 150), dtype=np.int8)
    for found in incumbents.search(engine, np.array([149]), nothing):
        assert found.bound <= least * (1 + 1e-9)
        if found.best is not None and found.best.cost <= least * (1 + 1e-9):
            break
    assert found.best is not None
    assert found.best.cost == pytest.approx(least)


def test_beams_end_where_more_happens_at_once_than_there_is_room_for() -> None:
    # next to the long last groups, all else falls into one bucket
    times = [
        [[ms * (1 + 0.01 * k + 0.003 * a) for a in range(4)] for ms in (1e-4, 2e-4, 3e-4, 50.0)] for k in range(12)
    ]
    networks = {f"x{k}": network(rows, hold=(1e-5, 1e-5)) for k, rows in enumerate(times)}
    built = problem(networks, [(f"i{k}", f"x{k}", ()) for k in range(12)], [FLAT] * 4)
    nothing = np.zeros((0, 12, 4), dtype=np.int8)
    found = list(islice(incumbents.search(Engine(built), np.array([3] * 12), nothing), 3))
    assert found[-1].best is not None
    # three in a row on each accelerator at least
    assert found[-1].bound <= found[-1].best.cost
    assert found[-1].best.cost >= 150.0


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_networks_of_very_different_lengths_share_the_tables(objective: str) -> None:
    grid = Slowdown((0.0, 40.0), (0.0, 40.0), ((1.0, 1.2), (1.0, 2.0)))
    built = problem(
        {
            "x": network([[1.0, 0.7]], 30.0),
            "y": network([[0.3, 0.5], [0.6, 0.2], [0.4, None], [0.2, 0.3], [0.5, 0.1]], 20.0, (0.02, 0.03)),
        },
        [("p", "x", ()), ("q", "y", ()), ("r", "x", ("p",))],
        [grid, grid],
        objective,
    )
    expected = best_value(built, 2)
    for phase in PHASES:
        with only(phase):
            schedule = solve(built, "haxconn", max_transitions=2, time_limit_s=PLENTY_S)
        check_allowed(built, 2, schedule)
        assert schedule.status == "optimal"
        assert schedule.value == pytest.approx(expected, rel=1e-6)
