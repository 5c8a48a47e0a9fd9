"""The whole pipeline on the recorded target: results, report, nothing to do the second time, and broken results."""

import json
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from multidnn import tables
from multidnn.schedule import Schedule
from tests.workflow.conftest import Answer, Project, default_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A directory in which two recorded workloads have been taken from nothing to its report."""
    project = Project(tmp_path_factory.mktemp("recorded"))
    config = default_config()
    config["target"] = "recorded"
    config["targets"]["recorded"]["workloads"] = ["googlenet+alexnet", "alexnet+alexnet"]
    project.configure(config)
    answer = project.snakemake("--cores", "2", "--", "all")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return project


def schedule(project: Project, name: str, *arguments: str) -> Answer:
    """Make the schedules of a workload again."""
    path = f"results/recorded/schedules/{name}/serial.json"
    return project.snakemake("--cores", "2", *arguments, "--", path)


def test_summary_holds_predictions_and_recommends_nothing(finished: Project) -> None:
    rows = tables.read(finished.directory / "results/recorded/summary.csv", tables.SUMMARY)
    predicted = {row["scheduler"]: row["predicted_ms"] for row in rows if row["workload"] == "googlenet+alexnet"}
    # the sums of the recorded GPU times: 1.72 ms and 1.79 ms
    assert predicted["serial"] == pytest.approx(3.51)
    baselines = {name: predicted[name] for name in ("serial", "naive", "mensa", "herald", "h2h")}
    assert predicted["haxconn"] <= min(baselines.values())
    assert "artifact" in predicted
    assert not any(row["recommended"] or row["measured_median_ms"] for row in rows)


def test_every_schedule_is_one_and_the_artifact_is_asked_only_for_its_own(finished: Project) -> None:
    files = sorted((finished.directory / "results/recorded/schedules").glob("*/*.json"))
    assert files
    for path in files:
        schedule = Schedule.read(path)
        assert (schedule.workload, schedule.scheduler) == (path.parent.name, path.stem)
    assert [path.parent.name for path in files if path.stem == "artifact"] == ["googlenet+alexnet"]
    assert {path.parent.name for path in files} == {"googlenet+alexnet", "alexnet+alexnet"}


@pytest.mark.parametrize("stem", ["layer_results", "transition_results", "emc_results", "contention", "summary"])
def test_sidecars_say_where_when_and_by_what(finished: Project, stem: str) -> None:
    facts = json.loads((finished.directory / f"results/recorded/{stem}.json").read_text(encoding="utf-8"))
    assert facts["statistic"]
    environment = facts["environment"]
    assert environment["target"] == {"name": "recorded", "kind": "recorded", "tables": "xavier-agx"}
    assert {"multidnn", "python"} <= set(environment["versions"])
    assert "git_commit" in environment
    assert datetime.fromisoformat(environment["time_utc"]).utcoffset() == timedelta(0)


def test_report_is_made_again_after_a_caption_changed(finished: Project) -> None:
    link = finished.directory / "report"
    original = link.readlink()
    link.unlink()
    try:
        shutil.copytree(original, link)
        (link / "layers.rst").write_text("Another caption.\n", encoding="utf-8")
        assert "make_report" in finished.jobs("--", "results/recorded/report.html")
    finally:
        shutil.rmtree(link)
        link.symlink_to(original)


def test_report_is_one_file_with_every_item(finished: Project) -> None:
    page = (finished.directory / "results/recorded/report.html").read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"'](?:https?:)?//", page)
    for item in (
        "summary.html",
        "timelines/googlenet+alexnet.svg",
        "heatmap.svg",
        "layers/alexnet.svg",
        "contention.svg",
    ):
        assert item in page
    assert "2. Timelines" in page
    for scheduler in ("serial", "naive", "mensa", "herald", "h2h", "haxconn", "artifact"):
        assert re.search(rf'"labels": {{"workload": "googlenet\+alexnet", "scheduler": "{scheduler}"}}', page)


def test_traces_open_as_chrome_events(finished: Project) -> None:
    for path in (finished.directory / "results/recorded/traces/googlenet+alexnet").glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["traceEvents"]


def test_every_job_leaves_a_log_and_a_benchmark(finished: Project) -> None:
    results = finished.directory / "results/recorded"
    logs = {path.relative_to(results / "logs").with_suffix("") for path in results.glob("logs/**/*.log")}
    benchmarks = {
        path.relative_to(results / "benchmarks").with_suffix("") for path in results.glob("benchmarks/**/*.jsonl")
    }
    assert logs == benchmarks
    assert Path("schedules/googlenet+alexnet") in logs


def test_second_run_has_nothing_to_do(finished: Project) -> None:
    answer = finished.snakemake("--cores", "2", "--", "all")
    assert answer.returncode == 0
    assert "Nothing to be done" in answer.stdout + answer.stderr


def test_workload_without_tables_names_them_and_leaves_the_rest(finished: Project) -> None:
    answer = schedule(finished, "googlenet+resnet101")
    assert answer.returncode == 1
    said = answer.stdout + answer.stderr
    # where it happened and, once more, at the end
    (line,) = {line for line in said.splitlines() if line.startswith("error: ")}
    assert "resnet101" in line
    assert "transition_results.csv" in line
    assert "emc_results.csv" in line
    assert "Traceback" not in said
    assert not list((finished.directory / "results/recorded/schedules/googlenet+resnet101").glob("*"))
    assert (finished.directory / "results/recorded/schedules/googlenet+alexnet/haxconn.json").is_file()


def test_truncated_table_is_named_and_nothing_half_written(finished: Project) -> None:
    table = finished.directory / "results/recorded/layer_results.csv"
    whole = table.read_text(encoding="utf-8")
    table.write_text(whole[: len(whole) // 2], encoding="utf-8")
    try:
        answer = schedule(finished, "googlenet+googlenet")
    finally:
        table.write_text(whole, encoding="utf-8")
    assert answer.returncode == 1
    assert re.search(r"^error: results/recorded/layer_results.csv", answer.stdout + answer.stderr, re.MULTILINE)
    assert "Traceback" not in answer.stdout + answer.stderr
    assert not list((finished.directory / "results/recorded/schedules/googlenet+googlenet").glob("*"))
