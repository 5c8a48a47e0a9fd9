"""Engines as files: a text that says STAND-IN and holds what an engine does and how long it takes."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from standin_board import versions
from standin_board.fusion import Entry
from standin_board.graph import Graph
from standin_board.settings import settings

HEADER = "STAND-IN ENGINE: made by multidnn's test double of a Jetson, runs nowhere else, its times were not measured"


class IncompatibleError(Exception):
    """An engine of another version or board, or no engine; the text is what TensorRT's log says."""


@dataclass(frozen=True)
class Engine:
    """What is in an engine file.

    io: name, mode (INPUT, OUTPUT), shape, dtype and, of an output, the factor that its values have of the input's.
    entries: as in `fusion.Entry`, tensors by name and shape. loadables: number of DLA blocks.
    """

    tensorrt: str
    board: str
    network: str
    verbosity: str
    io: list[dict[str, Any]]
    entries: list[dict[str, Any]]
    loadables: int
    dla_core: int

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        return f"{HEADER}\n{json.dumps(asdict(self))}\n".encode()

    @property
    def uid(self) -> str:
        """Tell this engine from others."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:16]

    def phases(self, core: int) -> list[tuple[float, float, int]]:
        """Return (ns, demand, accelerator) on DLA `core`: one for all entries in a row that are alike."""
        found: list[tuple[float, float, int]] = []
        for entry in self.entries:
            accelerator = 0 if entry["device"] == "gpu" else 1 + core
            if found and abs(found[-1][1] - entry["demand"]) < 1e-6 and found[-1][2] == accelerator:
                found[-1] = (found[-1][0] + entry["ms"] * 1e6, *found[-1][1:])
            elif entry["ms"]:
                found.append((entry["ms"] * 1e6, entry["demand"], accelerator))
        return found

    def entry_ms(self, core: int, durations: list[float]) -> list[tuple[str, float]]:
        """Return what each entry took when its phases took `durations` (ns)."""
        phases, phase, done, times = self.phases(core), 0, 0.0, []
        for entry in self.entries:
            ns = entry["ms"] * 1e6
            if ns and done + ns > phases[phase][0] * (1 + 1e-9):
                phase, done = phase + 1, 0.0
            times.append((entry["name"], entry["ms"] * durations[phase] / phases[phase][0] if ns else 0.0))
            done += ns
        return times

    def information(self) -> dict[str, Any]:
        """Return what the inspector says in JSON."""
        key = "I/O Tensors" if versions.has("layer_info_io_tensors") else "Bindings"
        bindings = [item["name"] for item in self.io]
        if self.verbosity == "NONE":
            return {"Layers": [], key: bindings}
        if self.verbosity == "LAYER_NAMES_ONLY":
            return {"Layers": [entry["name"] for entry in self.entries], key: bindings}
        return {"Layers": [_described(entry) for entry in self.entries], key: bindings}


def _described(entry: dict[str, Any]) -> dict[str, Any]:
    layout = "FP16 DLA feature map" if entry["device"] == "dla" else "Row major linear FP16 format"

    def tensors(which: str) -> list[dict[str, Any]]:
        return [
            {"Name": name, "Location": "Device", "Dimensions": shape, "Format/Datatype": layout}
            for name, shape in entry[which]
        ]

    described = {"Name": entry["name"], "LayerType": entry["type"], "Inputs": tensors("inputs")}
    described |= {"Outputs": tensors("outputs"), "TacticValue": "0x0000000000000000"}
    if versions.number() >= (8, 6):
        described |= {"StreamId": 0, "Metadata": "".join(f"[ONNX Layer: {name}]" for name in entry["layers"])}
    return described


def make(graph: Graph, entries: list[Entry], verbosity: str, dla_core: int) -> Engine:
    """Return the engine of placed and fused layers."""
    factor, factors = 1.0, {}
    position = {name: index for index, (name, _) in enumerate(graph.nodes)}
    running = []
    for name, transparent in graph.nodes:
        factor *= 1.0 if transparent else _factor(name)
        running.append(factor)
    for layer in graph.layers:
        for tensor in layer.outputs:
            named = position.get(layer.name)
            if named is None:  # a layer that the parser added belongs to the node before it
                named = max(
                    (position[la.name] for la in graph.layers[: graph.layers.index(layer)] if la.name in position),
                    default=0,
                )
            factors[tensor.name] = running[named]
    io = [_io(tensor, "INPUT", None) for tensor in graph.inputs]
    io += [_io(tensor, "OUTPUT", factors[tensor.name]) for tensor in graph.outputs]
    rows = []
    for entry in entries:
        row = {
            key: getattr(entry, key) for key in ("name", "kind", "type", "device", "ms", "demand", "layers", "placed")
        }
        row["inputs"] = [[tensor.name, list(tensor.shape)] for tensor in entry.inputs]
        row["outputs"] = [[tensor.name, list(tensor.shape)] for tensor in entry.outputs]
        rows.append(row)
    loadables = sum(entry.device == "dla" and entry.placed for entry in entries)
    return Engine(versions.version(), settings().board, graph.name, verbosity, io, rows, loadables, dla_core)


def _io(tensor: Any, mode: str, factor: float | None) -> dict[str, Any]:
    return {"name": tensor.name, "mode": mode, "shape": list(tensor.shape), "dtype": tensor.dtype, "factor": factor}


def load(content: bytes) -> Engine:
    """Return the engine in a file's content, or raise an `IncompatibleError`."""
    header, _, rest = bytes(content).partition(b"\n")
    if header != HEADER.encode():
        raise IncompatibleError(
            "Serialization assertion magicTagRead == kPLAN_MAGIC_TAG failed. Magic tag does not match"
        )
    engine = Engine(**json.loads(rest))
    if engine.tensorrt != versions.version():
        raise IncompatibleError(
            "The engine plan file is not compatible with this version of TensorRT, expecting library version "
            f"{versions.version()} got {engine.tensorrt}, please rebuild."
        )
    if engine.board != settings().board:
        raise IncompatibleError(
            "The engine plan file is generated on an incompatible device, please rebuild "
            f"(stand-in: {engine.board}, this is {settings().board})."
        )
    return engine


# ---- values: not a network's, but a function of the input that every way of cutting the network up computes alike


def _factor(name: str) -> float:
    digest = hashlib.sha256(name.encode()).digest()
    return math.exp((int.from_bytes(digest[:4], "big") / 2**32 - 0.5) * 0.2)


_WHOLE = 32768


@cache
def _pattern(count: int) -> Any:
    period = 0.5 + np.arange(997, dtype=np.float32) / 996
    return np.resize(period, count)


@cache
def _sampled(count: int) -> tuple[slice, Any, float]:
    where = slice(0, None, max(1, count // 1024))
    pattern = _pattern(count)[where].astype(np.float64)
    return where, pattern, float(pattern @ pattern)


def value_of(array: Any) -> float:
    """Return the one number that a tensor stands for; NaN if any value looked at is."""
    where, pattern, norm = _sampled(array.size)
    return float(pattern @ array[where].astype(np.float64)) / norm


def fill(array: Any, value: float) -> None:
    """Write a tensor that stands for `value`.

    Of a large one only the values that are looked at are written, so that real time keeps up with virtual time, unless
    somebody has put NaN into the others to see whether they are written.
    """
    where, pattern, _ = _sampled(array.size)
    if array.size > _WHOLE and not np.isnan(array[1]):
        array[where] = pattern * value
    else:
        np.multiply(_pattern(array.size), value, out=array, casting="unsafe")
