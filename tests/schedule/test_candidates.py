"""Candidates: against trying every placement, over variants, and through their file."""

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multidnn.schedule.candidates as module
from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.schedule import Problem, Schedule, evaluate, solve
from multidnn.schedule.candidate_files import choose_candidates, make_candidates, read_candidates
from multidnn.schedule.candidates import Candidates, best_of, candidates
from multidnn.schedule.problem import Infeasible
from multidnn.schedule.timeline import Placement
from tests.schedule.problems import FLAT, network, problem, problems, two_networks, unprovable
from tests.schedule.test_alternative import best_values, same_by_hand


def _distinct(built: Problem, values: Mapping[Placement, float], sign: int) -> list[float]:
    """The costs of all placements, one of those that trading twins makes of each other, ascending."""
    kept: list[Placement] = []
    for placement in values:
        if not any(same_by_hand(built, placement, other) for other in kept):
            kept.append(placement)
    return sorted(sign * values[placement] for placement in kept)


def _moves(schedule: Schedule) -> int:
    """The most transitions of an instance."""
    assert schedule.placement is not None
    return max(len(list(itertools.groupby(groups))) for groups in schedule.placement.values()) - 1


@given(problems(groups=3, instances=2, accelerators=2, positive=True), st.sampled_from([0, 1, None]), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_candidates_are_the_best_of_all_placements(built: Problem, limit: int | None, count: int) -> None:
    try:
        chosen = solve(built, "haxconn", max_transitions=limit, target="here")
    except Infeasible:
        return
    found = candidates(built, chosen, count=count, time_limit_s=60.0)
    sign = 1 if built.workload.objective == "latency" else -1
    costs = [sign * (schedule.value or 0.0) for schedule in found.schedules]
    assert costs == sorted(costs)
    wanted = 0
    # networks of three groups have two borders
    for most in range(2 if limit is None else limit, -1, -1):
        expected = _distinct(built, best_values(built, most), sign)[:count]
        kept = [cost for cost, schedule in zip(costs, found.schedules, strict=True) if _moves(schedule) <= most]
        assert kept[: len(expected)] == pytest.approx(expected, rel=1e-6)
        wanted += len(expected)
        if most == (2 if limit is None else limit):
            assert (found.stopped is None) == (len(expected) >= count)
    # no more than the best under each limit
    assert len(costs) <= wanted
    for schedule in found.schedules:
        assert (schedule.target, schedule.status) == ("here", "optimal")
        assert schedule.max_transitions is None or schedule.max_transitions >= _moves(schedule)
        assert schedule.placement is not None
        assert schedule.order is not None
        timeline = evaluate(built, schedule.placement, schedule.order)
        assert timeline.value(built.workload.objective) == pytest.approx(schedule.value)


def test_twins_that_trade_places_are_one_candidate() -> None:
    # one on each, or both on a (2 ms) or on b (2.5 ms): three placements but for who is where
    built = problem({"x": network([[1.0, 1.25]])}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    found = candidates(built, solve(built, "haxconn"), count=5, time_limit_s=30.0)
    assert [schedule.value for schedule in found.schedules] == pytest.approx([1.25, 2.0, 2.5])
    assert found.stopped is not None


def test_what_haxconn_says_beside_its_schedule_is_no_part_of_a_candidate() -> None:
    chosen = replace(solve(two_networks(), "haxconn"), extra={"explanation": 1, "alternatives": 2, "variants": 3})
    found = candidates(two_networks(), chosen, count=2, time_limit_s=30.0)
    assert found.schedules[0] == replace(chosen, extra={"explanation": 1})


def test_candidates_begin_with_haxconn_only() -> None:
    with pytest.raises(ValueError, match="begin with a schedule of haxconn, found one of naive"):
        candidates(two_networks(), solve(two_networks(), "naive"), count=2, time_limit_s=1.0)


def test_short_of_time_the_list_stays_in_order() -> None:
    built = unprovable()
    chosen = solve(built, "haxconn", max_transitions=3, time_limit_s=0.5)
    assert chosen.status == "feasible"
    found = candidates(built, chosen, count=3, time_limit_s=0.6)
    values = [schedule.value or 0.0 for schedule in found.schedules]
    assert values == sorted(values)
    assert len({str(schedule.placement) for schedule in found.schedules}) == len(values)
    assert chosen.placement in [schedule.placement for schedule in found.schedules]


def _on(target: str, *values: float, stopped: str | None = None) -> Candidates:
    made = tuple(replace(solve(two_networks(), "haxconn", target=target), value=value) for value in values)
    return Candidates(made, stopped)


def test_over_variants_the_best_win_and_the_first_of_equals() -> None:
    listed = [_on("a", 1.0, 3.0, 4.0), _on("b", 1.0, 2.0, stopped="no other")]
    found = best_of(listed, 3)
    assert [(schedule.target, schedule.value) for schedule in found.schedules] == [("a", 1.0), ("b", 1.0), ("b", 2.0)]
    assert found.stopped is None
    assert best_of(listed, 6).stopped == "no other"


def test_over_variants_there_are_the_best_under_each_limit_that_was_searched() -> None:
    def moving(value: float, moves: int) -> Schedule:
        groups = ["a", "b", "a", "b", "a", "b"][: moves + 1] + ["b" if moves % 2 else "a"] * (5 - moves)
        one = replace(_on("here", value).schedules[0], max_transitions=5, placement={"p": groups})
        assert _moves(one) == moves
        return one

    listed = [Candidates(tuple(moving(1.0 + number / 10 + 2 * (5 - moves), moves) for moves in (5, 4, 3, 2, 1, 0)))
              for number in range(3)]  # fmt: skip
    kept = [_moves(schedule) for schedule in best_of(listed, 2).schedules]
    # five may move, then 2, 1 and none: nothing was searched under a limit of 4 or 3
    assert kept == [5, 5, 2, 2, 1, 1, 0, 0]


def test_all_searches_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, granted = [100.0], []

    def slow(*_: object, time_limit_s: float, max_transitions: int, **__: object) -> Schedule:
        granted.append((max_transitions, time_limit_s))
        clock[0] += time_limit_s
        raise InputError("nothing found within the time limit")

    chosen = solve(two_networks(), "haxconn", max_transitions=2)
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module, "best_other", slow)
    found = candidates(two_networks(), chosen, count=3, time_limit_s=10.0)
    assert [limit for limit, _ in granted] == [2, 1, 0]
    assert sum(seconds for _, seconds in granted) <= 10.0
    assert found.stopped == "nothing found within the time limit"


def test_the_file_gives_back_what_was_found(tmp_path: Path) -> None:
    haxconn, out = tmp_path / "haxconn.json", tmp_path / "candidates" / "w.json"
    solve(two_networks(), "haxconn", target="here", max_transitions=1).write(haxconn)
    make_candidates(two_networks(), haxconn, "here", out, count=3, time_limit_s=30.0)
    content = json.loads(out.read_text())
    assert (content["format"], content["workload"], content["target"], content["stopped"]) == (1, "w", "here", None)
    assert content["candidates"][0] == {key: v for key, v in json.loads(haxconn.read_text()).items() if key != "format"}
    found = read_candidates(out)
    assert isinstance(found, Candidates)
    direct = candidates(two_networks(), Schedule.read(haxconn), count=3, time_limit_s=30.0)
    assert [schedule.placement for schedule in found.schedules] == [schedule.placement for schedule in direct.schedules]


def test_files_of_variants_become_one(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.json" for name in ("one", "two", "none")}
    for name, at_most in (("one", 0), ("two", 2)):
        haxconn = tmp_path / name / "haxconn.json"
        solve(two_networks(), "haxconn", target=name, max_transitions=at_most).write(haxconn)
        make_candidates(two_networks(), haxconn, name, paths[name], count=3, time_limit_s=30.0)
    write_json(tmp_path / "haxconn.json", {"absent": "q fits nowhere"})
    make_candidates(two_networks(), tmp_path / "haxconn.json", "none", paths["none"], count=3, time_limit_s=30.0)
    choose_candidates(paths, "w", "both", tmp_path / "both.json", count=3)
    found, single = read_candidates(tmp_path / "both.json"), [read_candidates(paths[name]) for name in ("one", "two")]
    assert isinstance(found, Candidates)
    every = [s.value or 0.0 for listed in single if isinstance(listed, Candidates) for s in listed.schedules]
    # all are among the best three of those with as few transitions
    assert [schedule.value for schedule in found.schedules][:3] == sorted(every)[:3]
    still = [s for listed in single if isinstance(listed, Candidates) for s in listed.schedules if _moves(s) == 0]
    kept = [schedule.value for schedule in found.schedules if _moves(schedule) == 0]
    assert len(still) > 3
    assert kept[:3] == sorted(s.value or 0.0 for s in still)[:3]
    assert all(
        sum(value <= schedule.value for value in kept) <= 3 for schedule in found.schedules if _moves(schedule) == 0
    )
    choose_candidates({"none": paths["none"]}, "w", "both", tmp_path / "both.json", count=3)
    assert read_candidates(tmp_path / "both.json") == "q fits nowhere"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"workload": "w"}, r"c\.json: candidates: found None, expected a list of schedules"),
        ({"candidates": []}, r"c\.json: candidates: found \[\], expected a list of schedules"),
        ({"candidates": [{"workload": "w"}]}, r"c\.json: candidates\[0\]: the key 'target' is missing"),
    ],
)
def test_a_broken_file_names_the_key(tmp_path: Path, content: dict[str, object], expected: str) -> None:
    write_json(tmp_path / "c.json", content)
    with pytest.raises(InputError) as caught:
        read_candidates(tmp_path / "c.json")
    assert re.search(expected, str(caught.value))
