"""Figures: each is a valid SVG that shows the names and numbers of its files, and bad files give one clear message."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from multidnn import tables
from multidnn.errors import InputError
from multidnn.report.contention import draw_contention
from multidnn.report.emc import draw_demand, draw_heatmap
from multidnn.report.error import draw_error
from multidnn.report.layers import draw_layers
from multidnn.report.summary import summarise
from multidnn.report.timeline import draw_timelines
from multidnn.report.transitions import draw_transitions


def texts(path: Path) -> list[str]:
    """All texts of an SVG; parsing fails on anything that is not well-formed XML."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_layers_shows_groups_sums_ratios_and_unstable_marks(filled: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "layers.svg"
    draw_layers(filled.results.layers, out)
    found = texts(out)
    assert {"alexnet", "googlenet", "ort", "ov", "unstable", "median (ms)"} <= set(found)
    assert "sum: ort 10 ms, ov 10 ms" in found
    assert "sum: ort 12 ms, ov 10.2 ms" in found
    assert "4.0×" in found  # googlenet, group 0: 4.0 against 1.0
    assert "15–17" in " ".join(found)


def test_layers_marks_unsupported_groups(filled: SimpleNamespace, tmp_path: Path) -> None:
    rows = tables.read(filled.results.layers, tables.LAYERS)
    numbers = dict.fromkeys(("median_ms", "mean_ms", "std_ms", "samples"))
    rows[0] |= {"supported": False, **numbers, "reason": "no LRN"}
    tables.write(filled.results.layers, tables.LAYERS, rows)
    out = tmp_path / "layers.svg"
    draw_layers(filled.results.layers, out, [rows[0]["network"]])
    assert "✕" in texts(out)
    assert f"{rows[0]['accelerator']} incomplete" in " ".join(texts(out))


def test_layers_without_known_layer_indices(filled: SimpleNamespace, tmp_path: Path) -> None:
    rows = tables.read(filled.results.layers, tables.LAYERS)
    for row in rows:
        row["last_layer"] = None
        row["first_layer"] = row["first_layer"] if row["network"] == "alexnet" else None
    tables.write(filled.results.layers, tables.LAYERS, rows)
    out = tmp_path / "layers.svg"
    draw_layers(filled.results.layers, out)
    found = " ".join(texts(out))
    assert "9–" in found
    assert "None" not in found


def test_transitions_shows_directions_and_bytes(filled: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "transitions.svg"
    draw_transitions(filled.results.transitions, out)
    found = " ".join(texts(out))
    assert "ort → ov" in found
    assert "ov → ort" in found
    assert "803 kB" in found
    assert "cost (ms)" in found


def test_heatmap_shows_every_percentage_and_the_peak(filled: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "heat.svg"
    draw_heatmap(filled.results.emc, out)
    found = texts(out)
    for row in tables.read(filled.results.emc, tables.EMC):
        if row["group"] is None:
            assert f"{row['utilization_pct']:.0f}" in found
    assert len([text for text in found if re.fullmatch(r"\d+", text)]) >= 50
    assert "peak 20.5 GB/s: memory copy on all cores" in found
    assert "utilisation (% of peak)" in found


def test_heatmap_without_percentages_shows_bandwidth(filled: SimpleNamespace, tmp_path: Path) -> None:
    rows = tables.read(filled.results.emc, tables.EMC)
    for row in rows:
        row["utilization_pct"] = None
    tables.write(filled.results.emc, tables.EMC, rows)
    out = tmp_path / "heat.svg"
    draw_heatmap(filled.results.emc, out)
    assert "demand (GB/s)" in texts(out)


def test_demand_shows_networks_and_method(filled: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "demand.svg"
    draw_demand(filled.results.emc, out)
    assert {"alexnet", "googlenet", "demand (GB/s)"} <= set(texts(out))
    assert "graph-traffic" in " ".join(texts(out))


def test_contention_shows_accelerators_error_and_held_out_points(filled: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "contention.svg"
    draw_contention(filled.results.contention, out)
    found = texts(out)
    assert {"ort", "ov", "co-run", "held-out co-run", "slowdown (×)"} <= set(found)
    assert "error on 12 held-out co-runs: median 3.2 %, 90th percentile 9.1 %" in found


def test_contention_without_samples_or_fit(filled: SimpleNamespace, tmp_path: Path) -> None:
    flat = {"demand_gb_s": [0], "external_gb_s": [0], "slowdown": [[1]]}
    filled.results.contention.write_text(json.dumps({"format": 1, "accelerators": {"gpu": flat}}))
    out = tmp_path / "contention.svg"
    draw_contention(filled.results.contention, out)
    assert "gpu" in texts(out)
    assert "co-run" not in texts(out)


def test_error_shows_every_workload_and_the_statistics(filled: SimpleNamespace, tmp_path: Path) -> None:
    results = filled.results
    summarise([filled.workload], results.schedules, results.runs, results.summary)
    sidecar = json.loads(results.summary.with_suffix(".json").read_text())
    out = tmp_path / "error.svg"
    draw_error(results.summary, out)
    found = texts(out)
    assert {filled.name, "serial", "naive", "haxconn"} <= set(found)
    assert "streams" not in found
    assert f"median {sidecar['prediction_error']['median_pct']:.1f} %" in " ".join(found)


def test_error_without_measurements_says_so(filled: SimpleNamespace, tmp_path: Path) -> None:
    results = filled.results
    summarise([filled.workload], results.schedules, None, results.summary)
    with pytest.raises(InputError, match=r"summary\.csv: no placed schedule was measured"):
        draw_error(results.summary, tmp_path / "error.svg")


def test_timelines_show_every_scheduler_predicted_and_measured(filled: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "timeline.svg"
    draw_timelines(filled.problem, filled.schedules, filled.run, out)
    found = texts(out)
    assert {"serial", "naive", "haxconn", "whole", "streams", "alexnet", "googlenet"} <= set(found)
    assert "mensa" not in found
    assert found.count("predicted") == 3
    assert found.count("measured") == 5
    # streams overlaps on the chip, so it takes two lanes; whole takes one
    assert found.count("chip") == 3
    assert {"transition hold", "handover"} <= set(found)
    middle = sorted(filled.samples["haxconn"])[4]
    assert f"predicted {filled.predicted['haxconn']:.4g} ms, measured {middle:.4g} ms" in " ".join(found)


def test_timelines_without_runs_and_without_problem(filled: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "timeline.svg"
    draw_timelines(filled.problem, filled.schedules, None, out)
    assert "predicted" in texts(out)
    assert "measured" not in texts(out)
    assert "streams" not in texts(out)
    draw_timelines(None, filled.schedules, filled.run, out)
    assert "measured" in texts(out)
    assert "predicted" not in texts(out)
    with pytest.raises(InputError, match="no timeline to draw"):
        draw_timelines(None, filled.schedules, None, out)


def test_schedule_made_from_other_tables_is_refused(filled: SimpleNamespace, tmp_path: Path) -> None:
    path = filled.results.write_schedule(filled.name, "haxconn", 1.25 * filled.predicted["haxconn"])
    with pytest.raises(InputError, match=r"haxconn\.json: .*made from other tables"):
        draw_timelines(filled.problem, [path], None, tmp_path / "timeline.svg")
    assert not (tmp_path / "timeline.svg").exists()


def test_same_input_gives_the_same_bytes(filled: SimpleNamespace, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw_contention(filled.results.contention, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(("suffix", "magic"), [(".pdf", b"%PDF"), (".png", b"\x89PNG")])
def test_suffix_decides_the_format(filled: SimpleNamespace, tmp_path: Path, suffix: str, magic: bytes) -> None:
    out = tmp_path / f"transitions{suffix}"
    draw_transitions(filled.results.transitions, out)
    assert out.read_bytes().startswith(magic)
    with pytest.raises(InputError, match=r"\.jpeg file, allowed are \.svg, \.pdf, \.png"):
        draw_transitions(filled.results.transitions, tmp_path / "transitions.jpeg")


@pytest.mark.parametrize(
    ("draw", "table"),
    [
        (draw_layers, "layers"),
        (draw_transitions, "transitions"),
        (draw_heatmap, "emc"),
        (draw_demand, "emc"),
        (draw_contention, "contention"),
    ],
)
def test_truncated_table_names_the_file(
    filled: SimpleNamespace, tmp_path: Path, draw: Callable[[Path, Path], None], table: str
) -> None:
    path: Path = getattr(filled.results, table)
    content = path.read_text()
    # cut inside the last row or object
    path.write_text(content.rstrip()[: -len(content.rstrip().splitlines()[-1]) // 2 or -1].rstrip(",}") + "\n,")
    out = tmp_path / "figure.svg"
    with pytest.raises(InputError, match=re.escape(str(path))):
        draw(path, out)
    assert not out.exists()


def test_unknown_network_lists_what_is_there(filled: SimpleNamespace, tmp_path: Path) -> None:
    for draw, path in ((draw_layers, filled.results.layers), (draw_demand, filled.results.emc)):
        with pytest.raises(InputError, match=r"rows for vgg19; found alexnet, googlenet"):
            draw(path, tmp_path / "figure.svg", ["vgg19"])


def test_a_network_without_transitions_is_drawn_as_such(filled: SimpleNamespace, tmp_path: Path) -> None:
    tables.write(filled.results.transitions, tables.TRANSITIONS, [])
    out = tmp_path / "transitions.svg"
    draw_transitions(filled.results.transitions, out, ["single"])
    assert "no transitions" in " ".join(texts(out))
    with pytest.raises(InputError, match="no rows to draw"):
        draw_transitions(filled.results.transitions, out)
