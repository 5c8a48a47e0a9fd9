"""What the report says of tuned: in its explanation, in the recommendation, and of a file that is broken."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multidnn import tables
from multidnn.errors import InputError
from multidnn.report.explanation import read_explanation
from multidnn.report.page import MEANING, write_page
from multidnn.report.summary import summarise
from multidnn.report.tuning import tuning_sentence
from multidnn.schedule import Schedule, explain

STEADY = [1.0, 1.0, 1.0, 1.0]


def tuning(chosen: int, *measured: float, spread: float = 0.0, last: str = "haxconn") -> dict[str, Any]:
    """Candidates with these medians, whose quartiles lie `spread` ms apart; haxconn's, but for the last one."""
    listed = [
        {
            "scheduler": "haxconn",
            "measured": ms,
            "samples": [ms - spread, ms - spread / 2, ms, ms + spread / 2, ms + spread],
        }
        for ms in measured
    ]
    listed[-1]["scheduler"] = last
    return {"chosen": chosen, "candidates": listed}


@pytest.mark.parametrize(
    ("objective", "found", "said"),
    [
        (
            "latency",
            tuning(0, 8.0, 9.0, 10.0),
            "3 candidates were measured: the one predicted best was also the fastest.",
        ),
        (
            "latency",
            tuning(2, 8.0, 9.0, 6.0, 7.0),
            "4 candidates were measured: the one predicted best was not the fastest; number 3 by prediction was 25.0 % faster.",
        ),
        (
            # the notch of five samples is 1.57 / sqrt(5) of the quartiles' distance: 0.70 ms each
            "latency",
            tuning(1, 8.0, 7.0, spread=1.0),
            "2 candidates were measured: the one predicted best was not the fastest; number 2 by prediction was 12.5 % faster, "
            "which is within the spread of the samples.",
        ),
        (
            "throughput",
            tuning(1, 200.0, 250.0),
            "2 candidates were measured: the one predicted best was not the fastest; number 2 by prediction was 25.0 % more.",
        ),
        (
            "latency",
            tuning(1, 8.0, 6.0, last="h2h"),
            "2 candidates were measured: the one predicted best was not the fastest; number 2 by prediction, of h2h, was "
            "25.0 % faster.",
        ),
        ("latency", tuning(0, 8.0), "One candidate was measured: there was no other to choose."),
    ],
)
def test_the_sentence(objective: str, found: dict[str, Any], said: str) -> None:
    assert tuning_sentence(objective, found) == said


def write_tuned(filled: SimpleNamespace, like: str, found: dict[str, Any]) -> Path:
    """A schedule of tuned that is the one of another scheduler."""
    folder = filled.results.schedules / filled.name
    content = json.loads((folder / f"{like}.json").read_text())
    path: Path = folder / "tuned.json"
    content |= {"scheduler": "tuned", "explanation": explain(filled.problem, Schedule.read(folder / f"{like}.json"))}
    path.write_text(json.dumps({**content, "tuning": found}))
    return path


@pytest.mark.parametrize(
    ("like", "medians", "expected"),
    [
        ("haxconn", {"haxconn": 10.0, "tuned": 9.9}, r"^tuned is .* tuned has the placement of haxconn here\."),
        ("haxconn", {"haxconn": 9.9, "tuned": 10.0}, r"^haxconn is .* tuned has the placement of haxconn here\."),
        ("naive", {"haxconn": 10.0, "tuned": 9.0}, r"^tuned is .* tuned has the placement of naive here\."),
    ],
)
def test_a_row_like_any_other(filled: SimpleNamespace, like: str, medians: dict[str, float], expected: str) -> None:
    write_tuned(filled, like, tuning(0, 8.0, 9.0))
    run = {name: [0.99 * ms, ms, 1.01 * ms] for name, ms in {"serial": 20.0, "naive": 13.0, **medians}.items()}
    filled.results.write_run(filled.name, {**run, "whole": [30.0] * 3, "streams": [40.0] * 3})
    results = filled.results
    summarise([filled.workload], results.schedules, results.runs, results.summary)
    rows = tables.read(results.summary, tables.SUMMARY)
    assert [row["scheduler"] for row in rows] == ["serial", "naive", "haxconn", "tuned", "whole", "streams"]
    gain = next(row["gain_over_best_baseline_pct"] for row in rows if row["scheduler"] == "tuned")
    assert gain == pytest.approx(100 * (13.0 / medians["tuned"] - 1), rel=1e-4)
    write_page(results.summary, results.root / "summary.html", results.schedules)
    page = (results.root / "summary.html").read_text(encoding="utf-8")
    assert "2 candidates were measured: the one predicted best was also the fastest." in page
    assert f"<dt>tuned</dt><dd>{MEANING['tuned']}</dd>" in page
    assert re.search(
        expected, json.loads(results.summary.with_suffix(".json").read_text())["recommendations"][filled.name]
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (tuning(2, 8.0, 9.0), r"tuned\.json: tuning\.chosen: 2 is not the number of a candidate"),
        ({"chosen": 0, "candidates": []}, r"tuned\.json: tuning\.candidates: "),
        (
            {"chosen": 0, "candidates": [{"scheduler": "haxconn", "measured": "x", "samples": STEADY}]},
            r"candidates\[0\]\.measured: 'x' is not of type",
        ),
    ],
)
def test_a_broken_file_names_the_key(filled: SimpleNamespace, found: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read_explanation(write_tuned(filled, "haxconn", found))
    assert re.search(expected, str(caught.value))
