"""The CSV tables of the pipeline: their columns, and reading and writing them with every row checked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from multidnn.errors import InputError
from multidnn.files import replacing

Kind = Literal["text", "index", "bool", "number", "signed"]


@dataclass(frozen=True)
class Column:
    """One column: its kind (index: integer >= 0, number: finite float >= 0, signed: finite float) and whether a cell may be empty."""

    kind: Kind
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """One table: its columns in file order and the columns that together name a row."""

    columns: Mapping[str, Column]
    key: Sequence[str]


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

Row = dict[str, Any]


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
        InputError: the file is missing, a column is missing or unknown, a cell does not fit its column, or two
            rows have the same key; the message names the file, the line and the column.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: not a readable CSV table: {str(error).strip()}") from None
    expected = list(schema.columns)
    missing = [name for name in expected if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in schema.columns]
    if missing or unknown:
        raise InputError(
            f"{path}:1: missing columns {missing}, unknown columns {unknown}; expected {','.join(expected)}"
        )
    rows: list[Row] = []
    seen: dict[tuple[Any, ...], int] = {}
    for line, record in enumerate(frame[expected].itertuples(index=False, name=None), start=2):
        row: Row = {
            name: _parse(cell.strip() if isinstance(cell, str) else "", column, f"{path}:{line}, column {name}")
            for (name, column), cell in zip(schema.columns.items(), record, strict=True)
        }
        key = tuple(row[name] for name in schema.key)
        if key in seen:
            raise InputError(f"{path}:{line}: repeats the row of line {seen[key]} for {', '.join(map(str, key))}")
        seen[key] = line
        rows.append(row)
    return rows


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
    frame = pd.DataFrame(
        [[_format(row.get(name)) for name in schema.columns] for row in rows], columns=list(schema.columns)
    )
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False)
