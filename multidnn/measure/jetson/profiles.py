"""Builds one family of a network's engines on a board, profiles them, and writes what was found to one file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sidecar import environment
from multidnn.networks.board_network import BoardNetwork
from multidnn.targets.jetson import engines
from multidnn.targets.jetson.board.residency import LOADABLES_PER_CORE
from multidnn.targets.jetson.profiling import profile
from multidnn.targets.jetson.target import JetsonTarget, device_kind

_log = logging.getLogger(__name__)

# whole networks run again beside each other later; the others have served once they are profiled
KEPT_FAMILY = "whole"


def profile_family(
    target: JetsonTarget, models_dir: Path, family: str, options: MeasureOptions, logs: Path, out_json: Path
) -> None:
    """Write profiles/{network}/{family}.json: per engine its build record, and its profile on each accelerator.

    An engine that uses the DLA is profiled on every core that the target has, unless it is in more parts than a core
    holds; one that does not, on the GPU. Engines
    are built and profiled in one job, and all but whole networks are deleted from the board then: those of all cuts of
    all networks take tens of gigabytes.

    Raises:
        InputError: TensorRT cannot build an engine, or profiling fails; nothing is written then.
    """
    network = BoardNetwork.read(models_dir)
    wanted = engines.family(network, family, _devices(target))
    with machine_lock():
        models = target.push_models(network.name, models_dir)
        records = engines.build(target, network, models, wanted, logs)
        runs = [
            (name, accelerator)
            for name, record in records.items()
            for accelerator in target.accelerators
            if record["uses_dla"] == (device_kind(accelerator) == "dla") and record["loadables"] <= LOADABLES_PER_CORE
        ]
        found = profile(target, network.name, runs, options.warmup, options.max_samples)
        facts = environment(target)
        if family != KEPT_FAMILY:
            engines.remove(target, network.name, list(records))
    entries: dict[str, dict[str, Any]] = {name: {"build": record, "profiles": {}} for name, record in records.items()}
    for (name, accelerator), result in zip(runs, found, strict=True):
        entries[name]["profiles"][accelerator] = result
    write_json(
        out_json,
        {
            "network": network.name,
            "family": family,
            "engines": entries,
            "sampling": asdict(options),
            "environment": facts,
        },
    )


def build_groups(target: JetsonTarget, models_dir: Path, logs: Path, out_json: Path) -> None:
    """Build an engine of each group on each device, keep them on the board, and write engines/{network}.json.

    Raises:
        InputError: TensorRT cannot build one of them; nothing is written then.
    """
    network = BoardNetwork.read(models_dir)
    wanted = list(engines.groups(network, _devices(target)))
    with machine_lock():
        models = target.push_models(network.name, models_dir)
        records = engines.build(target, network, models, wanted, logs)
        facts = environment(target)
    write_json(out_json, {"network": network.name, "engines": records, "environment": facts})


def build_convolutions(target: JetsonTarget, models_dirs: Mapping[str, Path], logs: Path, out_json: Path) -> None:
    """Build the characterisation layers, each on every device of the target, and write engines/convolution.json.

    Raises:
        InputError: TensorRT cannot build one of them; nothing is written then.
    """
    devices = _devices(target)
    records: dict[str, dict[str, Any]] = {}
    with machine_lock():
        for name, directory in models_dirs.items():
            network = BoardNetwork.read(directory)
            models = target.push_models(network.name, directory)
            wanted = list(engines.whole(network, devices))
            records[name] = engines.build(target, network, models, wanted, logs / name)
        facts = environment(target)
    write_json(out_json, {"engines": records, "environment": facts})


def _devices(target: JetsonTarget) -> list[str]:
    return list(dict.fromkeys(map(device_kind, target.accelerators)))


def read_profiles(paths: Sequence[Path]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the engines in profile files: network to engine name to its record and profiles.

    Raises:
        InputError: a file is missing, truncated, or not a profile file.
    """
    networks: dict[str, dict[str, dict[str, Any]]] = {}
    for path in map(Path, paths):
        content = read_json(path)
        try:
            networks.setdefault(str(content["network"]), {}).update(content["engines"])
        except (KeyError, TypeError):
            raise InputError(f"{path}: not a file of engine profiles; delete it to have it measured again") from None
    return networks
