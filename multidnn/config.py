"""The configuration: checked against its schema and its own references, with one clear message per mistake."""

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from multidnn.errors import InputError, suggestion
from multidnn.files import read_yaml
from multidnn.variants import broken, expand, inherit, session_spec, strip, variants_of

SCHEMA = Path("schemas") / "config.schema.yaml"
COMMAND_LINE = "--config"
# results/networks/convolution holds the characterisation layers
RESERVED_NETWORKS = ("convolution",)
# results/networks holds the networks of all targets
RESERVED_TARGETS = ("networks",)
# what opens sessions (`targets.base.Session`), which the same jobs measure and run on
SESSION_KINDS = ("host", "cuda")
# these use the chip whole: a GPU and a DLA cannot be joined, and tables recorded elsewhere say nothing about it
WHOLE_CHIP = ("whole", "streams")
WHOLE_CHIP_KINDS = SESSION_KINDS
# what has a machine behind it that runs schedules
RUNNING_KINDS = (*SESSION_KINDS, "jetson")
# what can take up a better schedule while it runs
DYNAMIC_KINDS = SESSION_KINDS
# what of a board's entry changes the numbers of each kind of job
_BOARD = ("kind", "board", "power_mode")
_ENGINES = (*_BOARD, "precision", "gpu_only", "workspace_mb")
BOARD_KEYS = {
    "board": (*_BOARD, "accelerators", "emc", "memory_bus_bytes"),
    "models": (*_BOARD, "precision"),
    "engines": (*_ENGINES, "accelerators"),
    "profile": (*_ENGINES, "accelerators", "profiler"),
    "emc": (*_BOARD, "accelerators", "precision", "emc", "emc_settle_s", "emc_window_s", "memory_bus_bytes"),
    "contention": (*_BOARD, "accelerators", "precision"),
    "segments": (*_ENGINES, "accelerators", "mode"),
    "run": (*_BOARD, "accelerators", "precision", "mode", "energy_s", "emc"),
}

KeyPath = tuple[str | int, ...]


def validate(config: Mapping[str, Any], root: Path, files: Sequence[Path] = ()) -> dict[str, Any]:
    """Return a copy of `config` with every default filled in.

    Args:
        config: the merged configuration.
        root: the repository, where the schema lies.
        files: the files it was merged from, the winning one first; messages name the file and line of a mistake.

    Raises:
        InputError: the first mistake, as ``file:line: key: what was found, what is allowed``.
    """
    schema = read_yaml(Path(root) / SCHEMA)
    checked = copy.deepcopy(dict(config))
    error = _first_schema_error(checked, schema)
    if error is not None:
        path, message = error
        raise InputError(_place(checked, path, files) + message)
    for path, message in expand(checked):
        raise InputError(_place(checked, path, files) + message)
    _fill_defaults(checked, schema, schema)
    strip(checked)
    for path, message in itertools.chain(_broken_references(checked), inherit(checked)):
        raise InputError(_place(checked, path, files) + message)
    for name in checked["workloads"]:
        _workload(workload_dict(checked, name), _place(checked, ("workloads", name), files))
    for name in checked["dynamic"]["workloads"]:
        _workload(dynamic_dict(checked, name), _place(checked, ("dynamic", "workloads", name), files))
    return checked


def workload_dict(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The list form (that of a workload file) of ``workloads: name`` in a validated configuration."""
    entry = config["workloads"][name]
    return {"name": name, "objective": entry["objective"], "instances": _listed(entry["instances"])}


def dynamic_dict(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The list form of a workload of ``dynamic: workloads``, with the instances that join it behind its own."""
    own = workload_dict(config, name)
    return {**own, "instances": [*own["instances"], *_listed(config["dynamic"]["workloads"][name]["join"])]}


def _listed(instances: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "network": spec["network"], "after": list(spec["after"])} for name, spec in instances.items()
    ]


def dynamic_workloads(config: Mapping[str, Any], target: str) -> list[str]:
    """Workloads that run on `target` while they are being solved, in order."""
    # what runs cannot change its split
    if config["targets"][target]["kind"] not in DYNAMIC_KINDS or variants_of(config, target):
        return []
    return [name for name in config["dynamic"]["workloads"] if name in target_workloads(config, target)]


def target_workloads(config: Mapping[str, Any], target: str) -> list[str]:
    """Workloads of `target`, in order."""
    return list(config["targets"][target].get("workloads", config["workloads"]))


def isolation_cases(config: Mapping[str, Any], target: str) -> dict[str, Any]:
    """What of `target` is measured for isolation, by name."""
    return dict(config["targets"][target].get("isolation", {}))


def isolation_networks(case: Mapping[str, Any]) -> list[str]:
    """Networks of an entry of `isolation`, the protected one first."""
    beside = (network for listed in case["beside"].values() for network in listed)
    return list(dict.fromkeys([case["protected"]["network"], *beside]))


def target_networks(config: Mapping[str, Any], target: str) -> list[str]:
    """Networks that are profiled on `target`, in order."""
    return list(config["targets"][target].get("networks", config["networks"]))


def target_spec(config: Mapping[str, Any], target: str) -> dict[str, Any]:
    """What says how `target` measures: its entry without the lists of what to measure, which change no number.

    For one that chooses among variants, what a session on all of them is opened with (`variants.session_spec`).
    """
    if variants_of(config, target):
        return session_spec(config, target)
    lists = ("networks", "workloads", "isolation")
    return {key: value for key, value in config["targets"][target].items() if key not in lists}


def board_spec(config: Mapping[str, Any], target: str, job: str) -> dict[str, Any]:
    """What of the entry of a `jetson` target changes the numbers of `job`, a key of `BOARD_KEYS`."""
    return {key: config["targets"][target][key] for key in BOARD_KEYS[job]}


def targets_of_kind(config: Mapping[str, Any], kind: str) -> list[str]:
    """Keys of `targets` that are of `kind`."""
    return [name for name, spec in config["targets"].items() if spec["kind"] == kind]


def schedulers_of_kind(config: Mapping[str, Any], kind: str) -> list[str]:
    """Schedulers that are compared for every workload on targets of `kind`, in order."""
    wanted = list(config["schedule"]["schedulers"])
    return wanted if kind in WHOLE_CHIP_KINDS else [name for name in wanted if name not in WHOLE_CHIP]


def artifact_workloads(config: Mapping[str, Any]) -> list[str]:
    """Workloads that the paper's artifact answers, so that a recorded target shows its answer too."""
    from multidnn.targets.recorded import artifact_answers

    return [name for name in config["workloads"] if artifact_answers(workload_dict(config, name))]


def workload_schedulers(config: Mapping[str, Any], target: str, workload: str) -> list[str]:
    """Schedulers that are compared for `workload` on `target`, in order."""
    kind = config["targets"][target]["kind"]
    extra = ["artifact"] if kind == "recorded" and workload in artifact_workloads(config) else []
    return schedulers_of_kind(config, kind) + extra


def group_options(config: Mapping[str, Any], network: str) -> dict[str, Any]:
    """``{"count": int or None, "starts": list or None}`` of `network`; None leaves the choice to the networks part."""
    own = config["groups"]["networks"].get(network, {})
    return {"count": own.get("count", config["groups"].get("count")), "starts": own.get("starts")}


def _workload(listed: Mapping[str, Any], place: str) -> None:
    from multidnn.schedule.workload import Workload

    Workload.from_dict(listed, place.rstrip(": "))


def _first_schema_error(config: Any, schema: Mapping[str, Any]) -> tuple[KeyPath, str] | None:
    from jsonschema import Draft202012Validator

    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=lambda error: len(error.absolute_path))
    return _explain(errors[0]) if errors else None


def _explain(error: Any) -> tuple[KeyPath, str]:
    """The key path of a jsonschema error, and what it says in the words of the schema's title where it has one."""
    path: KeyPath = tuple(error.absolute_path)
    found, rule, value = error.instance, error.validator, error.validator_value
    if rule == "additionalProperties":
        allowed = list(error.schema["properties"])
        key = next(key for key in found if key not in allowed)
        return (*path, key), f"unknown key, allowed: {', '.join(allowed)}{suggestion(str(key), allowed)}"
    if rule == "required":
        key = next(key for key in value if key not in found)
        return path, f"the key {key!r} is missing"
    if "propertyNames" in error.absolute_schema_path:
        title = error.schema.get("title", "a name")
        return (*path, found), f"found the name {found!r}, allowed: {title}; put a number in quotes"
    if rule in ("enum", "const"):
        allowed = [str(entry) for entry in (value if rule == "enum" else [value])]
        return path, f"found {found!r}, allowed: {', '.join(allowed)}{suggestion(str(found), allowed)}"
    if "title" in error.schema and rule in ("anyOf", "pattern", "type"):
        return path, f"found {found!r}, allowed: {error.schema['title']}"
    bounds = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}
    if rule in bounds:
        return path, f"found {found!r}, allowed: {bounds[rule]} {value}"
    if rule == "type":
        kinds = {
            "object": "a mapping of keys to values",
            "array": "a list",
            "string": "text",
            "integer": "a whole number",
        }
        shown = "nothing" if found is None else repr(found)
        return path, f"found {shown}, allowed: {kinds.get(value, f'a {value}')}"
    if rule in ("minItems", "minProperties"):
        return path, "found nothing in it, at least one entry is needed"
    if rule == "uniqueItems":
        repeated = next(entry for i, entry in enumerate(found) if entry in found[:i])
        return path, f"{repeated!r} is listed twice"
    return path, str(error.message)


def _fill_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    """Put the defaults of `schema` into `value`, at every level, following what applies to it."""
    if "$ref" in schema:
        _fill_defaults(value, _resolve(schema["$ref"], root), root)
    for branch in schema.get("allOf", ()):
        kind = branch["if"]["properties"]["kind"]["const"]
        if isinstance(value, dict) and value.get("kind") == kind:
            _fill_defaults(value, branch["then"], root)
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    for key, sub in known.items():
        if "default" in sub:
            value.setdefault(key, copy.deepcopy(sub["default"]))
    for key, entry in value.items():
        sub = known.get(key, schema.get("additionalProperties"))
        if isinstance(sub, Mapping):
            _fill_defaults(entry, sub, root)


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    resolved: Any = root
    for part in reference.removeprefix("#/").split("/"):
        resolved = resolved[part]
    return dict(resolved)


def _broken_references(config: Mapping[str, Any]) -> Iterable[tuple[KeyPath, str]]:
    """Names that point at nothing, files that do not exist, and limits that contradict each other."""
    networks, workloads, targets = config["networks"], config["workloads"], config["targets"]
    yield from _unknown(("target",), config["target"], targets, "targets")
    for name, file in networks.items():
        if name in RESERVED_NETWORKS:
            yield ("networks", name), f"the name {name!r} is reserved for the characterisation layers, choose another"
        if not Path(file).is_file():
            yield ("networks", name), f"found {file!r}, no such file"
    for name, entry in config["groups"]["networks"].items():
        yield from _unknown(("groups", "networks", name), name, networks, "networks")
        if entry.get("starts", [0])[0] != 0 or sorted(entry.get("starts", [])) != entry.get("starts", []):
            yield (
                ("groups", "networks", name, "starts"),
                f"found {entry['starts']}, allowed: ascending, starting with 0",
            )
    for name, entry in workloads.items():
        for instance, spec in entry["instances"].items():
            path = ("workloads", name, "instances", instance, "network")
            yield from _unknown(path, spec["network"], networks, "networks")
    joining = {name: entry["join"] for name, entry in config["dynamic"]["workloads"].items()}
    for name, join in joining.items():
        yield from _unknown(("dynamic", "workloads", name), name, workloads, "workloads")
        for instance, spec in join.items():
            place = ("dynamic", "workloads", name, "join", instance, "network")
            yield from _unknown(place, spec["network"], networks, "networks")
    for target, spec in targets.items():
        if target in RESERVED_TARGETS:
            yield ("targets", target), f"the name {target!r} is reserved, as results/{target} holds all networks"
        for i, name in enumerate(spec.get("networks", ())):
            yield from _unknown(("targets", target, "networks", i), name, networks, "networks")
        for i, name in enumerate(spec.get("workloads", ())):
            yield from _unknown(("targets", target, "workloads", i), name, workloads, "workloads")
        if spec["kind"] == "jetson":
            yield from _broken_board(("targets", target), spec, networks)
        if spec["kind"] == "cuda":
            for where, partitions in _splits(("targets", target), spec):
                yield from _broken_partitions(where, partitions)
        yield from broken(config, target)
        profiled = target_networks(config, target)
        for name in target_workloads(config, target):
            joins = joining[name] if name in dynamic_workloads(config, target) else {}
            for instance in (*workloads[name]["instances"].values(), *joins.values()):
                if instance["network"] not in profiled:
                    message = f"workload {name!r} needs network {instance['network']!r}, found: {', '.join(profiled)}"
                    yield ("targets", target, "networks"), message
        for name in isolation_cases(config, target):
            yield from _broken_isolation(config, target, name)
    for section, low, high in (("measure", "min_samples", "max_samples"), ("run", "min_iterations", "max_iterations")):
        if config[section][low] > config[section][high]:
            yield (
                (section, high),
                f"found {config[section][high]}, allowed: at least {low}, which is {config[section][low]}",
            )


def _broken_board(path: KeyPath, spec: Mapping[str, Any], networks: Mapping[str, str]) -> Iterable[tuple[KeyPath, str]]:
    """What contradicts itself in the entry of a `jetson` target."""
    if "gpu" not in spec["accelerators"]:
        message = f"found {spec['accelerators']}, allowed: a list with gpu in it, which runs what a DLA does not take"
        yield (*path, "accelerators"), message
    if spec["precision"] == "fp32" and spec["accelerators"] != ["gpu"]:
        yield (*path, "precision"), "found fp32, allowed with a DLA: fp16, int8, which are what a DLA computes in"
    for name, file in spec["calibration"].items():
        yield from _unknown((*path, "calibration", name), name, networks, "networks")
        if not Path(file).is_file():
            yield (*path, "calibration", name), f"found {file!r}, no such file"
    if spec["calibration"] and spec["precision"] != "int8":
        yield (*path, "calibration"), f"found with precision {spec['precision']}, allowed: only with precision int8"


def _broken_isolation(config: Mapping[str, Any], target: str, name: str) -> Iterable[tuple[KeyPath, str]]:
    """What contradicts itself or points at nothing in an entry of `isolation`."""
    spec, path = config["targets"][target], ("targets", target, "isolation", name)
    case = spec["isolation"][name]
    if variants_of(config, target):
        listed = ", ".join(variants_of(config, target))
        yield path, f"target {target!r} has variants and no accelerators of its own, allowed: under one of {listed}"
        return
    accelerators = list(spec["partitions" if spec["kind"] == "cuda" else "accelerators"])
    profiled, known = target_networks(config, target), f"networks of {target}"
    own = case["protected"]["accelerator"]
    yield from _unknown((*path, "protected", "network"), case["protected"]["network"], profiled, known)
    yield from _unknown((*path, "protected", "accelerator"), own, accelerators, f"accelerators of {target}")
    for accelerator, networks in case["beside"].items():
        place = (*path, "beside", accelerator)
        yield from _unknown(place, accelerator, accelerators, f"accelerators of {target}")
        if accelerator == own:
            others = ", ".join(other for other in accelerators if other != own) or "none, as the target has no other"
            yield place, f"found {own!r}, which is the protected network's own, allowed: {others}"
        for number, network in enumerate(networks):
            yield from _unknown((*place, number), network, profiled, known)


def _splits(path: KeyPath, spec: Mapping[str, Any]) -> Iterable[tuple[KeyPath, Mapping[str, Any]]]:
    """Each split of a `cuda` target that it lists itself, and its place."""
    if isinstance(spec.get("partitions"), Mapping):
        yield (*path, "partitions"), spec["partitions"]
    for name, partitions in spec.get("splits", {}).items():
        yield (*path, "splits", name), partitions


def _broken_partitions(path: KeyPath, partitions: Mapping[str, Any]) -> Iterable[tuple[KeyPath, str]]:
    """What no GPU can be divided into; whether one has that many multiprocessors shows when it is opened."""
    from multidnn.targets.cuda.spec import MOST_PARTITIONS, REST, share_of

    if len(partitions) > MOST_PARTITIONS:
        yield path, f"found {len(partitions)} partitions, allowed: at most {MOST_PARTITIONS}"
    takers = [name for name, partition in partitions.items() if partition["sms"] == REST]
    for name in takers[1:]:
        yield (*path, name, "sms"), f"found {REST!r}, which {takers[0]} takes already; allowed for one partition"
    shares = [share for partition in partitions.values() if (share := share_of(partition["sms"])) is not None]
    if sum(shares) > 1:
        yield path, f"found shares that add up to {float(100 * sum(shares)):g}%, allowed: at most 100%"


def _unknown(path: KeyPath, name: str, known: Iterable[str], section: str) -> Iterable[tuple[KeyPath, str]]:
    if name not in known:
        listed = list(known)
        yield path, f"{name!r} is not in `{section}`, found there: {', '.join(listed)}{suggestion(name, listed)}"


def _place(config: Any, path: KeyPath, files: Sequence[Path]) -> str:
    """``file:line: a.b.c: `` of the first of `files` that holds the key with the value found, or --config if none does.

    A key that is nowhere (it is missing) is placed where the nearest key above it stands.
    """
    key = f"{'.'.join(map(str, path))}: " if path else ""
    present, value = _look_up(config, path)
    for depth in range(len(path), 0, -1):
        for file in files:
            found = _line(file, path[:depth], value if depth == len(path) else None)
            if found is not None:
                return f"{file}:{found}: {key}"
        if present:
            return f"{COMMAND_LINE}: {key}"
    return f"{files[0]}: {key}" if files else key


def _look_up(value: Any, path: KeyPath) -> tuple[bool, Any]:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False, None
    return True, value


def _line(file: Path, path: KeyPath, value: Any) -> int | None:
    """The line of the key at `path` in a YAML or JSON `file`; None if it is not there or holds another plain value."""
    with Path(file).open(encoding="utf-8") as stream:
        node = yaml.compose(stream, yaml.SafeLoader)
    line = 1
    for part in path:
        found: tuple[yaml.Node, yaml.Node] | None = None
        if isinstance(node, yaml.MappingNode):
            found = next(((key, entry) for key, entry in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    if isinstance(node, yaml.ScalarNode) and isinstance(value, (str, int, float)):
        return line if yaml.safe_load(yaml.serialize(node)) == value else None
    return line
