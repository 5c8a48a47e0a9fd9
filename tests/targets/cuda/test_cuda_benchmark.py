"""The cuda benchmark's stages one after another, on the stand-in for a GPU with tiny networks."""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from multidnn import networks
from multidnn.contention import coruns
from multidnn.targets.cuda.target import CudaTarget

FOLDER = Path("docs/benchmarks/cuda").resolve()
Open = Callable[[Mapping[str, Any]], CudaTarget]


def _script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location(f"cuda_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _script("benchmark", monkeypatch)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return _script("tables", monkeypatch)


def test_all_stages(
    benchmark: ModuleType,
    tables: ModuleType,
    cpu_target: Open,
    tiny_networks: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(coruns, "_GENERATOR_S", 0.01)
    monkeypatch.setattr(benchmark, "OPTIONS", benchmark.MeasureOptions(1, 2, 2, 0.0))
    short = benchmark.DynamicOptions(warmup=1, min_iterations=2, budget_s=0.5, cost_iterations=4, cost_block=2)
    for name, value in {"SWEEP_ROUNDS": 1, "FINAL_ROUNDS": 2, "FINALISTS": 3, "RANDOM": 5, "DYNAMIC": short}.items():
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(benchmark, "CudaTarget", lambda name, spec: cpu_target(spec))
    convolutions = [tmp_path / f"conv{size}_kernel1" for size in (1, 2)]
    for directory in convolutions:
        layer = networks.load(Path("prototxt/convolution") / f"{directory.name}.prototxt", seed=1)
        networks.export(layer, networks.choose_groups(layer, count=1), directory)
    options = argparse.Namespace(out=tmp_path / "out", batch=1, workloads=None, splits=None, large_clusters=False, workers=1)  # fmt: skip
    made = benchmark.Benchmark(options)
    made.names, made.splits = ["both", "twice"], ["two", "three"]
    made.plan = {
        "precision": "fp32",
        "seed": 1,
        "splits": {"two": {"a": 32, "b": "rest"}, "three": {"c": 48, "d": 40, "e": "rest"}},
        "fixed": "two",
        "candidates": 3,
        "workloads": {"both": ["alpha", "beta"], "twice": ["beta", "beta"]},
        "sweeps": ["both"],
        "isolation": {"kept": {"protected": "beta", "partition": "a", "beside": {"b": ["alpha"]}}},
        "dynamic": {"workload": "both", "joins": "beta"},
    }
    made.directories = {name: Path(directory) for name, directory in tiny_networks.items()}
    made.convolutions = convolutions
    made.check(list(benchmark.STAGES))
    for stage in benchmark.STAGES.values():
        stage(made)
    run = json.loads((made.out / "runs" / "twice.json").read_text())
    ran = {entry["scheduler"] for entry in run["iterations"]}
    assert ran >= {"whole", "streams", "haxconn@two", "haxconn@three", "tuned@two", "tuned@auto"}
    assert all(entry["ok"] for entry in run["outputs"].values())
    swept = json.loads((made.out / "sweeps" / "both.json").read_text())["schedules"]
    # 4 and 3 groups: 2 ways to stay and 2 per cut; pairs on one accelerator queue in two orders, as do their firsts
    assert len([name for name in swept if name.startswith(("apart", "split"))]) >= (2 + 2 * 3) * (2 + 2 * 2)
    assert all(row["sweep_ms"] for name, row in swept.items() if name.startswith(("apart", "split", "random")))
    assert len(swept["haxconn"]["final_ms"]) == 2
    kept = json.loads((made.out / "isolation" / "kept.json").read_text())
    assert set(kept["conditions"]) == {"alone", "alone_on_partition", "streams", "priority", "partitions"}
    changed = json.loads((made.out / "dynamic" / "both.json").read_text())
    assert {event["kind"] for event in changed["events"]} >= {"start", "join", "leave"}
    runs = {run.workload: run for run in tables.read_runs(made.out)}
    assert runs["twice"].outputs_ok
    assert set(runs["twice"].choices()) == {"whole", "streams", "tuned", *benchmark.PLACED}
    assert runs["twice"].choices()["tuned"] == "tuned@auto"
    assert len(tables.auto_table(list(runs.values())).splitlines()) == 2 + 2
    tables.write_samples(made.out, tmp_path / "samples.json")
    samples = json.loads((tmp_path / "samples.json").read_text())["runs"]["both"]
    assert len(samples["makespan_ms"]["haxconn@three"]) == 30
    assert set(samples["idle"]) == set(samples["predicted_ms"]) == set(samples["makespan_ms"]) - {"whole", "streams"}


def _run(folder: Path, makespans: Mapping[str, list[float]], idle_ms: float) -> None:
    """A run of one workload with a naive schedule and one of haxconn on a split, and one of tuned, predicted to take 2 ms."""
    name = "some"
    for scheduler in ("naive", "haxconn", "tuned"):
        schedule = {"predicted": {"makespan_ms": 2.0}, "target": "half"}
        for path in (
            *(folder / "runs" / name / f"{scheduler}@{split}.json" for split in ("half", "auto")),
            folder / "schedules" / name / "auto" / f"{scheduler}.json",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(schedule))
    iterations = [
        {"scheduler": scheduler, "makespan_ms": ms, "idle_ms": idle_ms}
        for scheduler, series in makespans.items()
        for ms in series
    ]
    content = {
        "workload": name,
        "iterations": iterations,
        "handover_ms": {scheduler: [0.002] for scheduler in makespans},
        "outputs": {"a": {"ok": True}},
    }
    (folder / "runs" / f"{name}.json").write_text(json.dumps(content))


def test_figures_of_a_run(tables: ModuleType, tmp_path: Path) -> None:
    # streams is lowest in the even rounds only
    makespans = {
        "whole": [4.0, 4.0, 4.0, 4.0],
        "streams": [1.5, 3.3, 1.5, 3.3],
        "naive@half": [3.0, 3.0, 3.0, 3.0],
        "haxconn@half": [2.5, 2.5, 2.5, 2.5],
        "tuned@half": [2.4, 2.4, 2.4, 2.4],
        "tuned@auto": [1.6, 1.6, 1.6, 1.6],
    }
    _run(tmp_path, makespans, 0.05)
    (run,) = tables.read_runs(tmp_path)
    assert run.errors() == [pytest.approx(100 / 3), pytest.approx(20), pytest.approx(100 / 6), pytest.approx(25)]
    assert run.idle["naive@half"] == pytest.approx(0.05 / 3)
    assert run.idle["haxconn@half"] == pytest.approx(0.02)
    assert run.best_baseline("half") == "naive@half"
    assert run.recommended() == ("streams", pytest.approx(1.1))
    assert run.choices()["tuned"] == "tuned@auto"
    assert run.gain() == {
        "split_pct": pytest.approx(100 * (2.4 / 3 - 1)),
        "transitions_pct": pytest.approx(20),
        "total_pct": pytest.approx(100 * (2.4 / 2.5 - 1)),
    }
    assert (
        tables.fixed_table([run], "half").splitlines()[-1]
        == "| some | 3.000 | 3.000 (naive) | 2.500, 2.000 | 2.400, 2.000 | 0.833, 0.800 |"
    )
    # of 16.7, 20, 25 and 33.3 %
    assert "4 placed schedules, error of the predicted makespan 22.50 at the median" in tables.accuracy([run])


def test_tuned_is_the_fastest_of_the_placements_predicted_best(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tables.PLAN, "candidates", 5)

    def row(predicted: float, first: float, final: float, cut: int, *, turned: bool = False) -> dict[str, Any]:
        turns = [["p", 0, cut], ["q", 0, 9]][:: -1 if turned else 1]
        order = {"a": turns, "b": [["p", cut + 1, 9]]}
        return {"predicted_ms": predicted, "order": order, "sweep_ms": [first] * 4, "final_ms": [final] * 30}

    rows = {
        "split0": row(1.0, 9.0, 9.1, 0),
        # the same placement in another order is no further candidate
        "split1": row(1.1, 9.5, 9.4, 0, turned=True),
        "split2": row(1.2, 9.0, 9.0, 1),
        "split3": row(1.3, 9.0, 9.0, 2),
        "split4": row(1.4, 9.0, 9.0, 3),
        "split5": row(1.5, 8.5, 8.0, 4),
        # the optimum, and one that is not run once more
        "split6": row(1.6, 7.0, 6.0, 5),
        "split7": {"predicted_ms": 1.7, "sweep_ms": [9.0] * 4},
        "apart8": {"predicted_ms": 3.0, "sweep_ms": [12.0] * 4, "final_ms": [12.0] * 30},
        "random0": {"predicted_ms": 2.0, "sweep_ms": [9.0] * 4},
        "random1": {"predicted_ms": 2.5, "sweep_ms": [9.5] * 4},
    }
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps({"sweeps": {"p+q": rows}, "environment": {"target": {"batch": 8}}}))
    (found,) = tables.sweeps(samples)
    assert (found.naive, found.chosen, found.tuned, found.optimum) == (12.0, 9.1, 8.0, 6.0)
    # 12 ms to 6 ms gains 100 %, 12 ms to 8 ms half of that
    assert found.share(found.tuned, found.optimum) == pytest.approx(50.0)
    assert "| 12.000 | 9.100 | 8.000 | 6.000 | 32 %, 50 % | 32 %, 50 % |" in tables.sweep_table([found])


def test_what_was_recorded_has_its_optimum_among_the_candidates(tables: ModuleType) -> None:
    found = [sweep for batch in (1, 8) for sweep in tables.sweeps(FOLDER / f"h100-b{batch}.json")]
    assert len(found) == 8
    assert all(sweep.tuned == sweep.optimum <= sweep.chosen for sweep in found)
    missed = [sweep.workload for sweep in found if (sweep.share(sweep.chosen, sweep.optimum) or 100) < 90]
    assert missed == ["resnet101+densenet", "googlenet+resnet101", "resnet101+densenet"]
