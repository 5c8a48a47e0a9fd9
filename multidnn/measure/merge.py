"""Joins the tables that were measured network by network into one, with what each one's sidecar says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json, write_json


def merge_tables(paths: Sequence[Path], schema: tables.Schema, out_csv: Path) -> None:
    """Write the rows of `paths`, in the order given, to `out_csv`, and their sidecars to the JSON beside it.

    The sidecar of the whole holds those of the parts under ``parts``, by the stem of each part, so that every row keeps
    the samples and the environment that it was measured with.

    Raises:
        InputError: a part is missing or broken, or two parts hold the same row; nothing is written.
    """
    rows: list[tables.Row] = []
    parts: dict[str, Any] = {}
    origin: dict[tuple[Any, ...], Path] = {}
    for path in map(Path, paths):
        for row in tables.read(path, schema):
            key = tuple(row[name] for name in schema.key)
            if key in origin:
                raise InputError(f"{path}: repeats the row {', '.join(map(str, key))} of {origin[key]}")
            origin[key] = path
            rows.append(row)
        parts[path.stem] = {
            key: value for key, value in read_json(path.with_suffix(".json")).items() if key != "format"
        }
    tables.write(out_csv, schema, rows)
    write_json(Path(out_csv).with_suffix(".json"), {"parts": parts})
