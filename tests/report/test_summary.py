"""The summary's numbers against plain Python, what it recommends and why, and what it does with bad files."""

import json
import math
import statistics
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multidnn import tables
from multidnn.errors import InputError
from multidnn.report.records import SCHEDULER_ORDER, in_order
from multidnn.report.summary import summarise


def summary(filled: SimpleNamespace) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    results = filled.results
    summarise([filled.workload], results.schedules, results.runs, results.summary)
    rows = {row["scheduler"]: row for row in tables.read(results.summary, tables.SUMMARY)}
    return rows, json.loads(results.summary.with_suffix(".json").read_text())


def percentile_95(values: list[float]) -> float:
    ordered = sorted(values)
    position = 0.95 * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def test_numbers_equal_plain_python(filled: SimpleNamespace) -> None:
    rows, _ = summary(filled)
    medians = {name: statistics.median(values) for name, values in filled.samples.items()}
    best = min(medians["serial"], medians["naive"])
    assert list(rows) == ["serial", "naive", "haxconn", "whole", "streams"]
    for name, row in rows.items():
        # the table keeps six significant digits
        assert row["measured_median_ms"] == pytest.approx(medians[name], rel=1e-5)
        assert row["measured_p95_ms"] == pytest.approx(percentile_95(filled.samples[name]), rel=1e-5)
        assert row["fps"] == pytest.approx(2000 / medians[name], rel=1e-5)
        if name in ("serial", "naive"):
            assert row["gain_over_best_baseline_pct"] is None
        else:
            assert row["gain_over_best_baseline_pct"] == pytest.approx(100 * (best / medians[name] - 1), rel=1e-4)
        expected = filled.predicted.get(name)
        assert row["predicted_ms"] == (None if expected is None else pytest.approx(expected, rel=1e-5))


def test_fastest_measured_row_is_recommended_with_the_reason(filled: SimpleNamespace) -> None:
    rows, sidecar = summary(filled)
    assert [name for name, row in rows.items() if row["recommended"]] == ["streams"]
    why = sidecar["recommendations"][filled.name]
    ahead = 100 * (statistics.median(filled.samples["haxconn"]) / statistics.median(filled.samples["streams"]) - 1)
    assert f"{ahead:.1f} % over haxconn" in why
    assert "joined" in why
    assert "GPU and a DLA cannot" in why


def test_absent_baseline_has_its_reason_in_the_sidecar(filled: SimpleNamespace) -> None:
    rows, sidecar = summary(filled)
    assert "mensa" not in rows
    assert sidecar["absent"] == {filled.name: {"mensa": "group 3 of googlenet is not supported"}}


def test_prediction_error_covers_placed_schedules_only(filled: SimpleNamespace) -> None:
    _, sidecar = summary(filled)
    errors = sorted(
        100 * abs(filled.predicted[name] / statistics.median(filled.samples[name]) - 1)
        for name in ("serial", "naive", "haxconn")
    )
    error = sidecar["prediction_error"]
    assert error["schedules"] == 3
    assert error["median_pct"] == pytest.approx(errors[1])
    assert error["p90_pct"] == pytest.approx(errors[1] + 0.8 * (errors[2] - errors[1]))
    assert error["worst_pct"] == pytest.approx(errors[2])


def test_every_sample_is_kept(filled: SimpleNamespace) -> None:
    _, sidecar = summary(filled)
    assert sidecar["samples_ms"][filled.name] == dict(filled.samples.items())


def test_without_runs_measured_cells_are_empty_and_nothing_is_recommended(filled: SimpleNamespace) -> None:
    results = filled.results
    summarise([filled.workload], results.schedules, None, results.summary)
    rows = tables.read(results.summary, tables.SUMMARY)
    assert [row["scheduler"] for row in rows] == ["serial", "naive", "haxconn", "whole", "streams"]
    assert all(row["measured_median_ms"] is row["fps"] is row["gain_over_best_baseline_pct"] is None for row in rows)
    assert not any(row["recommended"] for row in rows)
    assert json.loads(results.summary.with_suffix(".json").read_text())["target"] == "host"
    assert rows[2]["predicted_ms"] == pytest.approx(filled.predicted["haxconn"], rel=1e-5)


@pytest.mark.parametrize(
    ("makespans", "recommended", "says"),
    [
        ({"naive": 12.0, "haxconn": 10.0, "streams": 15.0}, "haxconn", "20.0 % faster than the best baseline, naive"),
        ({"naive": 12.0, "haxconn": 10.0, "streams": 15.0}, "haxconn", "with 2 transitions"),
        ({"naive": 10.0, "haxconn": 11.0, "streams": 15.0}, "naive", "haxconn is 10.0 % slower"),
        ({"naive": 12.0, "haxconn": 11.0, "whole": 10.0}, "whole", "10.0 % over haxconn"),
    ],
)
def test_recommendation_says_by_how_much(
    filled: SimpleNamespace, makespans: dict[str, float], recommended: str, says: str
) -> None:
    for path in filled.schedules:
        if path.stem not in makespans:
            path.unlink()
    filled.results.write_run(filled.name, {name: [value] * 5 for name, value in makespans.items()})
    rows, sidecar = summary(filled)
    assert [name for name, row in rows.items() if row["recommended"]] == [recommended]
    assert says in sidecar["recommendations"][filled.name]


def test_difference_within_the_spread_is_called_so(filled: SimpleNamespace) -> None:
    close = {
        "serial": [20.0] * 5,
        "naive": [9.0, 10.0, 11.0, 12.0, 13.0],
        "haxconn": [8.9, 9.9, 10.9, 11.9, 12.9],
        "whole": [20.0] * 5,
        "streams": [20.0] * 5,
    }
    filled.results.write_run(filled.name, close)
    _, sidecar = summary(filled)
    assert "within the spread" in sidecar["recommendations"][filled.name]
    filled.results.write_run(filled.name, {**close, "haxconn": [5.0, 5.1, 5.2, 5.3, 5.4]})
    _, sidecar = summary(filled)
    assert "within the spread" not in sidecar["recommendations"][filled.name]


def test_tie_with_the_runner_up_is_told_whichever_it_is(filled: SimpleNamespace) -> None:
    far = [20.0, 20.1, 20.2, 20.3, 20.4]
    tied = {"serial": far, "naive": far, "whole": [10.0, 10.2, 10.4, 10.6, 10.8], "streams": far}
    filled.results.write_run(filled.name, {**tied, "haxconn": [9.9, 10.1, 10.3, 10.5, 10.7]})
    rows, sidecar = summary(filled)
    assert rows["haxconn"]["recommended"]
    why = sidecar["recommendations"][filled.name]
    assert "faster than the best baseline, serial" in why or "faster than the best baseline, naive" in why
    assert "The difference between haxconn and whole is within the spread" in why
    assert "and naive is within" not in why


def test_wrong_outputs_are_not_hidden(filled: SimpleNamespace) -> None:
    filled.results.write_run(filled.name, filled.samples, ok=False)
    _, sidecar = summary(filled)
    assert sidecar["outputs_ok"] == {filled.name: False}
    assert "outputs differ" in sidecar["recommendations"][filled.name]


def test_wrong_outputs_are_an_error_in_the_log(filled: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    summary(filled)
    assert not caplog.records
    filled.results.write_run(filled.name, filled.samples, ok=False)
    rows, _ = summary(filled)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert caplog.messages[0].startswith("error: ")
    assert "outputs of googlenet differ" in caplog.messages[0]
    assert [name for name, row in rows.items() if row["recommended"]] == ["streams"], "the fastest row, whichever it is"


def test_unstable_schedulers_are_listed_with_their_spread(filled: SimpleNamespace) -> None:
    steady = [10.0, 10.1, 10.2, 10.3, 10.4]
    shaky = [8.0, 9.0, 10.0, 11.0, 12.0]  # quartiles 9 and 11
    filled.results.write_run(filled.name, {**dict.fromkeys(filled.samples, steady), "naive": shaky})
    _, sidecar = summary(filled)
    assert sidecar["unstable"] == {filled.name: {"naive": pytest.approx(0.2)}}
    assert sidecar["unstable_above_spread"] == 0.15


def test_sidecar_says_under_what_the_numbers_were_made(filled: SimpleNamespace) -> None:
    results = filled.results
    facts = {"target": {"name": "host"}, "versions": {"multidnn": "1"}, "git_commit": "0", "time_utc": "2026"}
    summarise([filled.workload], results.schedules, results.runs, results.summary, environment=facts)
    sidecar = json.loads(results.summary.with_suffix(".json").read_text())
    assert sidecar["environment"] == facts
    assert sidecar["run_environments"] == {filled.name: json.loads(filled.run.read_text())["environment"]}
    assert sidecar["run_environments"][filled.name]


def test_truncated_run_names_the_file_and_leaves_no_summary(filled: SimpleNamespace) -> None:
    filled.run.write_text(filled.run.read_text()[:-400])
    with pytest.raises(InputError, match=r"alexnet\+googlenet\.json:\d+: not valid JSON"):
        summary(filled)
    assert not filled.results.summary.exists()
    assert not list(filled.results.root.glob(".summary*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.pop("iterations"), "'iterations' is a required property"),
        (lambda run: run["iterations"][3].pop("makespan_ms"), r"iterations\[3\]: 'makespan_ms' is a required"),
        (lambda run: run["iterations"][1].update(makespan_ms="fast"), r"iterations\[1\]\.makespan_ms: 'fast' is not"),
        (lambda run: run["iterations"][0]["segments"][0].pop(), r"iterations\[0\]\.segments\[0\]"),
        (lambda run: run["iterations"][0]["segments"][0].__setitem__(5, -1.0), "ends before it starts"),
        (lambda run: run.update(workload="other"), "holds workload 'other'"),
        (
            lambda run: run.update(iterations=[i for i in run["iterations"] if i["scheduler"] != "naive"]),
            "no iteration of scheduler 'naive'",
        ),
    ],
)
def test_broken_run_names_the_file_and_place(filled: SimpleNamespace, change: Any, message: str) -> None:
    run = json.loads(filled.run.read_text())
    change(run)
    filled.run.write_text(json.dumps(run))
    with pytest.raises(InputError, match=message) as caught:
        summary(filled)
    assert str(filled.run) in str(caught.value)


def test_schedule_in_the_wrong_place_is_refused(filled: SimpleNamespace) -> None:
    path = filled.results.schedules / filled.name / "haxconn.json"
    path.rename(path.with_name("dynamic.json"))
    with pytest.raises(InputError, match=r"dynamic\.json: holds workload .* 'haxconn'; expected"):
        summary(filled)


def test_only_the_named_schedulers_are_read(filled: SimpleNamespace) -> None:
    results = filled.results
    summarise([filled.workload], results.schedules, results.runs, results.summary, {filled.name: ["naive", "haxconn"]})
    assert [row["scheduler"] for row in tables.read(results.summary, tables.SUMMARY)] == ["naive", "haxconn"]
    with pytest.raises(InputError, match=r"h2h\.json: no such file"):
        summarise([filled.workload], results.schedules, results.runs, results.summary, {filled.name: ["h2h"]})


@given(st.permutations([*SCHEDULER_ORDER, "artifact", "zeta"]))
def test_order_does_not_depend_on_the_files(names: list[str]) -> None:
    assert in_order(names) == [*SCHEDULER_ORDER, "artifact", "zeta"]
