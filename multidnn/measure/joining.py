"""Joins the tables of variants, splits of one chip that were measured apart, into those of the target that has them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json, write_json, write_text
from multidnn.measure.emc import figure_3

LAYERS, TRANSITIONS, EMC = "layer_results.csv", "transition_results.csv", "emc_results.csv"

Group = tuple[str, int, int | None, int | None]


def join_tables(variants: Mapping[str, Path], out: Path) -> dict[str, tuple[str, ...]]:
    """Write the layer, transition and EMC tables of `variants`, one after another, and their sidecars to `out`.

    A sidecar holds those of the variants under ``parts`` and, under ``variants``, the accelerators of each. There are no
    transitions between variants. Utilisation becomes a percentage of the largest of the variants' peaks, as it is one
    chip; emc_results.yaml is that of the first accelerator.

    Args:
        variants: name to the directory of its tables, in order.
        out: the directory to write to.

    Returns:
        The accelerators of each variant.

    Raises:
        InputError: a table is missing or broken, two variants have an accelerator of the same name, or networks are cut
            into different groups; nothing is written then.
    """
    layers = {name: tables.read(path / LAYERS, tables.LAYERS) for name, path in variants.items()}
    transitions = {name: tables.read(path / TRANSITIONS, tables.TRANSITIONS) for name, path in variants.items()}
    emc = {name: tables.read(path / EMC, tables.EMC) for name, path in variants.items()}
    accelerators = {name: tuple(dict.fromkeys(row["accelerator"] for row in rows)) for name, rows in layers.items()}
    _require_different_names(variants, accelerators)
    _require_same_groups(variants, layers)
    peaks = {name: _peak(path / EMC) for name, path in variants.items()}
    highest = max(peaks, key=lambda name: peaks[name])
    demands = [
        {**row, "utilization_pct": _scaled(row["utilization_pct"], peaks[name] / peaks[highest])}
        for name, rows in emc.items()
        for row in rows
    ]
    sidecars: dict[str, dict[str, Any]] = {
        table: {
            "variants": {name: list(names) for name, names in accelerators.items()},
            "parts": {name: _content((path / table).with_suffix(".json")) for name, path in variants.items()},
        }
        for table in (LAYERS, TRANSITIONS, EMC)
    }
    sidecars[EMC] |= {"peak_gb_s": peaks[highest], "peak_from": _peak_from(sidecars[EMC]["parts"][highest], highest)}
    first = next(iter(accelerators.values()))[0]
    tables.write(out / LAYERS, tables.LAYERS, [row for rows in layers.values() for row in rows])
    tables.write(out / TRANSITIONS, tables.TRANSITIONS, [row for rows in transitions.values() for row in rows])
    tables.write(out / EMC, tables.EMC, demands)
    write_text(out / "emc_results.yaml", yaml.safe_dump(figure_3(demands, first), sort_keys=True))
    for table, content in sidecars.items():
        write_json((out / table).with_suffix(".json"), content)
    return accelerators


def _require_different_names(variants: Mapping[str, Path], accelerators: Mapping[str, tuple[str, ...]]) -> None:
    owners: dict[str, str] = {}
    for name, names in accelerators.items():
        for accelerator in names:
            if accelerator in owners:
                raise InputError(
                    f"{variants[name] / LAYERS}: accelerator {accelerator!r} is in {variants[owners[accelerator]] / LAYERS} "
                    "too; variants need accelerators with names of their own"
                )
            owners[accelerator] = name


def _require_same_groups(variants: Mapping[str, Path], layers: Mapping[str, list[tables.Row]]) -> None:
    groups: dict[str, set[Group]] = {
        name: {(row["network"], row["group"], row["first_layer"], row["last_layer"]) for row in rows}
        for name, rows in layers.items()
    }
    first = next(iter(groups))
    for name, found in groups.items():
        if different := found ^ groups[first]:
            network, group, begin, end = min(different, key=lambda entry: entry[:2])
            where = name if different & found and (network, group, begin, end) in found else first
            lacks = first if where == name else name
            raise InputError(
                f"{variants[lacks] / LAYERS}: network {network!r} has no group {group} of layers {begin} to {end}, which "
                f"{variants[where] / LAYERS} has; variants need the same networks and groups, so make both tables again"
            )


def _peak(table: Path) -> float:
    path = table.with_suffix(".json")
    peak = read_json(path).get("peak_gb_s")
    if not isinstance(peak, int | float) or not peak > 0:
        raise InputError(f"{path}: peak_gb_s: found {peak!r}, expected a number above 0")
    return float(peak)


def _peak_from(sidecar: Mapping[str, Any], variant: str) -> str:
    source = sidecar.get("peak_from")
    return f"the largest of the variants' peaks, that of {variant}" + (f": {source}" if source else "")


def _scaled(percent: float | None, factor: float) -> float | None:
    return None if percent is None else percent * factor


def _content(sidecar: Path) -> dict[str, Any]:
    return {key: value for key, value in read_json(sidecar).items() if key != "format"}
