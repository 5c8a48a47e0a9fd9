"""The recorded tables of Xavier AGX: what the reference lists, in the files that every target has."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from multidnn import tables
from multidnn.errors import InputError
from multidnn.schedule import Infeasible, Problem, Schedule, Workload, artifact_schedule, evaluate, solve
from multidnn.targets.recorded import artifact_answers, artifact_choice, write_tables

GOLDEN = Path(__file__).parents[4] / "shared/fixtures/artifact/z3_golden.json"

ENVIRONMENT = {
    "target": {"name": "xavier", "kind": "recorded"},
    "versions": {"multidnn": "1"},
    "git_commit": "0123",
    "time_utc": "2026-01-01T00:00:00+00:00",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xavier")
    write_tables(folder, ENVIRONMENT)
    return folder


def _problem(folder: Path, *networks: str, objective: str = "latency") -> Problem:
    instances = [{"name": f"{network}-{i}", "network": network} for i, network in enumerate(networks)]
    workload = Workload.from_dict({"name": "w", "objective": objective, "instances": instances}, "test")
    names = ("layer_results.csv", "transition_results.csv", "emc_results.csv", "contention.json")
    return Problem.from_files(*(folder / name for name in names), workload)


def test_every_file_is_there_with_its_provenance(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == [
        "contention.json", "emc_results.csv", "emc_results.json", "emc_results.yaml", "layer_results.csv",
        "layer_results.json", "transition_results.csv", "transition_results.json",
    ]  # fmt: skip
    for name in ("layer_results", "transition_results", "emc_results", "contention"):
        facts = json.loads((folder / f"{name}.json").read_text())
        assert facts["format"] == 1
        assert facts["source"]
        assert facts["environment"] == ENVIRONMENT
        assert "does not say" in facts["statistic"]
    assert "dummy" in json.loads((folder / "transition_results.json").read_text())["note"]
    assert "dummy" in json.loads((folder / "emc_results.json").read_text())["note"]
    assert "another board" in json.loads((folder / "contention.json").read_text())["source"]


def test_group_times_add_up_to_the_artifacts_sums(folder: Path) -> None:
    rows = tables.read(folder / "layer_results.csv", tables.LAYERS)
    sums = {
        key: sum(row["median_ms"] for row in rows if (row["network"], row["accelerator"]) == key)
        for key in {(row["network"], row["accelerator"]) for row in rows}
    }
    expected = {("googlenet", "gpu"): 1.72, ("googlenet", "dla"): 3.84, ("alexnet", "gpu"): 1.79}
    expected |= {("alexnet", "dla"): 4.41, ("resnet101", "gpu"): 5.45, ("resnet101", "dla"): 12.54}
    assert sums == pytest.approx(expected)
    if GOLDEN.exists():
        golden = json.loads(GOLDEN.read_text())
        assert sums["googlenet", "dla"] == pytest.approx(golden["sum_dla_nn1"])
        assert sums["alexnet", "dla"] == pytest.approx(golden["sum_dla_nn2"])


def test_layers_are_empty_where_the_artifact_gives_none(folder: Path) -> None:
    rows = tables.read(folder / "layer_results.csv", tables.LAYERS)
    spans = {(row["network"], row["group"]): (row["first_layer"], row["last_layer"]) for row in rows}
    assert spans["googlenet", 9] == (124, 140)
    assert spans["alexnet", 6] == (11, 13)
    assert spans["alexnet", 7] == (14, None)
    assert spans["resnet101", 0] == (None, None)


def test_transitions_and_demands(folder: Path) -> None:
    rows = tables.read(folder / "transition_results.csv", tables.TRANSITIONS)
    costs = {(row["network"], row["after_group"], row["source"]): row for row in rows}
    assert len(rows) == len(costs) == 2 * (9 + 7)
    assert costs["alexnet", 6, "dla"]["out_ms"] == 0.09
    assert all(row["in_ms"] == 0 and row["bytes"] is None for row in rows)
    emc = {
        (row["name"], row["group"], row["accelerator"]): row
        for row in tables.read(folder / "emc_results.csv", tables.EMC)
    }
    assert emc["googlenet", 0, "gpu"]["demand_gb_s"] == pytest.approx(40.95)
    assert emc["alexnet", 7, "dla"]["utilization_pct"] == 30
    assert emc["conv3_kernel4", None, "gpu"]["demand_gb_s"] == pytest.approx(0.76 * 136.5)
    assert {row["method"] for row in emc.values()} == {"recorded-percent"}
    assert yaml.safe_load((folder / "emc_results.yaml").read_text())["conv5"]["kernel2"] == 49


def test_contention_is_the_pccs_sample(folder: Path) -> None:
    grids = json.loads((folder / "contention.json").read_text())["accelerators"]
    assert list(grids) == ["gpu", "dla"]
    assert grids["gpu"] == grids["dla"]
    assert grids["gpu"]["external_gb_s"][:2] == [0, 12.7]
    assert len(grids["gpu"]["slowdown"]) == 10
    assert len(grids["gpu"]["slowdown"][9]) == 11
    assert grids["gpu"]["slowdown"][9][10] == pytest.approx(93.1 / 49.9)


def test_serial_runs_both_on_the_gpu_and_haxconn_beats_it(folder: Path) -> None:
    built = _problem(folder, "googlenet", "alexnet")
    serial = solve(built, "serial")
    assert serial.value == pytest.approx(3.51)
    assert serial.order is not None
    assert serial.order["dla"] == []
    best = solve(built, "haxconn", max_transitions=1, time_limit_s=60)
    assert best.status == "optimal"
    assert best.value is not None
    assert best.value < 3.51


@pytest.mark.parametrize("networks", [("googlenet", "googlenet"), ("alexnet", "alexnet")])
def test_the_other_workloads_are_solved(folder: Path, networks: tuple[str, str]) -> None:
    built = _problem(folder, *networks)
    best = solve(built, "haxconn", max_transitions=1, time_limit_s=60)
    baseline = solve(built, "naive")
    assert best.value is not None
    assert baseline.value is not None
    assert best.status == "optimal"
    assert best.value <= baseline.value


def test_what_the_artifact_chose_is_evaluated_beside_what_it_predicted(folder: Path, tmp_path: Path) -> None:
    built = _problem(folder, "alexnet", "googlenet")
    schedule = artifact_schedule(built, "xavier")
    assert (schedule.scheduler, schedule.target) == ("artifact", "xavier")
    assert schedule.placement is not None
    assert schedule.order is not None
    assert schedule.extra is not None
    letters = {name: "".join(a[0].upper() for a in placed) for name, placed in schedule.placement.items()}
    assert letters == {"alexnet-0": "DGGGGGGG", "googlenet-1": "GGGGDDDDDD"}
    assert evaluate(built, schedule.placement, schedule.order).makespan_ms == schedule.value
    assert schedule.extra["artifact"]["predicted_by_artifact_ms"] == 4.469
    best = solve(built, "haxconn", max_transitions=1)
    assert best.value is not None
    assert schedule.value is not None
    assert best.value < schedule.value
    schedule.write(tmp_path / "artifact.json")
    assert Schedule.read(tmp_path / "artifact.json") == schedule


@pytest.mark.skipif(not GOLDEN.exists(), reason="the recorded fixtures are not beside the project")
def test_the_choice_is_the_recorded_answer() -> None:
    golden = json.loads(GOLDEN.read_text())
    choice = artifact_choice(["googlenet", "alexnet"])
    assert choice is not None
    letters = {name: "".join(a[0].upper() for a in placed) for name, placed in choice.placement.items()}
    assert letters == {"googlenet": golden["nn1_googlenet"], "alexnet": golden["nn2_alexnet"]}
    assert choice.makespan_ms == pytest.approx(golden["makespan_ms"], abs=5e-4)


def _form(workload: Workload) -> dict[str, Any]:
    """The form of a workload file."""
    instances = [{"name": i.name, "network": i.network, "after": list(i.after)} for i in workload.instances]
    return {"name": workload.name, "objective": workload.objective, "instances": instances}


def test_the_artifact_answers_nothing_else(folder: Path) -> None:
    assert artifact_answers(_form(_problem(folder, "googlenet", "alexnet").workload))
    for built in (_problem(folder, "googlenet"), _problem(folder, "googlenet", "alexnet", objective="throughput")):
        assert not artifact_answers(_form(built.workload))
        with pytest.raises(Infeasible, match="GoogleNet beside AlexNet"):
            artifact_schedule(built)


def test_resnet101_lacks_tables_and_says_which(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"'resnet101' has no rows in transitions .*, emc .*: alexnet, googlenet"
    ) as error:
        _problem(folder, "alexnet", "resnet101")
    assert "layer_results" not in str(error.value)
