"""A worker that dies in the middle of a run: one line, no process and no memory left behind, earlier results as they were."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multidnn import tables
from multidnn.files import write_json
from tests.conftest import GROUPS, export_tiny
from tests.workflow.conftest import Project

ACCELERATORS = ("ort", "ov")
RUN = "results/tiny/runs/pair.json"
WORKER = b"multidnn.targets.host.worker"


def configuration(budget_s: float) -> dict[str, Any]:
    """Two tiny networks on a host target; a run lasts `budget_s` seconds."""
    return {
        "target": "tiny",
        "networks": {name: f"{name}.prototxt" for name in GROUPS},
        "targets": {
            "tiny": {
                "kind": "host",
                "accelerators": {"ort": {"runtime": "onnxruntime"}, "ov": {"runtime": "openvino"}},
            }
        },
        "workloads": {"pair": {"instances": {name: {"network": name} for name in GROUPS}}},
        "schedule": {"schedulers": ["naive", "whole"]},
        "run": {"warmup": 0, "min_iterations": 2, "max_iterations": 1_000_000, "budget_s": budget_s},
    }


def write_tables(folder: Path) -> None:
    """Tables of both networks, made up: what is run here does not depend on them."""
    layers: list[tables.Row] = []
    transitions: list[tables.Row] = []
    emc: list[tables.Row] = []
    for name, groups in GROUPS.items():
        for group in range(len(groups)):
            for accelerator in ACCELERATORS:
                key = {"group": group, "accelerator": accelerator}
                layers.append({"network": name, **key, "supported": True, "median_ms": 1.0})
                emc.append({"name": name, **key, "demand_gb_s": 1.0})
            for source, destination in (ACCELERATORS, ACCELERATORS[::-1]):
                if group < len(groups) - 1:
                    row = {"source": source, "destination": destination, "out_ms": 0.1, "in_ms": 0.1}
                    transitions.append({"network": name, "after_group": group, **row})
    whole = [{"network": name, "median_ms": 1.0} for name in GROUPS]
    for stem, schema, rows in (
        ("layer_results", tables.LAYERS, layers),
        ("transition_results", tables.TRANSITIONS, transitions),
        ("emc_results", tables.EMC, emc),
        ("whole_results", tables.WHOLE, whole),
    ):
        tables.write(folder / f"{stem}.csv", schema, rows)
        write_json(folder / f"{stem}.json", {"runtime": dict.fromkeys(GROUPS, "onnxruntime")})
    grid = {"demand_gb_s": [0.0, 4.0], "external_gb_s": [0.0, 4.0], "slowdown": [[1.0, 1.0], [1.0, 1.5]]}
    write_json(folder / "contention.json", {"accelerators": dict.fromkeys(ACCELERATORS, grid)})


def make() -> list[str]:
    """The arguments that make the run and nothing that would have to be measured first."""
    return ["--cores", "2", "--allowed-rules", "schedule", "run", "--", RUN]


def workers(project: Project) -> set[int]:
    """Worker processes that belong to `project`."""
    found = set()
    for process in Path("/proc").iterdir():
        try:
            ours = str(project.directory).encode() in (process / "environ").read_bytes()
            if ours and WORKER in (process / "cmdline").read_bytes().split(b"\0"):
                found.add(int(process.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.fixture
def finished(compiled: None, project: Project) -> Iterator[Project]:
    """A directory in which the workload has been run once."""
    if len(os.sched_getaffinity(0)) < len(ACCELERATORS):
        pytest.skip("needs a core per accelerator")
    (project.directory / "results" / "networks").mkdir(parents=True)
    export_tiny(project.directory / "results" / "networks")
    for name in GROUPS:
        (project.directory / f"{name}.prototxt").symlink_to(f"results/networks/{name}.prototxt")
    write_tables(project.directory / "results" / "tiny")
    project.configure(configuration(0.1))
    answer = project.snakemake(*make())
    assert answer.returncode == 0, answer.stdout + answer.stderr
    yield project
    assert not workers(project)


def test_dying_worker_leaves_earlier_results_and_nothing_else(finished: Project) -> None:
    run = finished.directory / RUN
    before, shared = run.read_bytes(), sorted(os.listdir("/dev/shm"))
    log = finished.directory / "results/tiny/logs/runs/pair.log"
    log.unlink()
    finished.configure(configuration(120.0))
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *make()],
        cwd=finished.directory,
        env={**os.environ, "PYTHONPATH": str(finished.directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (log.is_file() and "round 1 of" in log.read_text()):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        during = workers(finished)
        assert len(during) >= len(ACCELERATORS)
        os.kill(min(during), signal.SIGKILL)
        said, _ = process.communicate(timeout=100)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert lines
    assert len(set(lines)) == 1, "one message, repeated at the end of what Snakemake says"
    assert not workers(finished)
    assert sorted(os.listdir("/dev/shm")) == shared
    assert run.read_bytes() == before
    assert not list(run.parent.glob(".*"))
    # what was put back is not what the configuration asks for now
    assert finished.jobs(*make()) == {"run": 1}
    finished.configure(configuration(0.1))
    assert finished.jobs(*make()) == {"run": 1}
    assert finished.snakemake(*make()).returncode == 0
    assert run.read_bytes() != before
    again = finished.snakemake(*make())
    assert "Nothing to be done" in again.stdout + again.stderr
