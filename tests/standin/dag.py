"""Runs the whole pipeline of a `jetson` target on the stand-in board and checks what it ends in.

    python -m tests.standin.dag --tensorrt 8.5.2
    python -m tests.standin.dag --tensorrt 10.3.0 --ssh --profiler python --emc jtop

The stand-in's engines take the times that the paper's artifact recorded on a Xavier, so the tables that the pipeline works
out must be the recorded ones, and its schedule must be the one that the scheduler proves best for them. No number here
is a measurement of anything.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from multidnn import tables
from multidnn.schedule import Problem, Workload, solve
from multidnn.targets.recorded import write_tables
from tests import standin

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("Snakefile", "rules", "scripts", "schemas", "envs", "report", "prototxt", "multidnn", "config.yaml")
TARGET, LOAD = "standin", "googlenet+alexnet"
NETWORKS = ("googlenet", "alexnet")
TABLES = ("layer_results.csv", "transition_results.csv", "emc_results.csv", "contention.json")


def configuration(board: dict[str, Any], tools: dict[str, str], directory: Path) -> dict[str, Any]:
    """What is laid over config.yaml: one workload, the groups that times were recorded for, and short measurements."""
    starts = json.loads((standin.SITE / "standin_board" / "networks.json").read_text(encoding="utf-8"))
    return {
        "target": TARGET,
        "groups": {"networks": {"alexnet": {"starts": starts["alexnet"]["starts"]}}},
        "targets": {
            TARGET: {
                "kind": "jetson",
                "accelerators": ["gpu", "dla0"],
                "board": {"directory": str(directory / "board files"), **board},
                **tools,
                "memory_bus_bytes": 32,
                "emc_settle_s": 0.4,
                "emc_window_s": 0.2,
                "energy_s": 0.3,
                "networks": list(NETWORKS),
                "workloads": [LOAD],
            }
        },
        "schedule": {"time_limit_s": 10, "explain": False},
        "measure": {"warmup": 1, "min_samples": 6, "max_samples": 10, "budget_s": 0.2},
        "run": {"warmup": 1, "min_iterations": 4, "max_iterations": 8, "budget_s": 3},
    }


@contextlib.contextmanager
def board(directory: Path, tensorrt: str, over_ssh: bool) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Yield the `board` entry of a stand-in board in `directory`, and the environment for who drives it."""
    # as on a Xavier, so that percentages of the memory clock are the recorded ones; gaps of a busy machine are no gaps
    programs = standin.install(directory, tensorrt=tensorrt, board="xavier", settle_s=0.1, loop_hold_ms=500.0)
    python = {"python": str(programs / "board-python")}
    if not over_ssh:
        yield python, {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        return
    with standin.sshd(directory / "ssh", path=[programs]) as server:
        yield {**python, "host": server.host, "ssh_options": list(server.ssh_options)}, dict(os.environ)


def recorded_tables(directory: Path) -> list[Path]:
    """Write the recorded tables, under the name that the DLA has on a board, and return their paths."""
    write_tables(directory, {})
    paths = [directory / name for name in TABLES]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(",dla,", ",dla0,").replace('"dla"', '"dla0"'), encoding="utf-8")
    transitions = paths[1].read_text(encoding="utf-8").replace(",gpu,dla,", ",gpu,dla0,")
    paths[1].write_text(transitions, encoding="utf-8")
    return paths


def check(results: Path, scratch: Path) -> None:
    """Raise AssertionError at the first thing that is not as it must be in `results`."""
    recorded = recorded_tables(scratch)
    for path, schema, column in (
        (recorded[0], tables.LAYERS, "median_ms"),
        (recorded[1], tables.TRANSITIONS, "out_ms"),
    ):
        wanted = {tuple(row[key] for key in schema.key): row[column] for row in tables.read(path, schema)}
        found = {tuple(row[key] for key in schema.key): row[column] for row in tables.read(results / path.name, schema)}
        assert found, path.name
        for key, value in found.items():
            assert abs(value - wanted[key]) < 1e-3, (path.name, key, value, wanted[key])
    workload = Workload.from_dict({"name": LOAD, "instances": [{"name": n, "network": n} for n in NETWORKS]}, "dag")
    best = solve(Problem.from_files(*recorded, workload), "haxconn", max_transitions=2)
    chosen = json.loads((results / "schedules" / LOAD / "haxconn.json").read_text(encoding="utf-8"))
    assert best.status == chosen["status"] == "optimal"
    assert chosen["placement"] == best.placement, (chosen["placement"], best.placement)
    run = json.loads((results / "runs" / f"{LOAD}.json").read_text(encoding="utf-8"))
    assert all(entry["ok"] and entry["max_abs_err"] is not None for entry in run["outputs"].values()), run["outputs"]
    schedulers = {entry["scheduler"] for entry in run["iterations"]}
    assert schedulers >= {"serial", "naive", "haxconn"}, schedulers
    assert set(run["energy"]["schedulers"]) == schedulers
    rows = tables.read(results / "summary.csv", tables.SUMMARY)
    assert {row["scheduler"] for row in rows} == schedulers
    assert sum(row["recommended"] for row in rows) == 1
    assert (
        len({row["name"] for row in tables.read(results / "emc_results.csv", tables.EMC) if row["group"] is None}) == 25
    )
    page = (results / "report.html").read_text(encoding="utf-8")
    summary = (results / "summary.html").read_text(encoding="utf-8")
    assert f"target {TARGET}" in summary
    assert "Nothing here was measured" in summary
    assert len(page) > 1_000_000, "the report is too small to hold its items"


def main() -> None:
    """Run the pipeline and check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensorrt", default="8.5.2", choices=standin.VERSIONS)
    parser.add_argument("--profiler", default="trtexec", choices=("trtexec", "python"))
    parser.add_argument("--emc", default="tegrastats", choices=("tegrastats", "jtop"))
    parser.add_argument("--mode", default="segments", choices=("segments", "paper"))
    parser.add_argument("--precision", default="fp16", choices=("fp16", "int8"))
    parser.add_argument("--ssh", action="store_true", help="through a real ssh server on this machine")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in DIR and leave everything there")
    options = parser.parse_args()
    tools = {key: getattr(options, key) for key in ("profiler", "emc", "mode", "precision")}
    with contextlib.ExitStack() as stack:
        directory = options.keep or Path(stack.enter_context(TemporaryDirectory()))
        directory.mkdir(parents=True, exist_ok=True)
        entry, environment = stack.enter_context(board(directory / "stand-in", options.tensorrt, options.ssh))
        tree = directory / "tree"
        tree.mkdir(exist_ok=True)
        for name in LINKED:
            (tree / name).unlink(missing_ok=True)
            (tree / name).symlink_to(ROOT / name)
        (tree / "standin.yaml").write_text(
            yaml.safe_dump(configuration(entry, tools, directory), sort_keys=False), "utf-8"
        )
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "standin.yaml", "--", "all"]
        subprocess.run(command, cwd=tree, env={**environment, "PYTHONPATH": str(ROOT)}, check=True)
        check(tree / "results" / TARGET, directory / "recorded")
    print(
        f"the pipeline ran through on the stand-in board, TensorRT {options.tensorrt}{', over ssh' if options.ssh else ''}"
    )


if __name__ == "__main__":
    main()
