"""The figure of a run that was solved on the way: it shows the file's numbers, and a broken file is one message."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.report.dynamic import draw_dynamic


def phase(cause: str, instances: list[str], start: float, *times: float | None) -> dict[str, Any]:
    keys = ("first_improvement_s", "optimum_s", "proved_s")
    return {"cause": cause, "instances": instances, "start_s": start, **dict(zip(keys, times, strict=True))}


@pytest.fixture
def content() -> dict[str, Any]:
    """Three phases of two seconds, ten iterations each."""
    both = ["cat", "dog"]
    return {
        "workload": "cat+dog",
        "phases": [
            phase("start", both, 0.0, 0.25, 0.75, 1.5),
            phase("join", [*both, "cow"], 2.0, 0.5, None, None),
            phase("leave", both, 4.0, None, 0.0, 0.5),
        ],
        "events": [
            {"time_s": 0.0, "kind": "start"},
            {"time_s": 0.4, "kind": "adopted"},
            {"time_s": 1.5, "kind": "optimal"},
            {"time_s": 2.0, "kind": "join"},
            {"time_s": 4.5, "kind": "solver_lost"},
        ],
        "iterations": [
            {"phase": index // 10, "time_s": 0.2 * index, "schedule": index // 15, "makespan_ms": 10.0 + index % 3}
            for index in range(30)
        ],
        "schedules": [{"predicted": {"makespan_ms": value}} for value in (12.0, 9.0)],
        "cost_of_solving": {"ratio": 1.05, "makespan_ms": {"paused": [9.0, 10.0, 11.0], "solving": [10.0, 10.5, 12.0]}},
    }


def drawn(content: dict[str, Any], folder: Path) -> list[str]:
    """All texts of the figure."""
    write_json(folder / "dynamic.json", content)
    draw_dynamic(folder / "dynamic.json", folder / "dynamic.svg")
    root = ElementTree.parse(folder / "dynamic.svg").getroot()
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_phases_say_who_is_there_and_when_what_was_found(content: dict[str, Any], tmp_path: Path) -> None:
    found = drawn(content, tmp_path)
    assert {"cat + dog", "cow joins", "cow leaves", "makespan (ms)"} <= set(found)
    assert {"better 250 ms, best 750 ms, proved 1.5 s", "better 500 ms", "best 0 ms, proved 500 ms"} <= set(found)
    assert {"measured", "predicted", "taken up", "proved optimal"} <= set(found)


def test_the_cost_is_the_ratio_of_the_medians(content: dict[str, Any], tmp_path: Path) -> None:
    found = drawn(content, tmp_path)
    assert "What solving costs: median 10 ms paused, 10.5 ms at work (+5.0 %)" in found
    assert {"solver paused", "solver at work"} <= set(found)


def test_a_cost_that_was_not_measured_says_why(content: dict[str, Any], tmp_path: Path) -> None:
    content["cost_of_solving"] = {"not_measured": "the solver was killed by signal 9"}
    assert "cost of solving not measured: the solver was killed by signal 9" in " ".join(drawn(content, tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("events"), "'events' is a required property"),
        (lambda c: c["phases"][1].update(start_s=-1), r"phases.1.start_s: -1 is less than the minimum of 0"),
        (lambda c: c["iterations"][3].update(schedule=7), "iterations.3.schedule: found 7, there are 2"),
        (lambda c: c["cost_of_solving"].clear(), "cost_of_solving: "),
    ],
)
def test_a_broken_file_is_one_message_and_no_figure(
    content: dict[str, Any], tmp_path: Path, change: Any, words: str
) -> None:
    change(content)
    with pytest.raises(InputError, match=rf"dynamic\.json: {words}.*delete the file to make it again") as caught:
        drawn(content, tmp_path)
    assert not re.search(r"\n", str(caught.value))
    assert not (tmp_path / "dynamic.svg").exists()
