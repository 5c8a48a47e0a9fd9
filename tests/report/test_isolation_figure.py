"""The figure and table of a protected network: they show the file's numbers, and a broken file is one message."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.report.isolation import draw_isolation, write_isolation_table
from tests.report.test_page import Outline

MEDIANS = {"alone": 2.0, "alone_on_partition": 3.0, "streams": 6.0, "priority": 4.0, "partitions": 3.5}


def quantile(ms: float, alone: float) -> dict[str, Any]:
    return {
        "ms": ms,
        "ms_interval": [0.9 * ms, 1.1 * ms],
        "ratio": ms / alone,
        "ratio_interval": [0.8 * ms / alone, 1.2 * ms / alone],
    }


@pytest.fixture
def content() -> dict[str, Any]:
    """A file of 1200 requests per condition beside two networks."""
    rng = np.random.default_rng(0)
    return {
        "name": "cat-kept",
        "target": "gpu",
        "protected": {"instance": "cat", "accelerator": "small"},
        "beside": {"large": ["dog", "cow"]},
        "networks": {"cat": "cat", "dog": "dog", "cow": "cow"},
        "conditions": {
            name: {
                "requests": 1200,
                "p50": quantile(median, 2.0),
                "p99": quantile(1.5 * median, 3.0),
                "p99_supported": True,
                "beside_per_s": {} if name.startswith("alone") else {"dog": 40 * median, "cow": 10.0},
            }
            for name, median in MEDIANS.items()
        },
        "outputs": {name: {"ok": True} for name in ("cat", "dog", "cow")},
        "samples": [
            {"condition": name, "latency_ms": list(median * rng.lognormal(0, 0.1, 600))}
            for name, median in MEDIANS.items()
            for _ in range(2)
        ],
    }


def drawn(content: dict[str, Any], folder: Path) -> list[str]:
    """All texts of the figure."""
    write_json(folder / "kept.json", content)
    draw_isolation(folder / "kept.json", folder / "kept.svg")
    root = ElementTree.parse(folder / "kept.svg").getroot()
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def table(content: dict[str, Any], folder: Path) -> tuple[str, list[list[str]]]:
    """The page, and the cells of its table."""
    write_json(folder / "kept.json", content)
    write_isolation_table(folder / "kept.json", folder / "kept.html")
    text, outline = (folder / "kept.html").read_text(encoding="utf-8"), Outline()
    outline.feed(text)
    assert outline.loads == []
    return text, [cells for _, cells in outline.rows]


def test_the_figure_names_conditions_nines_and_the_others(content: dict[str, Any], tmp_path: Path) -> None:
    found = drawn(content, tmp_path)
    assert {"alone on the whole chip", "alone on its partition", "beside others, streams"} <= set(found)
    assert {"beside others, priority", "beside others, partitions"} <= set(found)
    assert {"50 %", "90 %", "99 %", "99.9 %"} <= set(found)
    assert "99.99 %" not in found
    # what dog did under the three
    assert {"dog", "cow", "240", "160", "140"} <= set(found)
    assert "latency of cat (ms)" in found


def test_latencies_far_apart_are_drawn_logarithmically(content: dict[str, Any], tmp_path: Path) -> None:
    content["samples"][4]["latency_ms"][0] = 90.0
    assert "latency of cat (ms, logarithmic)" in drawn(content, tmp_path)


def test_the_table_has_the_numbers_of_the_file(content: dict[str, Any], tmp_path: Path) -> None:
    text, rows = table(content, tmp_path)
    assert [row[0] for row in rows[1:]] == [
        "alone on the whole chip", "alone on its partition", "beside others, streams", "beside others, priority",
        "beside others, partitions",
    ]  # fmt: skip
    assert rows[0] == ["cat", "medianms", "ratio", "99thpercentile ms", "ratio", "dogper second", "cowper second"]
    assert rows[1] == ["alone on the whole chip", "21.8 to 2.2", "1.000.80 to 1.20", "32.7 to 3.3", "1.000.80 to 1.20", "–", "–"]  # fmt: skip
    assert rows[3] == ["beside others, streams", "65.4 to 6.6", "3.002.40 to 3.60", "98.1 to 9.9", "3.002.40 to 3.60", "240", "10"]  # fmt: skip
    assert "dog and cow take turns on large" in text
    assert "*" not in "".join(cell for row in rows for cell in row)
    assert "Wrong outputs" not in text


def test_too_few_requests_are_marked_or_give_nothing(content: dict[str, Any], tmp_path: Path) -> None:
    for entry in content["conditions"].values():
        entry.update(requests=300, p99_supported=False)
    text, rows = table(content, tmp_path)
    assert rows[1][3] == "3*2.7 to 3.3"
    assert rows[1][1] == "21.8 to 2.2"
    assert "* 300 requests do not support a 99th percentile" in text
    for entry in content["conditions"].values():
        entry.update(requests=60, p99=None)
    text, rows = table(content, tmp_path)
    assert rows[1][3:5] == ["–", "–"]
    assert "There is no 99th percentile" in text
    drawn(content, tmp_path)


def test_wrong_outputs_stand_on_top(content: dict[str, Any], tmp_path: Path) -> None:
    content["outputs"]["dog"]["ok"] = False
    content["name"] = "<b>"
    text, _ = table(content, tmp_path)
    assert "Wrong outputs: dog." in text
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("samples"), "'samples' is a required property"),
        (lambda c: c["conditions"].pop("priority"), "conditions: 'priority' is a required property"),
        (lambda c: c["conditions"]["alone"]["p50"].update(ms=-1), r"conditions.alone.p50.ms: -1 is less than or equal to"),
        (lambda c: c["samples"].pop(0) and c["samples"].pop(0), "samples: there are none of condition 'alone'"),
        (lambda c: c["conditions"]["streams"]["beside_per_s"].pop("cow"), r"streams.beside_per_s: found dog, expected cow, dog"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_message_and_nothing_is_written(
    content: dict[str, Any], tmp_path: Path, change: Any, words: str
) -> None:
    change(content)
    for make in (drawn, table):
        with pytest.raises(InputError, match=rf"kept\.json: .*{words}.*delete the file to make it again") as caught:
            make(content, tmp_path)
        assert not re.search(r"\n", str(caught.value))
    assert not (tmp_path / "kept.svg").exists()
    assert not (tmp_path / "kept.html").exists()
