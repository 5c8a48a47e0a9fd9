"""What only a run on a board has: predictions that do not bind, unlocked clocks, energy, random calibration, skewed starts."""

import json
import logging
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multidnn.errors import InputError
from multidnn.report.error import draw_error
from multidnn.report.page import write_page
from multidnn.report.records import read_run
from multidnn.report.summary import summarise
from multidnn.report.timeline import draw_timelines
from multidnn.report.traces import MEASURED, PREDICTED, write_trace
from tests.report.test_page import Outline

PLACED = ("serial", "naive", "haxconn")
SAMPLES = {
    "serial": [20.9, 21.0, 21.1, 21.2, 21.0],
    "naive": [13.0, 13.1, 12.9, 13.0, 13.2],
    "haxconn": [10.5, 10.4, 10.6, 10.5, 10.7],
}
SKEW = {"median": 12.345, "worst": 80.7}
ENERGY = {
    "by": "tegrastats",
    "total": ["VDD_IN"],
    "schedulers": {
        name: {
            "mj": mj,
            "mw": 11500.0,
            "rails_mj": {"VDD_IN": mj, "VDD_CPU_GPU_CV": 0.6 * mj},
            "iterations": 280,
            "readings": 29,
        }
        for name, mj in (("serial", 240.4), ("naive", 151.2), ("haxconn", 123.4))
    },
}
INT8 = {"kind": "jetson", "precision": "int8", "accelerators": ["gpu", "dla0"], "calibration": {}}


@pytest.fixture
def board(filled: SimpleNamespace) -> SimpleNamespace:
    """`filled` as a board writes it: placed schedules only, each run in mode segments with locked clocks."""
    for path in filled.schedules:
        if path.stem in ("whole", "streams"):
            path.unlink()
    filled.schedules = sorted((filled.results.schedules / filled.name).glob("*.json"))
    filled.samples = SAMPLES
    filled.facts = {"name": "orin", **INT8, "precision": "fp16"}
    filled.run = filled.results.write_run(filled.name, SAMPLES)
    write(filled, mode="segments", prediction_binds=True, unlocked=False, start_skew_us=SKEW, energy=ENERGY)
    return filled


def write(board: SimpleNamespace, **keys: Any) -> None:
    """Change keys of the run file; `precision` is one of its target."""
    content = json.loads(board.run.read_text(encoding="utf-8"))
    precision = keys.pop("precision", "fp16")
    content["environment"] = {"target": {"target": "orin", "kind": "jetson", "precision": precision, "accelerators": [
        "gpu", "dla0"]}}  # fmt: skip
    board.run.write_text(json.dumps({**content, **keys}), encoding="utf-8")


def paper(board: SimpleNamespace, **keys: Any) -> None:
    """Let the run be one of mode paper: a segment per instance, one of them on two accelerators."""
    write(board, mode="paper", prediction_binds=False, **keys)
    content = json.loads(board.run.read_text(encoding="utf-8"))
    for item in content["iterations"]:
        end = item["makespan_ms"]
        item["segments"] = [["alexnet", 0, 3, "ort", 0.0, 0.8 * end], ["googlenet", 0, 5, "gpu+dla0", 0.0, end]]
    board.run.write_text(json.dumps(content), encoding="utf-8")


def page(board: SimpleNamespace) -> tuple[str, list[list[str]], dict[str, Any]]:
    """The text without tags, the cells of its rows, the head first, and summary.json."""
    results = board.results
    summarise([board.workload], results.schedules, results.runs, results.summary, environment={"target": board.facts})
    out = results.root / "summary.html"
    write_page(results.summary, out, results.schedules)
    content = out.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(content)
    body = content[content.index("<body") :]
    sidecar = json.loads(results.summary.with_suffix(".json").read_text(encoding="utf-8"))
    return " ".join(re.sub(r"<[^>]+>", " ", body).split()), [cells for _, cells in outline.rows], sidecar


def texts(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_energy_is_a_column_with_its_rails_named_and_stays_out_of_the_table(board: SimpleNamespace) -> None:
    text, rows, sidecar = page(board)
    column = rows[0].index("energy periteration, mJ")
    assert [(cells[0].removesuffix("recommended"), cells[column]) for cells in rows[1:]] == [
        ("serial", "240.4"), ("naive", "151.2"), ("haxconn", "123.4"),
    ]  # fmt: skip
    assert "mean power of VDD_IN (tegrastats, at least 29 readings)" in text
    assert sidecar["energy"] == {board.name: ENERGY}
    header = board.results.summary.read_text(encoding="utf-8").splitlines()[0]
    assert header == (
        "workload,scheduler,predicted_ms,measured_median_ms,measured_p95_ms,fps,gain_over_best_baseline_pct,recommended"
    )


def test_a_scheduler_without_energy_has_a_dash(board: SimpleNamespace) -> None:
    schedulers = {name: entry for name, entry in ENERGY["schedulers"].items() if name != "naive"}  # type: ignore[attr-defined]
    write(board, energy={**ENERGY, "schedulers": schedulers})
    _, rows, _ = page(board)
    column = rows[0].index("energy periteration, mJ")
    assert [cells[column] for cells in rows[1:]] == ["240.4", "–", "123.4"]


@pytest.mark.parametrize(
    ("energy", "says"),
    [
        ({"by": "jtop", "missing": "this board shows no power rails", "schedulers": {}},
         "No energy: this board shows no power rails."),
        ({"missing": "no readings"}, "No energy: no readings."),
        (None, "Energy was not measured: energy_s is 0"),
    ],
)  # fmt: skip
def test_without_energy_the_reason_stands_there_and_no_column(board: SimpleNamespace, energy: Any, says: str) -> None:
    write(board, energy=energy)
    text, rows, sidecar = page(board)
    assert says in text
    assert not any("energy" in cell for cell in rows[0])
    assert sidecar["energy"] == {board.name: energy}


def test_unlocked_clocks_are_marked_at_the_workload_with_what_to_type(board: SimpleNamespace) -> None:
    assert "locked" not in page(board)[0]
    write(board, unlocked=True)
    text, _, sidecar = page(board)
    assert "Clocks not locked: times move with them; on the board: sudo jetson_clocks" in text
    assert text.index("Clocks not locked") < text.index("scheduler predicted")
    assert sidecar["unlocked"] == [board.name]


def test_nothing_of_a_stand_in_is_called_measured(board: SimpleNamespace) -> None:
    assert "test double" not in page(board)[0]
    write(board, stand_in=True)
    text, rows, sidecar = page(board)
    assert sidecar["stand_in"] == [board.name]
    assert text.index("Nothing here was measured.") < text.index("Times are makespans")
    assert rows[0][2] == "stand-inmedian ms"
    assert not any("recommended" in cell for cells in rows for cell in cells)
    root = board.results.root
    draw_error(board.results.summary, root / "error.svg")
    assert "stand-in median makespan (ms)" in texts(root / "error.svg")
    draw_timelines(board.problem, board.schedules, board.run, root / "timelines.svg")
    shown = " ".join(texts(root / "timelines.svg"))
    assert "stand-in" in shown
    assert "measured" not in shown
    write_trace(board.problem, board.schedules[0], board.run, root / "trace.json")
    events = json.loads((root / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert any(name.startswith("stand-in (median iteration") for name in names)
    assert not any("measured" in name for name in names)


def test_late_starts_are_counted_in_the_small_print(board: SimpleNamespace) -> None:
    write(board, start_skew_us={**SKEW, "late_iterations": 3})
    assert "In 3 iterations it was more than 20 µs." in page(board)[0]


def test_start_skew_is_in_the_small_print(board: SimpleNamespace) -> None:
    assert "12.3 µs apart at the median, 80.7 µs at worst" in page(board)[0]
    write(board, start_skew_us=None)
    assert "µs" not in page(board)[0]


def test_a_prediction_that_does_not_bind_is_shown_and_counts_nowhere(board: SimpleNamespace, tmp_path: Path) -> None:
    _, bound, sidecar = page(board)
    assert sidecar["prediction_error"]["schedules"] == 3
    assert "not binding" not in "".join(bound[0])
    paper(board)
    text, rows, sidecar = page(board)
    assert sidecar["not_binding"] == [board.name]
    assert sidecar["prediction_error"] is None
    assert rows[0][1] == "predicted ms,not binding"
    error = rows[0].index("predictionerror")
    for before, cells in zip(bound[1:], rows[1:], strict=True):
        assert cells[1] == before[1] != "–", "the prediction is still shown"
        assert before[error] != cells[error] == "–"
    assert "Prediction not binding." in text
    assert f"There is no prediction error: predictions of {board.name} are not binding" in text
    draw_error(board.results.summary, tmp_path / "error.svg")
    assert "no error: none of these predictions is binding" in " ".join(texts(tmp_path / "error.svg"))


def test_workloads_that_bind_count_beside_those_that_do_not(board: SimpleNamespace, tmp_path: Path) -> None:
    results, other = board.results, "bound"
    for scheduler in PLACED:
        results.write_schedule(other, scheduler, board.predicted[scheduler])
    results.write_run(other, SAMPLES)
    paper(board)
    bound = replace(board.workload, name=other)
    facts = {"target": board.facts}
    summarise(
        [board.workload, bound], results.schedules, results.runs, results.summary,
        {board.name: PLACED, other: PLACED}, facts,
    )  # fmt: skip
    sidecar = json.loads(results.summary.with_suffix(".json").read_text(encoding="utf-8"))
    assert sidecar["prediction_error"]["schedules"] == 3
    assert sidecar["prediction_error"]["worst"][0] == other
    write_page(results.summary, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"Not counted: predictions of {board.name} are not binding" in text
    assert text.count("not binding</th>") == 1
    draw_error(results.summary, tmp_path / "error.svg")
    found = " ".join(texts(tmp_path / "error.svg"))
    assert "error over 3 schedules" in found
    assert "pale: prediction not binding, not in the error" in found
    assert {board.name, other} <= set(texts(tmp_path / "error.svg"))


def test_mode_paper_alone_says_that_the_prediction_does_not_bind(board: SimpleNamespace) -> None:
    paper(board)
    content = json.loads(board.run.read_text(encoding="utf-8"))
    del content["prediction_binds"]
    board.run.write_text(json.dumps(content), encoding="utf-8")
    assert not read_run(board.run).prediction_binds
    del content["mode"]
    board.run.write_text(json.dumps(content), encoding="utf-8")
    assert read_run(board.run).prediction_binds, "a run on host has neither key"


def test_an_engine_on_two_accelerators_has_a_lane_and_a_thread_of_its_own(
    board: SimpleNamespace, tmp_path: Path
) -> None:
    paper(board)
    draw_timelines(board.problem, board.schedules, board.run, tmp_path / "timeline.svg")
    found = texts(tmp_path / "timeline.svg")
    assert found.count("gpu+dla0") == len(PLACED)
    title = next(text for text in found if text.startswith(f"predicted {board.predicted['haxconn']:.4g} ms"))
    assert "(not binding), measured 10.5 ms" in title
    assert "error" not in title
    path = board.results.schedules / board.name / "haxconn.json"
    write_trace(board.problem, path, board.run, tmp_path / "trace.json")
    content = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    events = content["traceEvents"]
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert [name for (pid, _), name in threads.items() if pid == MEASURED] == ["ort", "ov", "gpu+dla0"]
    assert [name for (pid, _), name in threads.items() if pid == PREDICTED] == ["ort", "ov"]
    where = {e["name"]: threads[e["pid"], e["tid"]] for e in events if e["ph"] == "X" and e["pid"] == MEASURED}
    assert where == {"alexnet 0-3": "ort", "googlenet 0-5": "gpu+dla0"}
    names = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert names[0] == "predicted (not binding)"
    assert content["otherData"]["prediction_binds"] is False


def test_random_calibration_is_marked_with_the_networks(board: SimpleNamespace) -> None:
    board.facts = {**INT8, "calibration": {"alexnet": "alexnet.npz"}}
    write(board, precision="int8")
    text, _, sidecar = page(board)
    assert "Calibrated on random inputs: googlenet. Outputs mean nothing, times do" in text
    assert sidecar["random_calibration"] == {board.name: ["googlenet"]}
    write(board, precision="fp16")
    assert "random inputs" not in page(board)[0], "the precision of the run counts"
    board.facts["calibration"]["googlenet"] = "googlenet.npz"
    write(board, precision="int8")
    assert "random inputs" not in page(board)[0]


def test_outputs_after_random_calibration_are_neither_right_nor_wrong(
    board: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    differing = {
        name: {"max_abs_err": 1.0, "tolerance": 0.2, "ok": name == "alexnet"} for name in ("alexnet", "googlenet")
    }
    board.facts = dict(INT8)
    with caplog.at_level(logging.ERROR):
        write(board, precision="int8", outputs=differing)
        text, _, sidecar = page(board)
        assert "The outputs of googlenet differ" in text
        assert "Wrong outputs" not in text
        assert "do not use these numbers" not in text
        assert sidecar["outputs_ok"] == {}
        assert sidecar["differing_by_calibration"] == {board.name: ["googlenet"]}
        assert not caplog.records
        board.facts = {**INT8, "calibration": {"googlenet": "googlenet.npz"}}
        text, _, sidecar = page(board)
    assert f"Wrong outputs: {board.name}." in text
    assert sidecar["outputs_ok"] == {board.name: False}
    assert len(caplog.records) == 1


def test_text_on_whole_and_streams_fits_a_chip_that_cannot_be_joined(board: SimpleNamespace) -> None:
    text, _, _ = page(board)
    assert "whole and streams, which use a chip as one processor, do not exist here" in text
    assert "may beat every placement" not in text
    board.facts = {"kind": "host"}
    assert "may beat every placement" in page(board)[0]


@pytest.mark.parametrize(
    ("medians", "says"),
    [
        ({"serial": 21.0, "naive": 12.0, "haxconn": 10.0},
         "haxconn is 20.0 % faster than the best baseline, naive, with 2 transitions."),
        ({"serial": 21.0, "naive": 10.0, "haxconn": 11.0}, "naive measured fastest; haxconn is 10.0 % slower"),
        ({"serial": 21.0, "naive": 10.0}, "naive is the fastest of what was measured."),
        ({"haxconn": 10.0}, "Only haxconn was measured."),
    ],
)  # fmt: skip
def test_recommendation_where_only_placements_exist(
    board: SimpleNamespace, medians: dict[str, float], says: str
) -> None:
    for path in board.schedules:
        if path.stem not in medians and path.stem in PLACED:
            path.unlink()
    board.run = board.results.write_run(board.name, {name: [value] * 5 for name, value in medians.items()})
    write(board, mode="segments")
    why = page(board)[2]["recommendations"][board.name]
    assert why.startswith(says)
    assert not any(word in why for word in ("whole", "streams", "joined"))


def test_recommendation_does_not_hold_a_prediction_that_does_not_bind_against_the_model(
    board: SimpleNamespace,
) -> None:
    board.run = board.results.write_run(board.name, {"serial": [21.0], "naive": [10.0], "haxconn": [11.0]})
    board.results.write_schedule(board.name, "haxconn", 0.8 * board.predicted["naive"])
    write(board, mode="segments")
    assert "although the model expected it" in page(board)[2]["recommendations"][board.name]
    paper(board)
    why = page(board)[2]["recommendations"][board.name]
    assert "although the prediction, which does not bind here, expected it" in why


def test_recommendation_with_one_accelerator_speaks_of_no_moves(board: SimpleNamespace) -> None:
    folder = board.results.schedules / board.name
    serial = json.loads((folder / "serial.json").read_text(encoding="utf-8"))
    (folder / "haxconn.json").write_text(json.dumps({**serial, "scheduler": "haxconn"}), encoding="utf-8")
    board.run = board.results.write_run(board.name, {"serial": [10.0], "naive": [12.0], "haxconn": [11.0]})
    write(board)
    content = json.loads(board.run.read_text(encoding="utf-8"))
    content["environment"]["target"]["accelerators"] = ["gpu"]
    board.run.write_text(json.dumps(content), encoding="utf-8")
    why = page(board)[2]["recommendations"][board.name]
    assert why.startswith("serial is enough: with one accelerator there is one placement")


def test_a_summary_from_before_these_keys_still_gives_a_page(board: SimpleNamespace) -> None:
    page(board)
    path = board.results.summary.with_suffix(".json")
    content = json.loads(path.read_text(encoding="utf-8"))
    new = ("kind", "not_binding", "unlocked", "random_calibration", "differing_by_calibration", "energy")
    for key in (*new, "start_skew_us", "stand_in"):
        del content[key]
    path.write_text(json.dumps(content), encoding="utf-8")
    write_page(board.results.summary, board.results.root / "again.html")
    draw_error(board.results.summary, board.results.root / "again.svg")
    assert "energy" not in (board.results.root / "again.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "mixed"}, r"mode: 'mixed' is not one of \['segments', 'paper'\]"),
        ({"prediction_binds": "no"}, "prediction_binds: 'no' is not of type 'boolean'"),
        ({"unlocked": 1}, "unlocked: 1 is not of type 'boolean'"),
        ({"start_skew_us": {"median": 1.0}}, "start_skew_us: 'worst' is a required property"),
        ({"start_skew_us": {"median": -1.0, "worst": 2.0}}, r"start_skew_us\.median: -1\.0 is less than the minimum"),
        ({"energy": 3}, "energy: 3 is not of type 'object', 'null'"),
        ({"energy": {"by": "jtop", "schedulers": {}}}, "energy: 'total' is a required property"),
        ({"energy": {"missing": None}}, r"energy\.missing: None is not of type 'string'"),
        (
            {"energy": {**ENERGY, "schedulers": {"naive": {"mj": 1.0}}}},
            r"energy\.schedulers\.naive: 'mw' is a required",
        ),
        (
            {"energy": {**ENERGY, "schedulers": {"naive": {**ENERGY["schedulers"]["naive"], "mj": "low"}}}},  # type: ignore[index]
            r"energy\.schedulers\.naive\.mj: 'low' is not of type 'number'",
        ),
    ],
)
def test_a_broken_key_names_the_file_and_the_place(board: SimpleNamespace, keys: dict[str, Any], message: str) -> None:
    write(board, **keys)
    with pytest.raises(InputError, match=rf"\.json: {message}") as caught:
        page(board)
    assert str(board.run) in str(caught.value)
