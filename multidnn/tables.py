"""The CSV tables of the pipeline: their columns, and reading and writing them with every row checked."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multidnn.errors import InputError
from multidnn.files import replacing

if TYPE_CHECKING:
    import pandas

Kind = Literal["text", "index", "bool", "number", "signed"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column: its kind (index: integer >= 0, number: finite float >= 0, signed: finite float) and whether a cell may be empty."""

    kind: Kind
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """One table: its columns in file order, the columns that together name a row, and what else a row must satisfy.

    `check` returns what is wrong with a row whose cells all fit their columns, or None.
    """

    columns: Mapping[str, Column]
    key: Sequence[str]
    check: Callable[[Row], str | None] = lambda row: None


def _check_layer(row: Row) -> str | None:
    if row["supported"]:
        return "supported is true but median_ms is empty" if row["median_ms"] is None else None
    for name in ("median_ms", "mean_ms", "std_ms", "samples"):
        if row[name] is not None:
            return f"supported is false but {name} is {row[name]:g}, expected empty"
    return "supported is false but reason is empty" if row["reason"] is None else None


LAYERS = Schema(
    {
        "network": Column("text"),
        "group": Column("index"),
        # recorded tables name groups whose layers were never published
        "first_layer": Column("index", optional=True),
        "last_layer": Column("index", optional=True),
        "accelerator": Column("text"),
        "supported": Column("bool"),
        "median_ms": Column("number", optional=True),
        "mean_ms": Column("number", optional=True),
        "std_ms": Column("number", optional=True),
        "samples": Column("index", optional=True),
        "reason": Column("text", optional=True),
    },
    key=("network", "group", "accelerator"),
    check=_check_layer,
)
TRANSITIONS = Schema(
    {
        "network": Column("text"),
        "after_group": Column("index"),
        "source": Column("text"),
        "destination": Column("text"),
        "out_ms": Column("number"),
        "in_ms": Column("number"),
        "bytes": Column("index", optional=True),
    },
    key=("network", "after_group", "source", "destination"),
)
EMC = Schema(
    {
        "name": Column("text"),
        "group": Column("index", optional=True),
        "accelerator": Column("text"),
        "demand_gb_s": Column("number", optional=True),
        "utilization_pct": Column("number", optional=True),
        "method": Column("text", optional=True),
    },
    key=("name", "group", "accelerator"),
)
WHOLE = Schema(
    {
        "network": Column("text"),
        "median_ms": Column("number"),
        "mean_ms": Column("number", optional=True),
        "std_ms": Column("number", optional=True),
        "samples": Column("index", optional=True),
    },
    key=("network",),
)
SUMMARY = Schema(
    {
        "workload": Column("text"),
        "scheduler": Column("text"),
        "predicted_ms": Column("number", optional=True),
        "measured_median_ms": Column("number", optional=True),
        "measured_p95_ms": Column("number", optional=True),
        "fps": Column("number", optional=True),
        "gain_over_best_baseline_pct": Column("signed", optional=True),
        "recommended": Column("bool"),
    },
    key=("workload", "scheduler"),
)


def _parse(text: str, column: Column, place: str) -> Any:
    if text == "":
        if column.optional:
            return None
        raise InputError(f"{place}: the cell is empty, expected a {column.kind}")
    if column.kind == "text":
        return text
    if column.kind == "bool":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise InputError(f"{place}: found {text!r}, expected true or false")
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{place}: found {text!r}, expected a {column.kind}") from None
    if column.kind == "signed" and math.isfinite(number):
        return number
    if not math.isfinite(number) or number < 0:
        raise InputError(f"{place}: found {text}, expected a finite number that is not negative")
    if column.kind == "number":
        return number
    if number != int(number):
        raise InputError(f"{place}: found {text}, expected a whole number")
    return int(number)


def read(path: Path, schema: Schema) -> list[Row]:
    """Return the rows of the CSV at `path`, typed by `schema`, empty cells as None.

    Raises:
        InputError: the file is missing, a column is missing or unknown, a line has not one cell per column (as the last
            one of a truncated file), a cell does not fit its column, or two rows have the same key; the message names
            the file, the line and the column.
    """
    lines = _lines(path)
    if not lines:
        raise InputError(f"{path}: the table is empty, expected the columns {','.join(schema.columns)}")
    _, header = lines[0]
    missing = [name for name in schema.columns if name not in header]
    unknown = [name for name in header if name not in schema.columns]
    if missing or unknown:
        raise InputError(
            f"{path}:1: missing columns {missing}, unknown columns {unknown}; expected {','.join(schema.columns)}"
        )
    if len(set(header)) < len(header):
        raise InputError(f"{path}:1: a column is there twice, expected {','.join(schema.columns)}")
    rows: list[Row] = []
    seen: dict[tuple[Any, ...], int] = {}
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            why = "; the table is truncated" if line == lines[-1][0] and len(cells) < len(header) else ""
            raise InputError(f"{path}:{line}: found {len(cells)} cells, expected {len(header)} as in the header{why}")
        texts = dict(zip(header, cells, strict=True))
        row: Row = {
            name: _parse(texts[name].strip(), column, f"{path}:{line}, column {name}")
            for name, column in schema.columns.items()
        }
        if wrong := schema.check(row):
            raise InputError(f"{path}:{line}: {wrong}")
        key = tuple(row[name] for name in schema.key)
        if key in seen:
            raise InputError(f"{path}:{line}: repeats the row of line {seen[key]} for {', '.join(map(str, key))}")
        seen[key] = line
        rows.append(row)
    return rows


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return line number and cells of every line of the CSV at `path` that is not blank.

    A last line without a line break passes if it has all its cells: `write` always ends with one, but a table written
    by hand may not, and a cut inside the very last cell cannot be told from that.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            try:
                return [(reader.line_num, cells) for cells in reader if cells]
            except csv.Error as error:
                raise InputError(f"{path}:{reader.line_num}: not a readable CSV table: {error}") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: not a readable CSV table: {error}") from None


def _format(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def write(path: Path, schema: Schema, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` to `path` atomically, in the column order of `schema`; a missing key is an empty cell."""
    unknown = {key for row in rows for key in row} - set(schema.columns)
    if unknown:
        raise ValueError(f"columns {sorted(unknown)} are not in the schema")
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(schema.columns)
        writer.writerows([_format(row.get(name)) for name in schema.columns] for row in rows)


def frame(path: Path, schema: Schema) -> "pandas.DataFrame":
    """Return the CSV at `path` as a DataFrame with the columns of `schema`, checked as by `read`; empty cells are NA."""
    # a second of start-up that only who asks for a DataFrame should pay
    import pandas

    kinds = {"text": "string", "index": "Int64", "bool": "boolean", "number": "Float64", "signed": "Float64"}
    types = {name: kinds[column.kind] for name, column in schema.columns.items()}
    return pandas.DataFrame(read(path, schema), columns=list(schema.columns)).astype(types)
