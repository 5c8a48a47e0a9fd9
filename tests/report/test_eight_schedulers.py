"""The report with every scheduler of the default configuration: all are shown, and the best baseline is what counts."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest

from multidnn import tables
from multidnn.report.error import MARKERS, draw_error
from multidnn.report.page import MEANING
from multidnn.report.records import SCHEDULER_ORDER
from multidnn.report.summary import summarise
from multidnn.report.timeline import draw_timelines
from multidnn.schedule import solve
from tests.schedule.test_baselines import BASELINES

MEDIANS = {"serial": 20.0, "naive": 13.0, "mensa": 14.0, "herald": 15.0, "h2h": 12.0, "haxconn": 10.0, "whole": 30.0}


@pytest.fixture
def everything(filled: SimpleNamespace) -> SimpleNamespace:
    """`filled`, with mensa, herald and h2h as the scheduler makes them, and a run of all."""
    for name in BASELINES:
        solve(filled.problem, name, target="host").write(filled.results.schedules / filled.name / f"{name}.json")
    filled.schedules = sorted((filled.results.schedules / filled.name).glob("*.json"))
    measure(filled, MEDIANS)
    return filled


def measure(filled: SimpleNamespace, medians: dict[str, float]) -> None:
    run = {name: [0.99 * value, value, 1.01 * value] for name, value in medians.items()}
    filled.run = filled.results.write_run(filled.name, {**run, "streams": [40.0, 41.0, 42.0]})


def summary(everything: SimpleNamespace) -> tuple[dict[str, tables.Row], str]:
    results = everything.results
    summarise([everything.workload], results.schedules, results.runs, results.summary)
    sidecar = json.loads(results.summary.with_suffix(".json").read_text(encoding="utf-8"))
    rows = tables.read(results.summary, tables.SUMMARY)
    return {row["scheduler"]: row for row in rows}, sidecar["recommendations"][everything.name]


def texts(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_gain_is_over_the_best_of_all_baselines(everything: SimpleNamespace) -> None:
    rows, why = summary(everything)
    assert list(rows) == [name for name in SCHEDULER_ORDER if name in {*MEDIANS, "streams"}]
    assert rows["haxconn"]["gain_over_best_baseline_pct"] == pytest.approx(20.0)  # h2h: 12 against 10
    assert rows["whole"]["gain_over_best_baseline_pct"] == pytest.approx(-60.0)
    assert all(rows[name]["gain_over_best_baseline_pct"] is None for name in ("serial", "naive", *BASELINES))
    assert "20.0 % faster than the best baseline, h2h" in why


def test_a_baseline_with_transitions_that_equals_haxconn_is_not_said_to_stay(everything: SimpleNamespace) -> None:
    folder = everything.results.schedules / everything.name
    haxconn = json.loads((folder / "haxconn.json").read_text(encoding="utf-8"))
    (folder / "h2h.json").write_text(json.dumps({**haxconn, "scheduler": "h2h"}), encoding="utf-8")
    measure(everything, {**MEDIANS, "h2h": 9.0})
    _, why = summary(everything)
    assert "h2h is enough: haxconn chose the same placement." in why
    assert "does not pay" not in why


def test_a_placement_without_transitions_that_equals_haxconn_says_that_moving_does_not_pay(
    everything: SimpleNamespace,
) -> None:
    folder = everything.results.schedules / everything.name
    naive = json.loads((folder / "naive.json").read_text(encoding="utf-8"))
    (folder / "haxconn.json").write_text(json.dumps({**naive, "scheduler": "haxconn"}), encoding="utf-8")
    measure(everything, {**MEDIANS, "naive": 9.0})
    _, why = summary(everything)
    assert "naive is enough: haxconn chose the same placement, so moving between accelerators does not pay" in why


def test_figures_show_every_scheduler(everything: SimpleNamespace, tmp_path: Path) -> None:
    shown = {*MEDIANS, "streams"}
    draw_timelines(everything.problem, everything.schedules, everything.run, tmp_path / "timeline.svg")
    found = texts(tmp_path / "timeline.svg")
    assert shown <= set(found)
    assert found.count("measured") == len(shown)
    summary(everything)
    draw_error(everything.results.summary, tmp_path / "error.svg")
    assert shown - {"whole", "streams"} <= set(texts(tmp_path / "error.svg"))


def test_every_scheduler_has_a_meaning_and_a_marker_of_its_own() -> None:
    assert set(SCHEDULER_ORDER) <= set(MEANING)
    assert len(set(MARKERS)) == len(MARKERS) >= len(SCHEDULER_ORDER)
