"""The scheduler benchmarks: the generator keeps its promises, and every script runs on its smallest setting."""

import hashlib
import importlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import kstest

from multidnn.errors import InputError
from multidnn.schedule import Problem, Schedule, Workload
from multidnn.schedule.__main__ import main as schedule_command
from multidnn.schedule.patterns import count_placements
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.timeline import simulate

FOLDER = Path(__file__).parents[1] / "docs/benchmarks/scheduler"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a script of the folder as the scripts import each other."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def instances(load: Callable[[str], Any]) -> Any:
    return load("instances")


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script as README.md says."""
    return subprocess.run(
        [sys.executable, str(FOLDER / name), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def printed(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The cells of the Markdown table rows that a script printed, the header first."""
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def numbers(problem: Problem) -> str:
    """Every number of a problem, as text."""
    networks = {
        name: ([[cost and (cost.time_ms, cost.demand_gb_s) for cost in row] for row in costs.groups],
               sorted(costs.transitions.items()))
        for name, costs in problem.networks.items()
    }  # fmt: skip
    after = [list(instance.after) for instance in problem.workload.instances]
    return json.dumps([networks, [grid.factor for grid in problem.slowdown], after])


def test_the_same_seed_is_the_same_problem_everywhere(instances: Any) -> None:
    # changes only with the generator: then every figure in docs/benchmarks/scheduler must be measured again
    problem = instances.random_problem(instances.Size(3, 10, 3, 2), 1.3, 7, dependencies=True)
    assert hashlib.sha256(numbers(problem).encode()).hexdigest()[:16] == "3fb58161b01709cc"


def test_costs_are_drawn_as_documented(instances: Any) -> None:
    times, ratios, demands, shares, lost, groups = [], [], [], [], 0, 0
    for seed in range(30):
        problem = instances.random_problem(instances.Size(2, 20, 3, None), 1.3, seed)
        for costs in problem.networks.values():
            for row in costs.groups:
                groups += 1
                lost += row.count(None)
                assert row.count(None) <= 1
                demands += [cost.demand_gb_s for cost in row if cost]
                if row[0]:
                    times.append(row[0].time_ms)
                    ratios += [cost.time_ms / row[0].time_ms for cost in row[1:] if cost]
            for (group, source, destination), (out_ms, in_ms) in costs.transitions.items():
                here, there = costs.groups[group][source], costs.groups[group + 1][destination]
                # both halves are the same share of the time on their own side
                assert out_ms / here.time_ms == pytest.approx(in_ms / there.time_ms, abs=3e-4)
                shares.append(out_ms / here.time_ms + in_ms / there.time_ms)
    assert groups == 1200
    assert 85 < lost < 155  # 120 expected, 10.4 standard deviation
    # scipy's `loguniform` and `uniform` take (low, high) and (low, width)
    for values, law in (
        (times, ("loguniform", (0.05, 0.5))),
        (demands, ("loguniform", (5.0, 60.0))),
        (ratios, ("uniform", (0.5, 2.0))),
        (shares, ("uniform", (0.02, 0.28))),
    ):
        assert kstest(values, law[0], args=law[1]).pvalue > 1e-3


@pytest.mark.parametrize("severity", [1.0, 1.3, 2.0, 4.0])
def test_grids_are_allowed_and_reach_the_severity(instances: Any, severity: float) -> None:
    for seed in range(20):
        for grid in instances.random_problem(instances.Size(1, 2, 3, 1), severity, seed).slowdown:
            entry = {"demand_gb_s": grid.demand, "external_gb_s": grid.external, "slowdown": grid.factor}
            assert Slowdown.from_dict(entry, "grid") == grid
            assert max(max(row) for row in grid.factor) == severity
            for column in zip(*grid.factor, strict=True):
                assert all(low <= high for low, high in pairwise(column))
            assert len({value for row in grid.factor for value in row}) > (1 if severity > 1 else 0)


def test_severity_objective_and_dependencies_change_nothing_else(instances: Any) -> None:
    size = instances.Size(3, 6, 2, 1)
    base = instances.random_problem(size, 1.0, 4)
    other = instances.random_problem(size, 2.0, 4, dependencies=True, objective="throughput")
    assert base.networks == other.networks
    assert (base.workload.objective, other.workload.objective) == ("latency", "throughput")
    longer = instances.random_problem(instances.Size(4, 8, 2, None), 1.0, 4)
    assert longer.networks["net1"].groups[:6] == base.networks["net1"].groups


def test_dependencies_are_a_random_dag(instances: Any) -> None:
    found = [
        instances.random_problem(instances.Size(3, 2, 2, 1), 1.0, seed, dependencies=True).workload.instances
        for seed in range(60)
    ]
    # half of the 180 pairs, standard deviation 6.7
    assert 65 < sum(len(instance.after) for listed in found for instance in listed) < 115
    assert len({tuple(instance.after for instance in listed) for listed in found}) == 8
    for listed in found:
        for place, instance in enumerate(listed):
            assert set(instance.after) <= {earlier.name for earlier in listed[:place]}


@pytest.mark.parametrize("size", ["2x10x2K0", "2x20x2K1", "3x10x3K0"])
def test_every_problem_has_a_placement_within_its_transitions(instances: Any, size: str) -> None:
    wanted = instances.Size.parse(size)
    for seed in range(20):
        for costs in instances.random_problem(wanted, 1.0, seed).networks.values():
            assert count_placements(costs, wanted.transitions) > 0


def test_the_files_hold_the_problem_and_the_printed_command_solves_it(instances: Any, tmp_path: Path) -> None:
    done = script(
        "instances.py", "--size", "2x4x2", "--transitions", 1, "--severity", 1.3, "--seed", 3,
        "--dependencies", "--objective", "throughput", "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    problem = instances.random_problem(instances.Size(2, 4, 2, 1), 1.3, 3, dependencies=True, objective="throughput")
    read = Problem.from_files(
        tmp_path / "layer_results.csv", tmp_path / "transition_results.csv", tmp_path / "emc_results.csv",
        tmp_path / "contention.json", Workload.read(tmp_path / "workload.yaml"),
    )  # fmt: skip
    assert read == problem
    schedule_command(shlex.split(done.stdout)[3:])
    assert Schedule.read(tmp_path / "haxconn.json").status == "optimal"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "2x10", "--transitions", 2), "size: found '2x10K2'"),
        (("--size", "2x0x2", "--transitions", 2), "size: found '2x0x2K2'"),
        (("--size", "2x10x2", "--transitions", -1), "size: found '2x10x2K-1'"),
        (("--size", "2x4x2", "--transitions", 1, "--severity", 0.5), "severity: found 0.5"),
        (("--size", "2x4x2", "--transitions", 1, "--seed", -1), "seed: found -1"),
        (("--size", "2x4x2", "--transitions", 1, "--objective", "speed"), "found 'speed'"),
        (("--size", "1x200x2", "--transitions", 0), "no network with a schedule"),
    ],
)
def test_a_bad_argument_is_one_line(arguments: tuple[object, ...], message: str, tmp_path: Path) -> None:
    done = script("instances.py", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_proof_counts_what_it_solved(tmp_path: Path) -> None:
    out = tmp_path / "proof.json"
    done = script("proof.py", "--sizes", "2x3x2K1", "--count", 2, "--severities", "1,2", "--out", out)
    _, *rows = printed(done)
    assert [row[:4] for row in rows] == [
        ["2x3x2 K1", "1", "2", "2"],
        ["2x3x2 K1", "2", "2", "2"],
        ["2x3x2 K1", "all", "4", "4"],
    ]
    samples = json.loads(out.read_text())["samples"]
    assert len(samples) == 4
    assert all(0 <= sample["first_incumbent_s"] <= sample["seconds"] for sample in samples)
    assert all(sample["value"] == pytest.approx(sample["bound"]) for sample in samples)


def test_gaps_without_a_bound_are_counted_apart(load: Callable[[str], Any]) -> None:
    sample = {"size": "4x20x3 K3", "severity": 1.3, "status": "feasible", "seconds": 60.0}
    samples = [sample | {"gap_pct": gap} for gap in (2.0, None, 5.0, 3.0)]
    assert load("gaps").rows(samples) == [
        ["4x20x3 K3", "1.3", "4", "0", "1", "3.00 / 5.00", "60.0 / 60.0"],
    ]


def test_gaps_runs_in_several_processes(tmp_path: Path) -> None:
    out = tmp_path / "gaps.json"
    done = script(
        "gaps.py", "--sizes", "2x3x2K1", "--severities", "1.3", "--count", 2, "--jobs", 2, "--objective", "throughput",
        "--dependencies", "--out", out,
    )  # fmt: skip
    assert [row[:6] for row in printed(done)[1:]] == [["2x3x2 K1", "1.3", "2", "2", "0", "0.00 / 0.00"]]
    assert [sample["seed"] for sample in json.loads(out.read_text())["samples"]] == [0, 1]


def test_exhaustive_resumes_and_agrees(tmp_path: Path) -> None:
    out = tmp_path / "exhaustive.jsonl"
    arguments = ("exhaustive.py", "--sizes", "2x3x2K1", "--severities", "2", "--out", out)
    first = printed(script(*arguments, "--count", 1))
    lines = out.read_text().splitlines()
    assert len(lines) == 4
    # an unfinished problem is solved again, a finished one is not
    unfinished = json.loads(lines[0]) | {"difference": None}
    kept = json.loads(lines[1]) | {"commit": "kept"}
    out.write_text("\n".join(map(json.dumps, (unfinished, kept))) + "\n")
    done = script(*arguments, "--count", 1)
    assert printed(done) == first
    assert [row[4:7] for row in first[1:]] == [["1", "0", "0"]] * 4
    assert len(out.read_text().splitlines()) == 5
    assert "kept" in done.stdout


def test_exhaustive_fails_where_the_two_differ(tmp_path: Path) -> None:
    out = tmp_path / "exhaustive.jsonl"
    arguments = ("exhaustive.py", "--sizes", "2x2x2K1", "--severities", "1", "--count", 1, "--out", out)
    assert script(*arguments).returncode == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    lines[2]["difference"] = 2e-6
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = script(*arguments)
    assert done.returncode == 1
    assert "1 problems differ" in done.stderr
    out.write_text(out.read_text()[:-9])
    cut = script(*arguments)
    assert cut.returncode == 1
    assert f"{out}:4: not a whole JSON line" in cut.stderr


def test_growth_measures_and_draws(tmp_path: Path) -> None:
    out = tmp_path / "growth.json"
    done = script("growth.py", "--axes", "groups,severity", "--most", 1, "--count", 1, "--out", out)
    assert [row[:4] for row in printed(done)[1:]] == [["groups", "4", "1", "1"], ["severity", "1", "1", "1"]]
    assert "groups" in (tmp_path / "growth.svg").read_text()
    wrong = script("growth.py", "--axes", "width", "--out", tmp_path / "other.json")
    assert wrong.returncode == 1
    assert "--axes: found 'width'" in wrong.stderr


def test_startup_divides_the_command(tmp_path: Path) -> None:
    out = tmp_path / "startup.json"
    rows = printed(script("startup.py", "--runs", 1, "--no-first", "--out", out))
    seconds = json.loads(out.read_text())["seconds"]
    assert seconds["the whole command"][0] > seconds["starting Python"][0] > 0
    assert {"z3", "standard library"} <= {row[0] for row in rows}


def test_import_times_are_summed_by_package(load: Callable[[str], Any]) -> None:
    text = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       500 |        500 |   z3.z3core\n"
        "import time:      1500 |       2000 | z3\n"
        "import time:       100 |        100 |     _json\n"
        "import time:       200 |        300 |   json\n"
    )
    assert load("startup").import_times(text) == {"z3": 2.0, "standard library": 0.3}


def test_random_schedules_run(instances: Any, load: Callable[[str], Any]) -> None:
    import numpy as np

    problem = instances.random_problem(instances.Size(3, 6, 3, 2), 1.3, 1, dependencies=True)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        placement, order = load("simulator").random_schedule(problem, 2, rng)
        simulate(problem, placement, order)
        moves = [sum(a != b for a, b in pairwise(groups)) for groups in placement]
        assert max(moves) <= 2
        seen |= set(moves)
    assert seen == {0, 1, 2}


def test_the_two_simulators_agree(tmp_path: Path) -> None:
    out = tmp_path / "simulator.json"
    rows = printed(script("simulator.py", "--problems", 2, "--count", 20, "--repeats", 1, "--out", out))
    assert [row[:2] for row in rows[1:]] == [["2x10x2 K2", "40"], ["4x20x3 K3", "40"]]
    for sample in json.loads(out.read_text())["samples"]:
        assert sample["largest_relative_difference"] <= 1e-9
        assert min(sample["compiled_per_s"] + sample["plain_per_s"]) > 0


STAND_IN = """
from z3 import *
acc_decision_nn1 = [Bool(f"a{i}") for i in range(10)]
acc_decision_nn2 = [Bool(f"b{i}") for i in range(8)]
last_nn1_layer_time, last_nn2_layer_time = Real("x"), Real("y")
opt = Optimize()
opt.add(*acc_decision_nn1[:4], *map(Not, acc_decision_nn1[4:]))
opt.add(Not(acc_decision_nn2[0]), *acc_decision_nn2[1:])
opt.add(last_nn1_layer_time >= 2.5, last_nn2_layer_time == 1)
opt.minimize(last_nn1_layer_time)
opt.check()
opt.check()
m = opt.model()
"""
"""A script that leaves the variables of the artifact's, with the answer that is recorded for it."""


def test_artifact_is_timed_beside_ours(tmp_path: Path, load: Callable[[str], Any]) -> None:
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    out = tmp_path / "artifact.json"
    done = script("artifact.py", "--artifact-script", path, "--runs", 1, "--time-limit", 1, "--out", out)
    rows = printed(done)
    assert [row[0] for row in rows[1:]] == [
        "artifact, first check", "artifact, whole script", "haxconn, one transition", "haxconn, any transitions",
        "serial",
    ]  # fmt: skip
    assert rows[1][4] == "2.500"
    answers = json.loads(out.read_text())["artifact"]
    assert len(answers[0]["seconds"]) == 2
    # the script's own answer, our simulator's evaluation of it, and the best
    assert float(rows[3][5]) < float(rows[5][5]) < float(rows[1][5])
    path.write_text(STAND_IN.replace("Not(acc_decision_nn2[0])", "acc_decision_nn2[0]"))
    with pytest.raises(InputError, match="is it the script of the artifact, unchanged"):
        load("artifact").run_artifact(path)


def test_artifact_needs_the_script(tmp_path: Path) -> None:
    done = script("artifact.py", "--artifact-script", tmp_path / "none.py", "--out", tmp_path / "artifact.json")
    assert done.returncode == 1
    assert "no such file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
