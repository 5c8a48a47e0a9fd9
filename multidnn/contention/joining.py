"""Joins the slowdown models of variants, splits of one chip, into the contention.json of the target that has them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multidnn.contention.fit import Grid
from multidnn.contention.model import write_model
from multidnn.errors import InputError
from multidnn.files import read_json

# what a file holds by accelerator beside the grids, as `characterise` writes it
_BY_ACCELERATOR = ("traffic_gb_s", "samples", "beside_traffic", "resolution")


def join_models(models: Mapping[str, Path], accelerators: Mapping[str, tuple[str, ...]], out_json: Path) -> None:
    """Write the grids of all variants to `out_json`, with the error over all their held-out co-runs.

    ``variants`` says whose accelerators are whose: grids of two variants say nothing of each other. What the files hold
    by accelerator is joined, everything else is under ``parts`` by variant.

    Args:
        models: variant to its contention.json, in order.
        accelerators: variant to its accelerators.
        out_json: the file to write.

    Raises:
        InputError: a file is broken or lacks a grid, or the variants were measured on different processors.
    """
    contents = {name: read_json(path) for name, path in models.items()}
    _require_one_processor(models, contents)
    grids: dict[str, Grid] = {}
    joined: dict[str, dict[str, Any]] = {key: {} for key in _BY_ACCELERATOR}
    for name, content in contents.items():
        for accelerator in accelerators[name]:
            grids[accelerator] = _grid(models[name], content, accelerator)
            for key, values in joined.items():
                if accelerator in content.get(key, {}):
                    values[accelerator] = content[key][accelerator]
    held_out = [row for name, content in contents.items() for row in _held_out(models[name], content)]
    kept = ("format", "accelerators", "held_out", *_BY_ACCELERATOR)
    write_model(
        out_json,
        grids,
        held_out,
        {
            "variants": {name: list(names) for name, names in accelerators.items()},
            **{key: values for key, values in joined.items() if values},
            "parts": {
                name: {key: value for key, value in content.items() if key not in kept}
                for name, content in contents.items()
            },
        },
    )


def _require_one_processor(models: Mapping[str, Path], contents: Mapping[str, Mapping[str, Any]]) -> None:
    seen: dict[Any, Path] = {}
    for name, content in contents.items():
        facts = (content.get("environment") or {}).get("target") or {}
        if "processor" in facts:
            seen.setdefault(facts["processor"], models[name])
    if len(seen) > 1:
        (processor, path), (other, elsewhere) = list(seen.items())[:2]
        raise InputError(
            f"{elsewhere}: measured on {other!r}, but {path} on {processor!r}; variants are splits of one chip, so measure "
            "them on one"
        )


def _grid(path: Path, content: Mapping[str, Any], accelerator: str) -> Grid:
    try:
        entry = content["accelerators"][accelerator]
        return Grid(tuple(entry["demand_gb_s"]), tuple(entry["external_gb_s"]), tuple(map(tuple, entry["slowdown"])))
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: accelerators: no grid for {accelerator!r}; delete the file to make it again"
        ) from None


def _held_out(path: Path, content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = content.get("held_out", [])
    for row in rows:
        if not all(isinstance(row.get(key), int | float) and row[key] > 0 for key in ("slowdown", "predicted")):
            raise InputError(
                f"{path}: held_out: a co-run has no slowdown or no prediction; delete the file to make it again"
            )
    return list(rows)
