"""Traces follow the Chrome trace event format: complete events nest, flows pair up, numbers equal their sources."""

import json
from collections import Counter, defaultdict
from types import SimpleNamespace
from typing import Any

import pytest

from multidnn.errors import InputError
from multidnn.report.traces import MEASURED, PREDICTED, write_trace
from multidnn.schedule import evaluate


def trace(filled: SimpleNamespace, scheduler: str, *, problem: bool = True, run: bool = True) -> dict[str, Any]:
    out = filled.results.root / "traces" / f"{scheduler}.json"
    path = filled.results.schedules / filled.name / f"{scheduler}.json"
    write_trace(filled.problem if problem else None, path, filled.run if run else None, out)
    content: dict[str, Any] = json.loads(out.read_text())
    return content


@pytest.mark.parametrize("scheduler", ["serial", "naive", "haxconn", "whole", "streams"])
def test_events_are_well_formed(filled: SimpleNamespace, scheduler: str) -> None:
    events = trace(filled, scheduler)["traceEvents"]
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    stacks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        assert event["ph"] in "MXsfC"
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert (event["pid"], event["tid"]) in named
            stacks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for spans in stacks.values():
        # two slices of one thread are apart or one contains the other (to a nanosecond)
        for i, (start, end) in enumerate(spans):
            for other_start, other_end in spans[:i]:
                apart = end <= other_start + 2e-3 or other_end <= start + 2e-3
                inside = (start >= other_start - 2e-3 and end <= other_end + 2e-3) or (
                    other_start >= start - 2e-3 and other_end <= end + 2e-3
                )
                assert apart or inside
    starts = Counter(event["id"] for event in events if event["ph"] == "s")
    assert starts == Counter(event["id"] for event in events if event["ph"] == "f")
    assert all(count == 1 for count in starts.values())


def test_times_are_microseconds_of_the_simulator_and_the_median_iteration(filled: SimpleNamespace) -> None:
    content = trace(filled, "haxconn")
    slices = [event for event in content["traceEvents"] if event["ph"] == "X"]
    timeline = evaluate(filled.problem, filled.placements["haxconn"], filled.orders["haxconn"])
    groups = sorted((s["ts"], s["dur"]) for s in slices if s["pid"] == PREDICTED and s["cat"] == "group")
    expected = sorted(
        (1000 * a.start_ms, 1000 * (a.end_ms - a.start_ms)) for a in timeline.activities if a.kind == "group"
    )
    assert len(groups) == 10
    for found, wanted in zip(groups, expected, strict=True):
        assert found == pytest.approx(wanted, abs=2e-3)
    holds = [s for s in slices if s["cat"] in ("in", "out")]
    assert len(holds) == 4
    ends = [s["ts"] + s["dur"] for s in slices if s["pid"] == MEASURED]
    assert max(ends) == pytest.approx(1000 * sorted(filled.samples["haxconn"])[4], abs=2e-3)


def test_a_transition_is_one_arrow_in_each_process(filled: SimpleNamespace) -> None:
    flows = [event for event in trace(filled, "haxconn")["traceEvents"] if event["ph"] == "s"]
    assert Counter(flow["pid"] for flow in flows) == {PREDICTED: 2, MEASURED: 2}
    assert not [event for event in trace(filled, "naive")["traceEvents"] if event["ph"] in "sf"]


def test_counters_give_the_demand_of_the_others(filled: SimpleNamespace) -> None:
    events = trace(filled, "naive")["traceEvents"]
    first = {event["name"]: event["args"]["value"] for event in reversed(events) if event["ph"] == "C"}
    # at the start alexnet group 0 runs on ort (2 GB/s) beside googlenet group 0 on ov (3 GB/s)
    assert first["external demand of ort (GB/s)"] == 3.0
    assert first["external demand of ov (GB/s)"] == 2.0
    alone = trace(filled, "serial")["traceEvents"]
    values = {event["args"]["value"] for event in alone if event["ph"] == "C" and "slowdown" in event["name"]}
    assert values == {1.0}


def test_instances_at_once_on_the_chip_get_a_thread_each(filled: SimpleNamespace) -> None:
    names = [e["args"]["name"] for e in trace(filled, "streams")["traceEvents"] if e["name"] == "thread_name"]
    assert names == ["chip", "chip"]
    pids = {event["pid"] for event in trace(filled, "whole")["traceEvents"]}
    assert pids == {MEASURED}


def test_predicted_or_measured_alone(filled: SimpleNamespace) -> None:
    assert {e["pid"] for e in trace(filled, "haxconn", run=False)["traceEvents"]} == {PREDICTED}
    assert {e["pid"] for e in trace(filled, "haxconn", problem=False)["traceEvents"]} == {MEASURED}


def test_absent_scheduler_gives_a_trace_that_says_why(filled: SimpleNamespace) -> None:
    content = trace(filled, "mensa")
    assert content["traceEvents"] == []
    assert content["otherData"]["absent"] == "group 3 of googlenet is not supported"


def test_truncated_schedule_names_the_file(filled: SimpleNamespace) -> None:
    path = filled.results.schedules / filled.name / "haxconn.json"
    path.write_text(path.read_text()[:-60])
    with pytest.raises(InputError, match=r"haxconn\.json:\d+: not valid JSON"):
        trace(filled, "haxconn")
