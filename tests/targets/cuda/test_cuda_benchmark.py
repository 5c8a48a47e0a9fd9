"""The cuda benchmark's stages one after another, on the stand-in for a GPU with tiny networks."""

import argparse
import importlib.util
import itertools
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


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location("cuda_benchmark", FOLDER / "benchmark.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_stages(
    benchmark: ModuleType,
    cpu_target: Open,
    tiny_networks: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(coruns, "_GENERATOR_S", 0.01)
    monkeypatch.setattr(benchmark, "OPTIONS", benchmark.MeasureOptions(1, 2, 2, 0.0))
    for name, value in {"SWEEP_ROUNDS": 1, "FINAL_ROUNDS": 2, "FINALISTS": 3, "RANDOM": 5}.items():
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
        "workloads": {"both": ["alpha", "beta"], "twice": ["beta", "beta"]},
        "sweeps": ["both"],
        "isolation": {"kept": {"protected": "beta", "partition": "a", "beside": {"b": ["alpha"]}}},
    }
    made.directories = {name: Path(directory) for name, directory in tiny_networks.items()}
    made.convolutions = convolutions
    for stage in ("profile", "run", "sweep", "isolation"):
        if stage == "run":
            # in this process, which has the stand-in; the others see the files only
            for name, split in itertools.product(made.names, made.splits):
                benchmark._solve_one(made, name, split)
        benchmark.STAGES[stage](made)
    run = json.loads((made.out / "runs" / "twice.json").read_text())
    assert {entry["scheduler"] for entry in run["iterations"]} >= {"whole", "streams", "haxconn@two", "haxconn@three"}
    assert all(entry["ok"] for entry in run["outputs"].values())
    swept = json.loads((made.out / "sweeps" / "both.json").read_text())["schedules"]
    # 4 and 3 groups: 2 ways to stay and 2 per cut; pairs on one accelerator queue in two orders, as do their firsts
    assert len([name for name in swept if name.startswith(("apart", "split"))]) >= (2 + 2 * 3) * (2 + 2 * 2)
    assert all(row["sweep_ms"] for name, row in swept.items() if name.startswith(("apart", "split", "random")))
    assert len(swept["haxconn"]["final_ms"]) == 2
    kept = json.loads((made.out / "isolation" / "kept.json").read_text())
    assert set(kept["conditions"]) == {"alone", "alone_on_partition", "streams", "priority", "partitions"}
