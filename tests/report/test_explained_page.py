"""The page's explanations: the numbers of the schedule file, its sentences, and nothing where there is nothing to say."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from multidnn.errors import InputError
from multidnn.report.explanation import read_explanation
from multidnn.report.page import write_page
from multidnn.report.summary import summarise
from multidnn.schedule import Schedule, explain
from multidnn.schedule.wording import HEADINGS, sentences
from tests.report.test_page import Outline

ALTERNATIVES = {
    "time_limit_s": 10.0,
    "second": {
        "max_transitions": 2, "value": 12.5, "bound": 12.5, "status": "optimal", "better_pct": -1.3,
        "placement": {"alexnet": ["ort"] * 4, "googlenet": ["ov"] * 6}, "solve_s": 0.1,
    },
    "no_transitions": {"absent": "<b>none</b>"},
    "one_more": None,
}  # fmt: skip


def _explain(filled: SimpleNamespace, scheduler: str, **further: object) -> Path:
    path: Path = filled.results.schedules / filled.name / f"{scheduler}.json"
    content = json.loads(path.read_text())
    content["explanation"] = explain(filled.problem, Schedule.read(path))
    path.write_text(json.dumps({**content, **further}))
    return path


def _page(filled: SimpleNamespace) -> tuple[str, Outline]:
    results = filled.results
    summarise([filled.workload], results.schedules, results.runs, results.summary)
    out = results.root / "summary.html"
    write_page(results.summary, out, results.schedules)
    text = out.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    return text, outline


def test_the_page_shows_every_segment_and_says_what_came_second(filled: SimpleNamespace) -> None:
    path = _explain(filled, "haxconn", alternatives=ALTERNATIVES)
    _explain(filled, "serial")
    text, outline = _page(filled)
    assert outline.loads == []
    tables = [i for i, (_, cells) in enumerate(outline.rows) if cells == list(HEADINGS)]
    assert len(tables) == 2
    # haxconn after serial, as in the table above
    shown = [cells for _, cells in outline.rows[tables[1] + 1 :]]
    segments = json.loads(path.read_text())["explanation"]["segments"]
    assert [cells[0].removesuffix(" *") for cells in shown] == [
        f"{s['instance']} {s['first']}-{s['last']}" if s["first"] < s["last"] else f"{s['instance']} {s['first']}"
        for s in segments
    ]
    for cells, segment in zip(shown, segments, strict=True):
        for heading, key in (("start", "start_ms"), ("alone", "standalone_ms"), ("end", "end_ms")):
            assert float(cells[HEADINGS.index(heading)]) == pytest.approx(segment[key], abs=6e-4)
    for sentence in sentences(json.loads(path.read_text())):
        assert sentence.replace("<b>", "&lt;b&gt;").replace("</b>", "&lt;/b&gt;") in text
    assert text.count("<details open>") == 1
    assert text.count("<details>") == 1


def test_a_page_without_explanations_has_no_heading_for_them(filled: SimpleNamespace) -> None:
    text, outline = _page(filled)
    assert "<details" not in text
    assert "Why they take this long" not in text
    assert list(HEADINGS) not in [cells for _, cells in outline.rows]


@pytest.mark.parametrize("scheduler", ["mensa", "whole", "streams", "naive"])
def test_absent_unplaced_and_unexplained_schedules_show_nothing(filled: SimpleNamespace, scheduler: str) -> None:
    assert read_explanation(filled.results.schedules / filled.name / f"{scheduler}.json") is None


@pytest.mark.parametrize(
    ("place", "broken", "message"),
    [
        (("explanation", "segments", 0, "in_ms"), "0.1", r"explanation\.segments\[0\]\.in_ms: '0\.1' is not"),
        (("explanation", "critical_chain"), [["alexnet", 0, 9]], r"critical_chain: \['alexnet', 0, 9\] is not among"),
        (("explanation", "accelerators", "ov"), {"busy_ms": 1.0}, r"explanation\.accelerators\.ov"),
        (("alternatives", "second", "status"), "proved", r"alternatives\.second"),
        (("alternatives", "one_more"), {}, r"alternatives\.one_more"),
        (("alternatives",), {}, "alternatives: 'time_limit_s' is a required property"),
    ],
)
def test_a_broken_explanation_names_the_key(
    filled: SimpleNamespace, place: tuple[str | int, ...], broken: object, message: str
) -> None:
    path = _explain(filled, "haxconn", alternatives=ALTERNATIVES)
    content = json.loads(path.read_text())
    *outer, last = place
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = broken
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"haxconn\.json: .*{message}"):
        read_explanation(path)
