"""Tables are read whole or not at all: a cut anywhere is an error with its line, and every usual way to write CSV is read."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multidnn import tables
from multidnn.errors import InputError

HEADER = "network,group,first_layer,last_layer,accelerator,supported,median_ms,mean_ms,std_ms,samples,reason\n"
LAYERS: list[tables.Row] = [
    {"network": "a", "group": 0, "accelerator": "x", "supported": True, "median_ms": 30.6592, "samples": 20},
    {"network": "a", "group": 0, "accelerator": "y", "supported": False, "reason": 'no "LRN", here'},
    {"network": "a", "group": 1, "accelerator": "x", "supported": True, "median_ms": 1.5, "mean_ms": 1.625},
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "layers.csv"
    tables.write(path, tables.LAYERS, LAYERS)
    return path


def same(rows: list[tables.Row], expected: list[tables.Row]) -> bool:
    return rows == [{name: row.get(name) for name in tables.LAYERS.columns} for row in expected]


# its empty last cell left out
LAST_LINE = "a,1,,,x,true,1.5,1.625,,,"


@pytest.mark.parametrize("kept", range(1, len(LAST_LINE)))
def test_cut_inside_a_line_is_refused_with_its_line(table: Path, kept: int) -> None:
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(lines[:-1]) + lines[-1][:kept], encoding="utf-8")
    with pytest.raises(InputError, match=r"layers.csv:4: found \d+ cells, expected 11 .*truncated"):
        tables.read(table, tables.LAYERS)


def test_cut_inside_quotes_is_refused(table: Path) -> None:
    text = table.read_text(encoding="utf-8")
    table.write_text(text[: text.index(", here")], encoding="utf-8")
    with pytest.raises(InputError, match=r"layers.csv:3: not a readable CSV table"):
        tables.read(table, tables.LAYERS)


@pytest.mark.parametrize("line", ["a,0,,,x,true,1", "a,0,,,x,true,1,,,,,,"])
def test_line_with_another_number_of_cells_is_refused(table: Path, line: str) -> None:
    table.write_text(HEADER + line + "\n" + "a,1,,,x,true,1,,,,\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"layers.csv:2: found {line.count(',') + 1} cells, expected 11"):
        tables.read(table, tables.LAYERS)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
        lambda text: "\N{ZERO WIDTH NO-BREAK SPACE}" + text,
        lambda text: text + "\n\n",
    ],
)
def test_tables_of_other_tools_are_read(table: Path, change: Callable[[str], str]) -> None:
    text = table.read_text(encoding="utf-8")
    table.write_bytes(change(text).encode())
    assert same(tables.read(table, tables.LAYERS), LAYERS)


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "whole.csv"
    path.write_text("samples,std_ms,mean_ms,median_ms,network\n3,,,2.5,a\n", encoding="utf-8")
    assert tables.read(path, tables.WHOLE)[0]["median_ms"] == 2.5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,0,,,x,true,,,,,", "supported is true but median_ms is empty"),
        ("a,0,,,x,false,1.5,,,3,why", "supported is false but median_ms is 1.5, expected empty"),
        ("a,0,,,x,false,,,,,", "supported is false but reason is empty"),
        ("a,0,,,x,perhaps,,,,,", "column supported: found 'perhaps', expected true or false"),
        ("a,0,,,x,true,-1,,,,", "column median_ms: found -1"),
        ("a,0,,,x,true,nan,,,,", "column median_ms: found nan"),
        ("a,0.5,,,x,true,1,,,,", "column group: found 0.5, expected a whole number"),
    ],
)
def test_row_that_says_nothing_or_two_things_is_refused(table: Path, line: str, message: str) -> None:
    table.write_text(HEADER + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"layers.csv:2\b.*{re.escape(message)}"):
        tables.read(table, tables.LAYERS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("network,median\n", r":1: missing columns \['median_ms', .* unknown columns \['median'\]"),
        ("network,median_ms,mean_ms,std_ms,samples,samples\n", ":1: a column is there twice"),
        ("network,median_ms,mean_ms,std_ms,samples\na,1,,,\na,2,,,\n", ":3: repeats the row of line 2 for a"),
    ],
)
def test_table_that_is_another(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "whole.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"whole.csv.*{message}"):
        tables.read(path, tables.WHOLE)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).map(str.strip).filter(bool)


@given(st.dictionaries(TEXT, st.floats(1e-3, 1e6), max_size=5))
def test_written_tables_are_read_back_and_are_plain_csv(
    tmp_path_factory: pytest.TempPathFactory, times: dict[str, float]
) -> None:
    path = tmp_path_factory.mktemp("tables") / "whole.csv"
    tables.write(path, tables.WHOLE, [{"network": name, "median_ms": time} for name, time in times.items()])
    rows = tables.read(path, tables.WHOLE)
    assert [row["network"] for row in rows] == list(times)
    assert [row["median_ms"] for row in rows] == pytest.approx(list(times.values()), rel=1e-5)
    plain = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    assert [row["network"] for row in plain] == list(times)


def test_a_table_as_a_data_frame(tmp_path: Path) -> None:
    path = tmp_path / "whole.csv"
    rows = [{"network": "a", "median_ms": 2.0, "samples": 3}, {"network": "b", "median_ms": 4.0}]
    tables.write(path, tables.WHOLE, rows)
    frame = tables.frame(path, tables.WHOLE)
    assert list(frame.columns) == list(tables.WHOLE.columns)
    assert frame.set_index("network")["median_ms"].to_dict() == {"a": 2.0, "b": 4.0}
    assert frame["samples"].isna().tolist() == [False, True]
