"""The summary page: self-contained, the recommended row marked, the same numbers as the table, nothing unescaped."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from multidnn import tables
from multidnn.errors import InputError
from multidnn.report.page import write_page
from multidnn.report.summary import summarise


class Outline(HTMLParser):
    """Collects the table rows as lists of cell texts, the class of each row, and every address the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, list[str]]] = []
        self.loads: list[str] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [str(given[key]) for key in ("src", "href") if key in given]
        if tag == "tr":
            self.rows.append((given.get("class") or "", []))
        if tag in ("td", "th"):
            self.rows[-1][1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][1][-1] += data


def page(filled: SimpleNamespace, *, runs: bool = True) -> tuple[str, Outline]:
    results = filled.results
    summarise([filled.workload], results.schedules, results.runs if runs else None, results.summary)
    out = results.root / "summary.html"
    write_page(results.summary, out)
    text = out.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    return text, outline


def test_page_is_self_contained(filled: SimpleNamespace) -> None:
    text, outline = page(filled)
    assert outline.loads == []
    assert not re.search(r"https?://|@import|url\(", text)
    assert 'name="viewport"' in text
    assert "@media print" in text


def test_one_row_is_marked_and_the_numbers_are_those_of_the_table(filled: SimpleNamespace) -> None:
    text, outline = page(filled)
    rows = {cells[0].removesuffix("recommended"): (style, cells) for style, cells in outline.rows[1:]}
    table = {row["scheduler"]: row for row in tables.read(filled.results.summary, tables.SUMMARY)}
    assert list(rows) == list(table)
    assert [name for name, (style, _) in rows.items() if style == "best"] == ["streams"]
    for name, (_, cells) in rows.items():
        assert float(cells[2]) == pytest.approx(table[name]["measured_median_ms"], rel=6e-4)
        assert float(cells[5]) == pytest.approx(table[name]["fps"], rel=6e-4)
    assert rows["streams"][1][1] == "–"
    assert rows["haxconn"][1][7] == f"+{table['haxconn']['gain_over_best_baseline_pct']:.1f} %"
    assert "streams (the instances at once on the whole chip) beats every placement" in text
    assert "mensa is absent: group 3 of googlenet is not supported" in text


def test_recorded_target_says_that_nothing_ran(filled: SimpleNamespace) -> None:
    text, outline = page(filled, runs=False)
    assert "nothing was run" in text
    assert all(style == "" for style, _ in outline.rows)
    assert all(len(cells) == 3 for _, cells in outline.rows)
    assert "measured" not in "".join(outline.rows[0][1])


def test_text_from_files_is_escaped(filled: SimpleNamespace) -> None:
    filled.results.write_absent(filled.name, "mensa", "<script>alert(1)</script>")
    text, _ = page(filled)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_unstable_row_is_marked(filled: SimpleNamespace) -> None:
    steady = [10.0, 10.1, 10.2, 10.3, 10.4]
    filled.results.write_run(filled.name, {**dict.fromkeys(filled.samples, steady), "naive": [9.0, 10, 11, 12, 13]})
    _, outline = page(filled)
    assert [cells[0] for _, cells in outline.rows if "unstable" in cells[0]] == ["naiveunstable"]


def test_wrong_outputs_stand_above_all_tables(filled: SimpleNamespace) -> None:
    text, _ = page(filled)
    assert 'role="alert"' not in text
    filled.results.write_run(filled.name, filled.samples, ok=False)
    text, outline = page(filled)
    assert text.index('role="alert"') < text.index("<table>")
    assert f"Wrong outputs: {filled.name}." in text
    assert [cells[0] for style, cells in outline.rows if style == "best"] == ["streamsfastest, outputs wrong"]


def test_sidecar_without_a_key_names_it(filled: SimpleNamespace) -> None:
    page(filled)
    path = filled.results.summary.with_suffix(".json")
    content = json.loads(path.read_text())
    del content["recommendations"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"summary\.json: key 'recommendations' is missing"):
        write_page(filled.results.summary, filled.results.root / "again.html")
