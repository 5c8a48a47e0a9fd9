"""Alternatives: against trying everything, with what counts as the same placement, and what the answers claim."""

import math
from itertools import pairwise, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.errors import InputError
from multidnn.schedule import Problem, Schedule, alternatives, solve, with_alternatives
from multidnn.schedule.alternative import MOST_EQUAL, equal_placements
from multidnn.schedule.exhaustive import orders_of
from multidnn.schedule.patterns import placements_of
from multidnn.schedule.problem import Infeasible
from multidnn.schedule.schedule import named_placement
from multidnn.schedule.timeline import Deadlock, Placement, simulate
from tests.schedule.problems import FLAT, network, problem, problems, two_networks, unprovable


def best_values(built: Problem, limit: int | None) -> dict[Placement, float]:
    """The value of the best order of every placement, through the simulator alone."""
    objective = built.workload.objective
    better = min if objective == "latency" else max
    found: dict[Placement, float] = {}
    for placement in product(*(placements_of(built.costs(i), limit) for i in range(len(built.instances)))):
        values = []
        for order in orders_of(placement, len(built.accelerators)):
            try:
                values.append(simulate(built, placement, order).value(objective))
            except Deadlock:
                continue
        found[placement] = better(values)
    return found


def same_by_hand(built: Problem, one: Placement, other: Placement) -> bool:
    """Whether renaming instances, without changing the workload, turns one placement into the other."""
    entries = built.workload.instances
    for renamed in permutations(range(len(entries))):
        kept = all(
            entries[i].network == entries[j].network
            and {renamed[k] for k in built.workload.predecessors()[i]} == set(built.workload.predecessors()[j])
            for i, j in enumerate(renamed)
        )
        swaps = all(built.workload.twins()[i] == built.workload.twins()[j] for i, j in enumerate(renamed))
        if kept and swaps and all(one[i] == other[j] for i, j in enumerate(renamed)):
            return True
    return False


@given(problems(groups=3, instances=3, accelerators=2, positive=True))
@settings(max_examples=60, deadline=None)
def test_equal_placements_are_those_that_renaming_twins_gives(built: Problem) -> None:
    every = list(product(*(placements_of(built.costs(i), 1) for i in range(len(built.instances)))))
    if not every:
        return
    placement = every[len(every) // 2]
    equal = equal_placements(built.workload, placement)
    assert len(set(equal)) == len(equal)
    assert set(equal) == {other for other in every if same_by_hand(built, placement, other)}


@given(problems(groups=3, instances=2, accelerators=2, positive=True), st.sampled_from([0, 1, 2, None]))
@settings(max_examples=40, deadline=None)
def test_the_answers_are_those_of_trying_everything(built: Problem, limit: int | None) -> None:
    try:
        chosen = solve(built, "haxconn", max_transitions=limit)
    except Infeasible:
        return
    assert chosen.status == "optimal"
    assert chosen.value is not None
    found = alternatives(built, chosen, time_limit_s=60.0)
    sign = 1 if built.workload.objective == "latency" else -1
    values = best_values(built, limit)
    picked = next(p for p in values if named_placement(built, p) == chosen.placement)
    others = [sign * value for p, value in values.items() if not same_by_hand(built, picked, p)]
    most = max(len(costs.groups) for costs in map(built.costs, range(len(built.instances)))) - 1
    _check(found["second"], others, sign, chosen)
    if found["no_transitions"] is None:
        assert limit == 0 or most == 0
    else:
        _check(found["no_transitions"], [sign * v for v in best_values(built, 0).values()], sign, chosen)
    if found["one_more"] is None:
        assert limit is None or limit >= most
    else:
        assert limit is not None
        _check(found["one_more"], [sign * v for v in best_values(built, limit + 1).values()], sign, chosen)
        assert found["one_more"]["max_transitions"] == limit + 1
        assert found["one_more"]["better_pct"] >= -1e-4


def _check(answer: dict, costs: list[float], sign: int, chosen: Schedule) -> None:
    if not costs:
        assert set(answer) == {"absent"}
        return
    assert answer["status"] == "optimal"
    assert sign * answer["value"] == pytest.approx(min(costs), rel=1e-6)
    assert answer["bound"] == pytest.approx(answer["value"], rel=1e-6)
    assert chosen.value is not None
    better = 100 * (sign * chosen.value - min(costs)) / chosen.value
    assert answer["better_pct"] == pytest.approx(better, abs=1e-3)
    assert all(
        answer["max_transitions"] is None or sum(a != b for a, b in pairwise(groups)) <= answer["max_transitions"]
        for groups in answer["placement"].values()
    )


def test_an_unproved_answer_says_so_and_never_undercuts_what_is_known() -> None:
    built = unprovable()
    chosen = solve(built, "haxconn", max_transitions=3, time_limit_s=1.5)
    assert chosen.status == "feasible"
    assert chosen.value is not None
    found = alternatives(built, chosen, time_limit_s=0.3)
    assert found["time_limit_s"] == pytest.approx(0.1)
    more = found["one_more"]
    assert more is not None
    assert more["status"] == "feasible"
    assert more["bound"] < more["value"] <= chosen.value
    if "absent" not in found["second"]:
        assert found["second"]["status"] == "feasible"
        assert found["second"]["bound"] >= chosen.bound


def test_questions_that_do_not_arise_are_null() -> None:
    built = two_networks()
    found = alternatives(built, solve(built, "haxconn", max_transitions=2), time_limit_s=30.0)
    assert found["one_more"] is None
    assert found["no_transitions"] is not None
    found = alternatives(built, solve(built, "haxconn", max_transitions=0), time_limit_s=30.0)
    assert found["no_transitions"] is None
    assert found["one_more"] is not None


def test_the_only_placement_has_no_second() -> None:
    built = problem({"x": network([[1.0, None], [1.0, None]])}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    found = alternatives(built, solve(built, "haxconn", max_transitions=1), time_limit_s=30.0)
    assert set(found["second"]) == {"absent"}


def test_no_schedule_without_transitions_says_why() -> None:
    built = problem({"x": network([[1.0, None], [None, 1.0]])}, [("p", "x", ())], [FLAT, FLAT])
    found = alternatives(built, solve(built, "haxconn", max_transitions=1), time_limit_s=30.0)
    assert found["no_transitions"] == {"absent": "p needs more than 0 transitions"}


def test_twins_that_trade_places_are_no_alternative() -> None:
    # p on a and q on b is the best, and so is the other way round; the second best puts both on one
    built = problem({"x": network([[1.0, 1.25]])}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    found = alternatives(built, solve(built, "haxconn"), time_limit_s=30.0)
    assert found["second"]["value"] == pytest.approx(2.0)
    assert found["second"]["better_pct"] == pytest.approx(-60.0)


def test_too_many_equal_placements_are_refused() -> None:
    groups = tuple((0,) * g + (1,) * (9 - g) for g in range(9))
    built = problem({"x": network([[1.0, 1.0]] * 9)}, [(f"i{k}", "x", ()) for k in range(9)], [FLAT, FLAT])
    assert math.factorial(9) > MOST_EQUAL
    with pytest.raises(InputError, match="362880 placements equal"):
        equal_placements(built.workload, groups)


@pytest.mark.parametrize("scheduler", ["serial", "naive", "exhaustive"])
def test_only_searched_schedules_have_alternatives(scheduler: str) -> None:
    with pytest.raises(ValueError, match="haxconn and dynamic only"):
        alternatives(two_networks(), solve(two_networks(), scheduler), time_limit_s=1.0)


def test_alternatives_stand_in_the_file_beside_the_explanation(tmp_path) -> None:
    schedule = with_alternatives(two_networks(), solve(two_networks(), "haxconn", max_transitions=1), time_limit_s=30.0)
    schedule.write(tmp_path / "s.json")
    again = Schedule.read(tmp_path / "s.json")
    assert again.extra is not None
    assert list(again.extra) == ["explanation", "alternatives"]
    assert list(again.extra["alternatives"]) == ["time_limit_s", "second", "no_transitions", "one_more"]
