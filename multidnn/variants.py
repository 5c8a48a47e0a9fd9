"""Targets that choose among others, splits of the same chip: what a configuration may say of them, and what it means."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from multidnn.config.places import KeyPath
from multidnn.errors import suggestion

AUTO = "auto"
# kinds whose sessions can hold several splits of a chip (`targets.base.Target.splits`)
KINDS = ("host", "cuda")
# where the accelerators of a target of each kind stand
ACCELERATORS = {"host": "accelerators", "cuda": "partitions"}
# what `partitions: auto` chooses from; shares, so that they fit any GPU of three units or more
DEFAULT_SPLITS: dict[str, dict[str, dict[str, Any]]] = {
    "quarter": {"quarter": {"sms": "25%"}, "three-quarters": {"sms": "rest"}},
    "half": {"half-a": {"sms": "50%"}, "half-b": {"sms": "rest"}},
    "thirds": {"third-a": {"sms": "33%"}, "third-b": {"sms": "33%"}, "third-c": {"sms": "rest"}},
}
# variants that differ in these are different chips, or not comparable
_SAME = {"host": (), "cuda": ("device", "batch", "large_clusters", "demand")}
_LISTS = ("networks", "workloads")


def variants_of(config: Mapping[str, Any], target: str) -> tuple[str, ...]:
    """Return the keys of `targets` that `target` chooses from, in order; empty for one with accelerators of its own."""
    entry = config["targets"][target]
    if entry["kind"] == "cuda" and entry.get("partitions") == AUTO:
        return tuple(derived_name(target, split) for split in entry.get("splits", DEFAULT_SPLITS))
    return tuple(entry.get("variants", ()))


def derived_name(target: str, split: str) -> str:
    """Return the key of the target that `partitions: auto` of `target` makes of one of its splits."""
    return f"{target}.{split}"


def choosing_targets(config: Mapping[str, Any]) -> list[str]:
    """Return the targets that have variants, in order."""
    return [target for target in config["targets"] if variants_of(config, target)]


def variant_targets(config: Mapping[str, Any]) -> list[str]:
    """Return the targets that are a variant of another one, each once."""
    return list(dict.fromkeys(name for target in choosing_targets(config) for name in variants_of(config, target)))


def session_spec(config: Mapping[str, Any], target: str) -> dict[str, Any]:
    """Return what a session on all variants of `target` is opened with: the first one's entry, with the accelerators of
    every variant under ``splits``."""
    entries = {name: config["targets"][name] for name in variants_of(config, target)}
    first = next(iter(entries.values()))
    key = ACCELERATORS[first["kind"]]
    shared = {name: value for name, value in first.items() if name not in (key, *_LISTS, "isolation")}
    return {**shared, "splits": {name: entry[key] for name, entry in entries.items()}}


def expand(config: dict[str, Any]) -> Iterable[tuple[KeyPath, str]]:
    """Add a target per split of every ``partitions: auto`` to `config`, before defaults are filled in.

    Yields:
        Mistakes: the place and what is wrong.
    """
    for target, entry in list(config["targets"].items()):
        path: KeyPath = ("targets", target)
        if entry["kind"] not in KINDS:
            continue
        own = ACCELERATORS[entry["kind"]]
        if own not in entry and "variants" not in entry:
            yield path, f"the key {own!r} is missing; a target has {own} or variants"
        if "variants" in entry:
            allowed = ("kind", "variants", *_LISTS)
            for key in entry:
                if key not in allowed:
                    found = (
                        f"found beside variants, which have their own; allowed beside them: {', '.join(allowed[2:])}"
                    )
                    yield (*path, key), found
        if entry["kind"] != "cuda":
            continue
        if entry.get("partitions") != AUTO:
            for key in ("splits", "precision"):
                if key in entry:
                    yield (*path, key), "found without `partitions: auto`; allowed only with it"
            continue
        yield from _expand_auto(config, target)


def _expand_auto(config: dict[str, Any], target: str) -> Iterable[tuple[KeyPath, str]]:
    entry = config["targets"][target]
    owners: dict[str, str] = {}
    for split, partitions in entry.get("splits", DEFAULT_SPLITS).items():
        for name in partitions:
            if name in owners:
                place = ("targets", target, "splits", split, name)
                yield place, f"split {owners[name]!r} has a partition {name!r} too; names must differ across splits"
            owners[name] = split
        # what is shared first, so that the listed keys win
        derived = {key: value for key, value in entry.items() if key not in ("splits", "precision", "isolation")}
        derived["partitions"] = {
            name: {"precision": entry.get("precision", "fp32"), **value} for name, value in partitions.items()
        }
        key = derived_name(target, split)
        # the configuration may have been through here before, with defaults filled in since
        known = config["targets"].get(key)
        if known is not None and any(known.get(name) != value for name, value in derived.items()):
            yield ("targets", key), f"the name {key!r} is that of split {split!r} of target {target!r}, choose another"
        config["targets"].setdefault(key, copy.deepcopy(derived))


def strip(config: dict[str, Any]) -> None:
    """Take from targets with ``variants`` the defaults that were filled in: their variants say these things."""
    for entry in config["targets"].values():
        if "variants" in entry:
            for key in [key for key in entry if key not in ("kind", "variants", *_LISTS)]:
                del entry[key]


def broken(config: Mapping[str, Any], target: str) -> Iterable[tuple[KeyPath, str]]:
    """Yield what is wrong with the variants that `target` names: the place and the message."""
    targets = config["targets"]
    kind = targets[target]["kind"]
    listed = variants_of(config, target)
    owners: dict[str, str] = {}
    for number, name in enumerate(listed):
        path = _place_of(config, target, number)
        if name not in targets:
            known = [key for key, entry in targets.items() if entry["kind"] == kind and key != target]
            said = f"{name!r} is not in `targets`, found there of kind {kind}: {', '.join(known) or 'none'}"
            yield path, said + suggestion(name, known)
            return
        entry = targets[name]
        if name == target:
            yield path, f"found {name!r}, the target itself; allowed: other targets of kind {kind}"
            return
        if entry["kind"] != kind:
            yield path, f"{name!r} is of kind {entry['kind']}, allowed: targets of kind {kind}, as {target!r} is"
            return
        if variants_of(config, name):
            yield path, f"{name!r} has variants itself, allowed: targets with {ACCELERATORS[kind]} of their own"
            return
        for key in _SAME[kind]:
            mine, first = entry[key], targets[listed[0]][key]
            if mine != first:
                yield (
                    path,
                    f"{name!r} has {key} {_shown(mine)}, {listed[0]!r} has {_shown(first)}; they must be the same",
                )
        for accelerator in entry[ACCELERATORS[kind]]:
            if accelerator in owners:
                yield (
                    path,
                    f"{owners[accelerator]!r} and {name!r} both have {accelerator!r} among their {ACCELERATORS[kind]}; "
                    "names must differ across variants",
                )
            owners[accelerator] = name


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _place_of(config: Mapping[str, Any], target: str, number: int) -> KeyPath:
    listed = "variants" in config["targets"][target]
    return ("targets", target, "variants", number) if listed else ("targets", target, "partitions")


def inherit(config: dict[str, Any]) -> Iterable[tuple[KeyPath, str]]:
    """Give variants the networks and workloads of the targets that choose from them.

    Yields:
        Mistakes: a variant that lists its own and lacks one that is needed.
    """
    needed: dict[str, dict[str, list[str]]] = {}
    for target in choosing_targets(config):
        entry = config["targets"][target]
        for number, name in enumerate(variants_of(config, target)):
            for key in _LISTS:
                wanted = list(entry.get(key, config[key]))
                own = config["targets"][name].get(key)
                if own is not None and (missing := [item for item in wanted if item not in own]):
                    yield (
                        _place_of(config, target, number),
                        f"{name!r} lists {key} of its own without {', '.join(missing)}, which {target!r} has; leave its "
                        "list out or add to it",
                    )
                if own is None:
                    known = needed.setdefault(name, {}).setdefault(key, [])
                    known += [item for item in wanted if item not in known]
    for name, lists in needed.items():
        config["targets"][name] |= lists
