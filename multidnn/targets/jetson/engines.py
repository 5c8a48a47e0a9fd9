"""Which TensorRT engines a network needs on a board, and having them built there.

The engines of HaX-CoNN (PPoPP 2024, artifact): the network whole on each device, engines that move to the other device at
a cut, and engines with the tensor of a cut marked as an output. Groups and convolutions have engines of their own, to
be run beside each other.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from multidnn.networks.board_network import BoardNetwork
from multidnn.networks.calibration import ARRAYS, calibration_source
from multidnn.targets.jetson.board import versions
from multidnn.targets.jetson.target import JetsonTarget

_log = logging.getLogger(__name__)

DEVICES = ("gpu", "dla")


@dataclass(frozen=True)
class Wanted:
    """One engine to build.

    Attributes:
        name: unique among the engines of its network on a target.
        model: file name of the ONNX model.
        layers: names of the model's layers in execution order.
        devices: the `devices` of a build request: a start and a transition, or a device per layer.
        mark: index in `layers` of the first layer after the tensor that becomes an output too, or None.
        allow_fallback: whether layers that the DLA refuses may run on the GPU.
    """

    name: str
    model: str
    layers: tuple[str, ...]
    devices: Mapping[str, Any]
    mark: int | None = None
    allow_fallback: bool = False

    @property
    def uses_dla(self) -> bool:
        """Whether any layer may be on a DLA, so that the engine needs a core to be loaded for."""
        if "start" in self.devices:
            return self.devices["start"] == "dla" or self.devices["transition"] is not None
        return "dla" in (self.devices["default"], *self.devices["layers"].values())


def whole(network: BoardNetwork, devices: Sequence[str]) -> Iterator[Wanted]:
    """The network whole on each of `devices`."""
    for device in devices:
        yield _moving(network, device, device, None)


def transitions(network: BoardNetwork, start: str) -> Iterator[Wanted]:
    """Engines that start on `start` and move to the other device at each cut between groups."""
    for cut in network.cuts:
        yield _moving(network, transition_name(start, cut), start, cut)


def marks(network: BoardNetwork, device: str) -> Iterator[Wanted]:
    """Engines on `device` in which the tensor of one cut is an output too, for each cut between groups."""
    for cut in network.cuts:
        yield _moving(network, mark_name(device, cut), device, None, cut)


def groups(network: BoardNetwork, devices: Sequence[str]) -> Iterator[Wanted]:
    """Each group alone on each of `devices`."""
    for device in devices:
        for index, group in enumerate(network.groups):
            # which groups a DLA takes is known from the whole network's engine; the others are not used
            wanted = {"start": device, "transition": None}
            yield Wanted(group_name(device, index), group.file, group.layers, wanted, allow_fallback=True)


def family(network: BoardNetwork, name: str, devices: Sequence[str]) -> list[Wanted]:
    """The engines of one family of the rules: ``whole``, ``gpu_transitions``, ``dla_marks`` and so on."""
    if name == "whole":
        return list(whole(network, devices))
    device, _, kind = name.partition("_")
    return list(transitions(network, device) if kind == "transitions" else marks(network, device))


def transition_name(start: str, cut: int) -> str:
    """Name of the engine that starts on `start` and moves to the other device at `cut`."""
    return f"{start}_transition_{cut}"


def mark_name(device: str, cut: int) -> str:
    """Name of the engine on `device` whose tensor at `cut` is an output too."""
    return f"{device}_mark_{cut}"


def group_name(device: str, group: int) -> str:
    """Name of the engine of one group on `device`."""
    return f"{device}_group_{group:02d}"


def _moving(network: BoardNetwork, name: str, start: str, cut: int | None, mark: int | None = None) -> Wanted:
    # what the DLA does not take is found out here, layer by layer, so it must not end the build
    devices = {"start": start, "transition": None if cut is None else network.position(cut)}
    marked = None if mark is None else network.position(mark)
    return Wanted(name, network.whole.file, network.whole.layers, devices, marked, allow_fallback=True)


def build(
    target: JetsonTarget,
    network: BoardNetwork,
    models: PurePosixPath,
    wanted: Sequence[Wanted],
    logs: Path,
) -> dict[str, dict[str, Any]]:
    """Build the engines `wanted` on the board and return the record of each by name.

    A record holds the engine's place, size and inputs, the placement that was asked for and the one TensorRT chose, what
    the DLA refused and why, and what was used for calibration. TensorRT's log of each build goes to `logs`.

    Args:
        models: directory on the board that holds the network's models.

    Raises:
        InputError: TensorRT cannot build one of them, or a layer that must be on the DLA is not.
    """
    calibration = _calibration(target, network, models)
    _log.info("engines: %s: building %d on %s", network.name, len(wanted), target.name)
    answer = target.board.call(
        "build",
        {
            "builds": [
                {
                    "model": str(models / item.model),
                    "engine": str(target.engine_path(network.name, item.name)),
                    "layers": list(item.layers),
                    "devices": dict(item.devices),
                    "mark": item.mark,
                    "gpu_only": network.of_types(item.layers, target.spec["gpu_only"]),
                    "allow_fallback": item.allow_fallback,
                    "precision": target.spec["precision"],
                    "calibration": calibration,
                    "dla_core": 0 if item.uses_dla else None,
                    "workspace_mb": target.spec["workspace_mb"],
                    "timing_cache": str(target.board.directory / "timing.cache"),
                }
                for item in wanted
            ]
        },
        None,
    )
    records: dict[str, dict[str, Any]] = {}
    logs.mkdir(parents=True, exist_ok=True)
    for item, record in zip(wanted, answer["builds"], strict=True):
        (logs / f"{item.name}.txt").write_text("\n".join(record.pop("log")) + "\n", encoding="utf-8")
        source = {"calibration": calibration_source(network.directory)} if calibration else {}
        records[item.name] = record | {"uses_dla": item.uses_dla} | source
        for layer in record["placement"]["fallback"]:
            _log.warning("engines: %s/%s: %s fell back to the GPU", network.name, item.name, layer)
    return records


def _calibration(target: JetsonTarget, network: BoardNetwork, models: PurePosixPath) -> dict[str, Any] | None:
    if target.spec["precision"] != "int8":
        return None
    if calibration_source(network.directory) == "random":
        _log.warning("engines: %s: calibrated on random inputs, its outputs mean nothing", network.name)
    return {"data": str(models / ARRAYS)}


def remove(target: JetsonTarget, network: str, names: Sequence[str]) -> None:
    """Delete engines from the board; they are large, and a rerun builds them again."""
    paths = [
        str(target.engine_path(network, name).with_suffix(ending)) for name in names for ending in (".engine", ".json")
    ]
    target.board.run(["rm", "-f", "--", *paths])


def model_precision(tensorrt: str, precision: str) -> str:
    """Return the precision that models must be written in: a strongly typed TensorRT computes in what the model says."""
    return precision if versions.has(tensorrt, "always_strongly_typed") and precision != "int8" else "fp32"
