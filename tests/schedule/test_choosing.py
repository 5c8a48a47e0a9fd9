"""The best schedule over the variants of a chip, and what is proved of it, against a plain reading of the rules."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.contention.joining import join_models
from multidnn.errors import InputError
from multidnn.measure.joining import join_tables
from multidnn.schedule import Problem, Schedule, Workload, solve, with_alternatives
from multidnn.schedule.__main__ import main
from multidnn.schedule.variants import best, choose, variant_of
from multidnn.schedule.wording import sentences
from tests.measure.variant_folders import SPLITS, write_variants

WORKLOAD = Workload.from_dict(
    {"name": "w", "instances": [{"name": "a", "network": "alexnet"}, {"name": "g", "network": "googlenet"}]}, "w"
)
NAMES = ("layer_results.csv", "transition_results.csv", "emc_results.csv", "contention.json")

VALUES = st.one_of(st.sampled_from([1.0, 2.0, 3.0]), st.floats(0.5, 50.0))


@st.composite
def schedules(draw: st.DrawFn) -> dict[str, Schedule]:
    """Schedules of one scheduler on up to four variants; bounds at the value, apart from it, or unknown."""
    objective = draw(st.sampled_from(["latency", "throughput"]))
    made = {}
    for variant in "abcd"[: draw(st.integers(1, 4))]:
        value = draw(VALUES)
        gap = draw(st.sampled_from([None, 0.0, 1e-7, 0.01, 0.5]))
        # nothing beats a bound: it is below for latency, above for throughput
        bound = None if gap is None else value * (1 - gap if objective == "latency" else 1 + gap)
        count = draw(st.integers(0, 3))
        worse = sorted((value * (1 + draw(st.floats(0.1, 3.0))) for _ in range(count)), reverse=True)
        path = [*worse, value] if objective == "latency" else [*(value * value / entry for entry in worse), value]
        seconds = sorted(draw(st.lists(st.floats(0, 5), min_size=len(path), max_size=len(path))))
        proved = bound is not None and abs(value - bound) <= 1e-6 * value
        made[variant] = Schedule(
            "w", variant, "haxconn", objective, 2, "optimal" if proved else "feasible", value, bound,
            {"makespan_ms": value}, {"i": [f"{variant}1"]}, {f"{variant}1": [["i", 0, 0]]}, seconds[-1] + 0.5,
            tuple(zip(seconds, path, strict=True)), {"explanation": variant},
        )  # fmt: skip
    return made


@settings(max_examples=150, deadline=None)
@given(schedules())
def test_the_best_is_what_a_plain_search_finds(made: dict[str, Schedule]) -> None:
    chosen = best(made)
    latency = chosen.objective == "latency"
    pick = min if latency else max
    values = [schedule.value for schedule in made.values() if schedule.value is not None]
    assert chosen.value == pick(values)
    winner = next(variant for variant, schedule in made.items() if schedule.value == chosen.value)
    assert chosen.target == winner
    kept = ("predicted", "placement", "order", "workload", "scheduler", "max_transitions")
    assert [getattr(chosen, key) for key in kept] == [getattr(made[winner], key) for key in kept]
    assert chosen.extra is not None
    assert chosen.extra["explanation"] == winner
    bounds = [schedule.bound for schedule in made.values()]
    if None in bounds:
        assert (chosen.bound, chosen.status) == (None, "feasible")
    else:
        known = [bound for bound in bounds if bound is not None]
        assert chosen.bound == pick(known)
        # a bound holds for every schedule of every variant
        assert all(chosen.bound <= value if latency else chosen.bound >= value for value in values)
        assert chosen.status == ("optimal" if abs(chosen.value - chosen.bound) <= 1e-6 * chosen.value else "feasible")
    assert chosen.solve_s == pytest.approx(sum(schedule.solve_s for schedule in made.values()))
    found = [value for _, value in chosen.incumbents]
    assert found == sorted(set(found), reverse=latency)
    assert found[-1] == chosen.value
    times = [seconds for seconds, _ in chosen.incumbents]
    assert times == sorted(times)
    assert times[-1] <= chosen.solve_s


def test_a_variant_without_a_schedule_proves_nothing_and_hinders_nothing(tmp_path: Path) -> None:
    problem = _problems(tmp_path)["chip.half"]
    solve(problem, "serial", target="chip.half").write(tmp_path / "half.json")
    absent = {"workload": "w", "target": "chip.thirds", "scheduler": "serial", "absent": "group 2 is not supported"}
    (tmp_path / "thirds.json").write_text(json.dumps(absent))
    paths = {"chip.thirds": tmp_path / "thirds.json", "chip.half": tmp_path / "half.json"}
    choose(paths, "chip", tmp_path / "out.json")
    found = Schedule.read(tmp_path / "out.json")
    assert (found.target, found.bound) == ("chip.half", None)
    assert found.extra is not None
    assert found.extra["variants"]["chip.thirds"] == {"absent": "group 2 is not supported"}
    choose({"chip.thirds": paths["chip.thirds"]}, "chip", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == {"format": 1, **absent, "target": "chip"}
    other = {**absent, "absent": "no accelerator takes all of it"}
    (tmp_path / "half.json").write_text(json.dumps(other))
    choose(paths, "chip", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["absent"] == (
        "chip.thirds: group 2 is not supported; chip.half: no accelerator takes all of it"
    )
    (tmp_path / "half.json").write_text(json.dumps({**other, "scheduler": "naive"}))
    with pytest.raises(InputError, match=r"schedules of different things, serial of w in .* and naive of w in"):
        choose(paths, "chip", tmp_path / "out.json")


def test_a_search_that_was_stopped_leaves_the_choice_unsettled() -> None:
    made = Schedule(
        "w", "a", "naive", "latency", None, "feasible", 2.0, None, {"makespan_ms": 2.0}, {"i": ["x"]}, {"x": []}
    )
    slower = replace(made, target="b", value=3.0, extra={"stopped": "by the time limit"})
    chosen = best({"a": made, "b": slower})
    assert chosen.target == "a"
    assert (chosen.extra or {})["stopped"] == "by the time limit"


def _problems(root: Path) -> Mapping[str, Problem]:
    folders = write_variants(root)
    accelerators = join_tables(folders, root / "chip")
    models = {name: folder / "contention.json" for name, folder in folders.items()}
    join_models(models, accelerators, root / "chip" / "contention.json")
    return Problem.by_target(*(root / "chip" / name for name in NAMES), WORKLOAD, "chip")


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_alternatives_are_over_all_variants(tmp_path: Path, objective: str) -> None:
    problems = {name: problem.with_objective(objective) for name, problem in _problems(tmp_path).items()}
    sign = 1 if objective == "latency" else -1

    def value(problem: Problem, limit: int, exclude: Any = ()) -> float:
        found = solve(problem, "haxconn", max_transitions=limit, time_limit_s=30, exclude=exclude)
        assert found.status == "optimal"
        assert found.value is not None
        return sign * found.value

    made = {}
    for name, problem in problems.items():
        schedule = solve(problem, "haxconn", target=name, max_transitions=1, time_limit_s=30)
        made[name] = with_alternatives(problem, schedule, time_limit_s=30)
    chosen = best(made)
    assert chosen.status == "optimal"
    assert chosen.value is not None
    assert sign * chosen.value == pytest.approx(min(value(problem, 1) for problem in problems.values()))
    answers = (chosen.extra or {})["alternatives"]
    for question, limit in (("no_transitions", 0), ("one_more", 2)):
        assert answers[question]["status"] == "optimal"
        assert sign * answers[question]["value"] == pytest.approx(min(value(p, limit) for p in problems.values()))
    own = problems[chosen.target]
    assert chosen.placement is not None
    placed = tuple(tuple(own.accelerators.index(name) for name in chosen.placement[i]) for i in own.instances)
    others = [value(problem, 1) for name, problem in problems.items() if name != chosen.target]
    second = min(value(own, 1, (placed,)), *others)
    assert sign * answers["second"]["value"] == pytest.approx(second)
    assert answers["second"]["better_pct"] == pytest.approx(100 * (sign * chosen.value - second) / chosen.value)
    assert answers["second"]["better_pct"] <= 0 <= answers["one_more"]["better_pct"] + 1e-9


def test_an_answer_on_another_split_names_it() -> None:
    answer = {
        "max_transitions": 2, "value": 12.0, "bound": 12.0, "status": "optimal", "better_pct": -20.0,
        "placement": {"i": ["x", "x"]}, "solve_s": 1.0, "target": "chip.half",
    }  # fmt: skip
    content = {
        "objective": "latency", "value": 10.0, "target": "chip.thirds", "placement": {"i": ["y", "y"]},
        "alternatives": {"time_limit_s": 10.0, "second": answer, "one_more": None, "no_transitions": None},
    }  # fmt: skip
    assert sentences(content) == [
        "Best other placement: on chip.half, 12 ms, 20.0 % slower, proved. There: i 0-1 on x."
    ]
    assert sentences({**content, "target": "chip.half"})[0].startswith("Best other placement: 12 ms")


def test_accelerators_of_one_variant_are_recognised() -> None:
    assert variant_of(SPLITS, ["half-b", "half-b"], "s.json") == "chip.half"
    with pytest.raises(
        InputError, match=r"s.json: uses accelerators of 2 variants, half-a of chip.half and third-c of chip"
    ):
        variant_of(SPLITS, ["half-a", "third-c", "half-a"], "s.json")


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run `python -m multidnn.schedule` on joined tables; return the exit code and what it said."""
    _problems(tmp_path)
    options = ("--layers", "--transitions", "--emc", "--contention")
    files = [
        text for pair in zip(options, (str(tmp_path / "chip" / name) for name in NAMES), strict=True) for text in pair
    ]
    (tmp_path / "w.yaml").write_text(json.dumps(WORKLOAD.to_dict()))

    def run(*arguments: str) -> tuple[int, str]:
        try:
            main([*files, "--workload", str(tmp_path / "w.yaml"), "--out", str(tmp_path / "out.json"), *arguments])
        except SystemExit as error:
            return int(str(error.code)), capsys.readouterr().err
        return 0, capsys.readouterr().out

    return run


def test_the_command_refuses_to_schedule_on_joined_tables(command: Callable[..., tuple[int, str]]) -> None:
    code, said = command("--scheduler", "haxconn")
    assert code == 1
    assert re.fullmatch(
        r"error: .*contention.json: these tables join variants of one chip, .* schedule on the tables of one.*\n", said
    )


def test_the_command_evaluates_a_schedule_of_one_variant_on_joined_tables(
    tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    problem = Problem.by_target(*(tmp_path / "chip" / name for name in NAMES), WORKLOAD, "chip")["chip.thirds"]
    made = solve(problem, "h2h", target="chip.thirds")
    made.write(tmp_path / "s.json")
    code, said = command("--scheduler", "given", "--schedule", str(tmp_path / "s.json"))
    assert code == 0, said
    again = Schedule.read(tmp_path / "out.json")
    assert (again.target, again.value) == ("chip.thirds", pytest.approx(made.value))
    content = json.loads((tmp_path / "s.json").read_text())
    content["placement"]["a"][0] = "half-a"
    (tmp_path / "s.json").write_text(json.dumps(content))
    code, said = command("--scheduler", "given", "--schedule", str(tmp_path / "s.json"))
    assert code == 1
    assert "s.json: placement: uses accelerators of 2 variants" in said
