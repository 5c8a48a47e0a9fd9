"""`tuned` on the host target: from tables to the page, run beside the others after its candidates were measured."""

import json
import os

import pytest

from multidnn import tables
from multidnn.schedule import Schedule
from tests.conftest import GROUPS, export_tiny
from tests.workflow.conftest import Project
from tests.workflow.test_failure import ACCELERATORS, configuration, write_tables

RULES = ("schedule", "candidates", "tune", "run", "draw_workload", "summarise")


def test_tuned_is_measured_shown_and_run(compiled: None, project: Project) -> None:
    if len(os.sched_getaffinity(0)) < len(ACCELERATORS):
        pytest.skip("needs a core per accelerator")
    results = project.directory / "results" / "tiny"
    (project.directory / "results" / "networks").mkdir(parents=True)
    export_tiny(project.directory / "results" / "networks")
    for name in GROUPS:
        (project.directory / f"{name}.prototxt").symlink_to(f"results/networks/{name}.prototxt")
    write_tables(results)
    config = configuration(0.1)
    config["schedule"] = {"schedulers": ["naive", "haxconn", "tuned"], "candidates": 3, "time_limit_s": 5}
    config["run"]["max_iterations"] = 8
    project.configure(config)
    wanted = ["results/tiny/summary.html", "results/tiny/traces/pair/tuned.json"]
    answer = project.snakemake("--cores", "2", "--allowed-rules", *RULES, "--", *wanted)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    candidates = json.loads((results / "candidates/pair.json").read_text())["candidates"]
    haxconn = Schedule.read(results / "schedules/pair/haxconn.json")
    tuned = Schedule.read(results / "schedules/pair/tuned.json")
    assert len({json.dumps(entry["placement"], sort_keys=True) for entry in candidates}) == len(candidates)
    # three that may move, and those that do not are fewer
    assert 3 <= len(candidates) < 6
    assert [entry["value"] for entry in candidates] == sorted(entry["value"] for entry in candidates)
    assert candidates[0]["placement"] == haxconn.placement
    assert tuned.extra is not None
    tuning = tuned.extra["tuning"]
    medians = [entry["measured"] for entry in tuning["candidates"]]
    assert medians[tuning["chosen"]] == min(medians)
    naive = json.loads((results / "schedules/pair/naive.json").read_text())
    competing = [(one["order"], one["value"]) for one in candidates]
    if naive["order"] not in [order for order, _ in competing]:
        competing.append((naive["order"], naive["value"]))
    competing.sort(key=lambda one: one[1])
    assert [entry["value"] for entry in tuning["candidates"]] == [value for _, value in competing]
    assert (tuned.order, tuned.value) == competing[tuning["chosen"]]
    assert tuned.bound == haxconn.bound
    run = json.loads((results / "runs/pair.json").read_text())
    assert {entry["scheduler"] for entry in run["iterations"]} == {"naive", "haxconn", "tuned"}
    assert all(entry["ok"] for entry in {**run["outputs"], **tuning["outputs"]}.values())
    rows = tables.read(results / "summary.csv", tables.SUMMARY)
    assert [row["scheduler"] for row in rows] == ["naive", "haxconn", "tuned"]
    assert all(row["measured_median_ms"] for row in rows)
    assert rows[2]["gain_over_best_baseline_pct"] is not None
    assert (
        f"{len(competing)} candidates were measured: the one predicted best was"
        in (results / "summary.html").read_text()
    )
    assert json.loads((results / "traces/pair/tuned.json").read_text())["traceEvents"]
