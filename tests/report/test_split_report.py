"""What the report shows of a target that chooses among splits: which one, what the gain consists of, seven accelerators."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from multidnn import tables
from multidnn.contention.joining import join_models
from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.measure.joining import join_tables
from multidnn.report import style
from multidnn.report.contention import draw_contention
from multidnn.report.emc import draw_demand, draw_heatmap
from multidnn.report.layers import draw_layers
from multidnn.report.page import write_page
from multidnn.report.splits import gain_over_streams, gain_sentence, splits_of
from multidnn.report.summary import summarise
from multidnn.report.timeline import draw_timelines
from multidnn.report.traces import write_trace
from multidnn.report.transitions import draw_transitions
from multidnn.schedule import Problem, Schedule, Workload, evaluate, solve, streams
from multidnn.schedule.variants import choose
from tests.measure.variant_folders import SPLITS, write_variants

NAMES = ("layer_results.csv", "transition_results.csv", "emc_results.csv", "contention.json")
ALL = [name for names in SPLITS.values() for name in names]
LOAD = "alexnet+googlenet"
WORKLOAD = Workload.from_dict(
    {"name": LOAD, "instances": [{"name": name, "network": name} for name in ("alexnet", "googlenet")]}, LOAD
)


def _run(path: Path, problems: dict[str, Problem], schedules: dict[str, Schedule], medians: dict[str, float]) -> None:
    """A run whose segments are the predicted ones, stretched to these medians."""
    iterations = []
    for index in range(5):
        for scheduler, schedule in schedules.items():
            makespan = medians[scheduler] * (1 + 0.01 * (index - 2))
            if schedule.placement is None or schedule.order is None:
                spans = [["alexnet", 0, 3, "chip", 0.0, 1.0], ["googlenet", 0, 5, "chip", 0.0, 0.9]]
            else:
                timeline = evaluate(problems[schedule.target], schedule.placement, schedule.order)
                spans = [
                    [s.instance, s.first, s.last, s.accelerator, s.start_ms / timeline.makespan_ms, s.end_ms / timeline.makespan_ms]
                    for s in timeline.segments
                ]  # fmt: skip
            segments = [[*span[:4], span[4] * makespan, span[5] * makespan] for span in spans]
            finish = {name: max(s[5] for s in segments if s[0] == name) for name in ("alexnet", "googlenet")}
            iterations.append(
                {
                    "scheduler": scheduler,
                    "index": index,
                    "makespan_ms": makespan,
                    "finish_ms": finish,
                    "segments": segments,
                }
            )
    outputs = {name: {"max_abs_err": 0.0, "tolerance": 1e-3, "ok": True} for name in ("alexnet", "googlenet")}
    write_json(path, {"workload": LOAD, "target": "chip", "iterations": iterations, "outputs": outputs})


@pytest.fixture
def chosen(tmp_path: Path) -> SimpleNamespace:
    """Joined tables, the best schedules of two schedulers and streams, and a run in which haxconn is fastest."""
    folders, out = write_variants(tmp_path), tmp_path / "chip"
    accelerators = join_tables(folders, out)
    join_models({name: folder / NAMES[3] for name, folder in folders.items()}, accelerators, out / NAMES[3])
    problems = Problem.by_target(*(out / name for name in NAMES), WORKLOAD, "chip")
    paths: dict[str, Path] = {}
    for scheduler in ("naive", "haxconn"):
        own = {}
        for variant, problem in problems.items():
            own[variant] = folders[variant] / "schedules" / LOAD / f"{scheduler}.json"
            solve(problem, scheduler, target=variant, max_transitions=1).write(own[variant])
        paths[scheduler] = out / "schedules" / LOAD / f"{scheduler}.json"
        choose(own, "chip", paths[scheduler])
    paths["streams"] = out / "schedules" / LOAD / "streams.json"
    streams(WORKLOAD, "chip").write(paths["streams"])
    schedules = {name: Schedule.read(path) for name, path in paths.items()}
    medians = {"naive": 10.0, "haxconn": 8.0, "streams": 12.0}
    run = out / "runs" / f"{LOAD}.json"
    _run(run, problems, schedules, medians)
    return SimpleNamespace(
        out=out, problems=problems, paths=paths, schedules=schedules, run=run, medians=medians, folders=folders
    )


def _summary(made: SimpleNamespace) -> tuple[dict[str, Any], str]:
    facts = {"name": "chip", "kind": "cuda", "splits": {split: dict.fromkeys(names) for split, names in SPLITS.items()}}
    csv = made.out / "summary.csv"
    summarise([WORKLOAD], made.out / "schedules", made.out / "runs", csv, None, {"target": facts})
    write_page(csv, made.out / "summary.html", made.out / "schedules")
    text = re.sub(r"<[^>]+>", " ", (made.out / "summary.html").read_text(encoding="utf-8"))
    return json.loads((made.out / "summary.json").read_text()), " ".join(text.split())


def test_the_page_says_which_split_and_what_the_gain_consists_of(chosen: SimpleNamespace) -> None:
    sidecar, text = _summary(chosen)
    used = {name: chosen.schedules[name].target for name in ("naive", "haxconn")}
    assert sidecar["target"] == "chip"
    assert sidecar["splits"] == {LOAD: used}
    gain = sidecar["gain_over_streams"][LOAD]
    # 12 over 10, 10 over 8, 12 over 8
    assert gain == pytest.approx({"split_pct": 20.0, "transitions_pct": 25.0, "total_pct": 50.0})
    short = {name: split.removeprefix("chip.") for name, split in used.items()}
    for name, split in short.items():
        assert f"{name} on {split}" in text
    assert (
        f"Against streams the split gives +20.0 % (naive, on {short['naive']}) and transitions +25.0 % (haxconn over naive, "
        f"on {short['haxconn']}), together +50.0 %."
    ) in text
    assert "half (half-a, half-b), thirds (third-a, third-b, third-c)" in text
    rows = tables.read(chosen.out / "summary.csv", tables.SUMMARY)
    assert {row["scheduler"]: row["recommended"] for row in rows} == {"naive": False, "haxconn": True, "streams": False}


def test_the_chip_used_whole_is_recommended_where_it_is_fastest(chosen: SimpleNamespace) -> None:
    chosen.medians["streams"] = 6.0
    _run(chosen.run, chosen.problems, chosen.schedules, chosen.medians)
    _, text = _summary(chosen)
    assert "the split gives −40.0 %" in text
    assert "No split is faster than the chip used whole here: streams is recommended." in text


def test_the_parts_multiply_to_the_whole() -> None:
    gain = gain_over_streams(
        {"streams": 7.0, "naive": 9.0, "haxconn": 5.5, "whole": 3.0}, {"naive": "a", "haxconn": "b"}
    )
    assert gain is not None
    factors = [1 + gain[key] / 100 for key in ("split_pct", "transitions_pct", "total_pct")]
    assert factors[0] * factors[1] == pytest.approx(factors[2]) == pytest.approx(7 / 5.5)
    assert gain_over_streams({"naive": 9.0, "haxconn": 5.5}, {"naive": "a", "haxconn": "b"}) is None
    assert gain_over_streams({"streams": 7.0, "naive": 9.0, "haxconn": 5.5}, {}) is None
    said = gain_sentence(gain, {"naive": "t.a", "haxconn": "other"}, "t", "haxconn")
    assert "(naive, on a)" in said
    assert "on other" in said
    assert "No split" not in said


def test_timelines_and_traces_are_of_the_split_that_was_used(chosen: SimpleNamespace) -> None:
    figure = chosen.out / "timelines.svg"
    draw_timelines(chosen.problems, list(chosen.paths.values()), chosen.run, figure)
    texts = [
        "".join(node.itertext())
        for node in ElementTree.parse(figure).getroot().iter("{http://www.w3.org/2000/svg}text")
    ]
    for name, schedule in chosen.schedules.items():
        trace = chosen.out / f"{name}.trace.json"
        write_trace(chosen.problems, chosen.paths[name], chosen.run, trace)
        content = json.loads(trace.read_text())
        threads = {e["args"]["name"] for e in content["traceEvents"] if e["name"] == "thread_name"}
        if schedule.placement is None:
            assert threads == {"chip"}
            continue
        assert threads == set(SPLITS[schedule.target])
        assert content["otherData"]["target"] == schedule.target
        assert any(text.startswith(f"on {schedule.target}, predicted") for text in texts)
        assert set(SPLITS[schedule.target]) <= set(texts)


def test_a_schedule_of_another_target_is_refused(chosen: SimpleNamespace) -> None:
    content = json.loads(chosen.paths["naive"].read_text())
    content["target"] = "chip.fifths"
    chosen.paths["naive"].write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"naive.json: target: found 'chip.fifths', expected chip.quarter or chip.half or"
    ):
        draw_timelines(chosen.problems, list(chosen.paths.values()), chosen.run, chosen.out / "timelines.svg")


def _texts(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_figures_of_seven_accelerators(chosen: SimpleNamespace) -> None:
    out = chosen.out
    draw_layers(out / NAMES[0], out / "layers.svg", ["googlenet"])
    texts = _texts(out / "layers.svg")
    assert [f"googlenet, {split}" in texts for split in SPLITS] == [True] * 3
    rows = tables.read(out / NAMES[0], tables.LAYERS)
    for names in SPLITS.values():
        sums = [
            f"{name} {sum(r['median_ms'] for r in rows if (r['network'], r['accelerator']) == ('googlenet', name)):.4g} ms"
            for name in names
        ]
        assert f"sum: {', '.join(sums)}" in texts
    draw_transitions(out / NAMES[1], out / "transitions.svg", ["googlenet"])
    draw_demand(out / NAMES[2], out / "demand.svg")
    draw_heatmap(out / NAMES[2], out / "heatmap.svg")
    draw_contention(out / NAMES[3], out / "contention.svg")
    for figure in ("layers", "demand", "heatmap", "contention"):
        assert set(ALL) <= set(_texts(out / f"{figure}.svg")), figure
    assert {"half-a → half-b", "third-c → third-a"} <= set(_texts(out / "transitions.svg"))
    assert len(set(style.colours(ALL).values())) == len(ALL)
    for figure in ("layers", "transitions", "demand", "heatmap", "contention"):
        width = float(ElementTree.parse(out / f"{figure}.svg").getroot().attrib["width"].removesuffix("pt"))
        assert width == pytest.approx(72 * style.WIDTH), "no figure is wider than a page"


def test_splits_are_those_of_the_table(chosen: SimpleNamespace) -> None:
    sidecar = chosen.out / "layer_results.json"
    assert splits_of(sidecar, ALL) == SPLITS
    assert splits_of(chosen.folders["chip.half"] / "layer_results.json", ["half-a", "half-b"]) == {
        "": ("half-a", "half-b")
    }
    with pytest.raises(
        InputError, match=r"layer_results.json: variants: found the accelerators quarter, .*expected those"
    ):
        splits_of(sidecar, ALL[:-1])


def test_panels_fill_their_rows(tmp_path: Path) -> None:
    with style.canvas(tmp_path / "figure.svg", 4, "panels") as figure:
        made = style.panels(figure, list(SPLITS.values()))
        widths = {name: axes.get_subplotspec().get_position(figure).width for name, axes in made.items()}  # type: ignore[union-attr]
    assert list(made) == ALL
    assert widths["half-a"] == pytest.approx(widths["quarter"])
    assert widths["half-a"] > 1.3 * widths["third-a"]
    assert np.ptp([widths[name] for name in SPLITS["chip.thirds"]]) < 1e-9
