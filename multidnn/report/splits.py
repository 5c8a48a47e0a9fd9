"""What the report says of a target that chooses among splits of its chip: which accelerators are whose, and what it gains."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.report.records import UNPLACED, ScheduleRecord, signed

# the one split of a target without variants
WHOLE_TABLE = ""


def splits_of(file: Path, accelerators: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the accelerators by split, as a joined sidecar or contention.json lists them under ``variants``.

    A file that is not there or lists none gives one split, `WHOLE_TABLE`, with all `accelerators`.

    Raises:
        InputError: the lists are not those of `accelerators`.
    """
    variants = read_json(file).get("variants") if Path(file).is_file() else None
    if not variants:
        return {WHOLE_TABLE: tuple(accelerators)}
    listed = [name for names in variants.values() for name in names]
    if sorted(listed) != sorted(accelerators):
        raise InputError(
            f"{file}: variants: found the accelerators {', '.join(map(str, listed))}, expected those of the table, "
            f"{', '.join(accelerators)}; delete the file to make it again"
        )
    return {name: tuple(names) for name, names in variants.items()}


def short(variant: str, target: str | None) -> str:
    """Return the name of a variant without that of its target: ``half`` for ``cuda-auto.half``."""
    return variant.removeprefix(f"{target}.") or variant


def chosen_splits(schedules: Mapping[str, ScheduleRecord], splits: Collection[str]) -> dict[str, str]:
    """Return which of `splits`, the variants of a target, each placed schedule uses; empty without variants."""
    return {
        name: record.target
        for name, record in schedules.items()
        if record.placement is not None and record.target in splits
    }


def gain_over_streams(medians: Mapping[str, float], splits: Mapping[str, str]) -> dict[str, float] | None:
    """Return what the gain of haxconn over streams consists of, in percent: 100 (slower / faster - 1) of medians (ms).

    ``split_pct`` is what the best split without transitions gives (naive over streams), ``transitions_pct`` what haxconn
    gives over that; as factors they multiply to ``total_pct``. None where one of the three was not measured, or there
    are no splits.
    """
    if not splits or not {"streams", "naive", "haxconn"} <= set(medians):
        return None
    streams, naive, haxconn = (medians[name] for name in ("streams", "naive", "haxconn"))
    return {
        "split_pct": 100 * (streams / naive - 1),
        "transitions_pct": 100 * (naive / haxconn - 1),
        "total_pct": 100 * (streams / haxconn - 1),
    }


def gain_sentence(gain: Mapping[str, float], splits: Mapping[str, str], target: str | None, fastest: str) -> str:
    """Say in words what `gain_over_streams` found; `fastest` is the recommended scheduler."""
    on = {name: short(splits[name], target) for name in ("naive", "haxconn")}
    text = (
        f"Against streams the split gives {signed(gain['split_pct'])} % (naive, on {on['naive']}) and transitions "
        f"{signed(gain['transitions_pct'])} % (haxconn over naive, on {on['haxconn']}), together "
        f"{signed(gain['total_pct'])} %."
    )
    if fastest in UNPLACED:
        text += f" No split is faster than the chip used whole here: {fastest} is recommended."
    return text


def listed(environment: Mapping[str, Any], target: str | None) -> dict[str, list[str]]:
    """Return the accelerators of each split, by its short name, from what a summary knows of its target."""
    splits = (environment.get("target") or {}).get("splits") or {}
    return {short(name, target): list(accelerators) for name, accelerators in splits.items()}
