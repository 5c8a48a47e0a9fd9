"""What the schema cannot see: names that point at nothing, missing files, and entries that contradict each other."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from multidnn.config.places import KeyPath
from multidnn.config.settings import (
    TUNED,
    TUNED_FROM,
    dynamic_workloads,
    isolation_cases,
    target_networks,
    target_workloads,
)
from multidnn.errors import suggestion
from multidnn.variants import broken, variants_of

# results/networks/convolution holds the characterisation layers
RESERVED_NETWORKS = ("convolution",)
# results/networks holds the networks of all targets
RESERVED_TARGETS = ("networks",)


def broken_references(config: Mapping[str, Any]) -> Iterable[tuple[KeyPath, str]]:
    """Yield each mistake in a configuration with its defaults filled in: the place and what is wrong."""
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
            yield from broken_isolation(config, target, name)
    schedulers = config["schedule"]["schedulers"]
    if TUNED in schedulers and TUNED_FROM not in schedulers:
        message = (
            f"found {TUNED!r} without {TUNED_FROM!r}, whose schedules it chooses among; add {TUNED_FROM!r} to the list"
        )
        yield ("schedule", "schedulers", schedulers.index(TUNED)), message
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


def broken_isolation(config: Mapping[str, Any], target: str, name: str) -> Iterable[tuple[KeyPath, str]]:
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
