"""How long each layer takes and how much memory traffic it demands: recorded where there are tables, else a roofline."""

import functools
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standin_board import dla
from standin_board.graph import Graph, Layer, Tensor
from standin_board.recorded import peak_gb_s, tables

# a plain roofline for what was not recorded: MACs and bytes per ms, and ms of a launch
MACS_PER_MS = {"gpu": 2.2e9, "dla": 0.8e9}
BYTES_PER_MS = {"gpu": 90e6, "dla": 45e6}
LAUNCH_MS = {"gpu": 0.004, "dla": 0.004}
# bytes per ms of writing out what another device reads, and ms before it begins
OUT_BYTES_PER_MS, OUT_MS = 20e6, 0.01
FREE = ("CONSTANT", "SHUFFLE", "IDENTITY", "CAST", "SCALE", "CONCATENATION", "QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Known:
    """A network with recorded times: its layers by name, each with its share of its group's time."""

    name: str
    group: dict[str, int]
    weight: dict[str, float]
    elements: dict[str, int]
    sums: tuple[dict[str, float], ...]
    last: str

    def share(self, name: str, device: str) -> float:
        """Return the layer's part of its group's time on `device`, 0..1."""
        return self.weight[name] / self.sums[self.group[name]][device]


@functools.cache
def networks() -> dict[str, Known]:
    """Return the networks with recorded times."""
    content = json.loads(Path(__file__).with_name("networks.json").read_text(encoding="utf-8"))
    known = {}
    for name, entry in content.items():
        if name == "comment":
            continue
        group, weight, elements = {}, {}, {}
        bounds = [*entry["starts"], len(entry["layers"])]
        sums = []
        for index, (first, end) in enumerate(itertools.pairwise(bounds)):
            for layer, microseconds, count in entry["layers"][first:end]:
                group[layer], weight[layer], elements[layer] = index, microseconds, count
            total = sum(microseconds for _, microseconds, _ in entry["layers"][first:end])
            fallback = sum(
                microseconds for layer, microseconds, _ in entry["layers"][first:end] if _never_on_dla(layer)
            )
            sums.append({"gpu": total, "dla": total - fallback})
        known[name] = Known(name, group, weight, elements, tuple(sums), entry["layers"][-1][0])
    return known


def _never_on_dla(layer: str) -> bool:
    # the one softmax of each of them
    return layer == "prob" and not dla.softmax_supported()


class Times:
    """Times of the layers of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.known = _recognise(graph)
        self.convolution = _convolution_percent(graph)

    @property
    def name(self) -> str:
        """What the graph was recognised as, for the log."""
        if self.known is not None:
            return f"{self.known.name} (recorded times)"
        return "convolution (recorded demand)" if self.convolution is not None else "unknown (roofline)"

    def ms(self, layer: Layer, device: str) -> float:
        """Return the standalone time of a layer on "gpu" or "dla"."""
        known = self.known
        if known is None:
            return _roofline_ms(layer, device)
        if layer.name not in known.group:
            return 0.0
        recorded = tables()["networks"][known.name]["ms"]
        group = known.group[layer.name]
        share = known.share(layer.name, device)
        if device == "gpu":
            return float(recorded["gpu"][group]) * share
        # what of the group stays on the GPU is part of the group's recorded time on the DLA
        rest = sum(
            recorded["gpu"][group] * known.share(other, "gpu")
            for other, of in known.group.items()
            if of == group and _never_on_dla(other)
        )
        return (float(recorded["dla"][group]) - rest) * share

    def demand(self, layer: Layer, device: str) -> float:
        """Return the memory demand in GB/s while a layer runs alone."""
        if self.known is not None and layer.name in self.known.group:
            percent = tables()["networks"][self.known.name].get("percent")
            if percent is not None:
                return float(percent[device][self.known.group[layer.name]]) * peak_gb_s() / 100
        if self.convolution is not None:
            ratio = _roofline_ms(layer, "gpu") / _roofline_ms(layer, device) if _roofline_ms(layer, device) else 1.0
            return self.convolution * peak_gb_s() / 100 * ratio
        ms = self.ms(layer, device)
        return min(_traffic(layer) / ms / 1e6, BYTES_PER_MS[device] / 1e6) if ms else 0.0

    def out_ms(self, tensor: Tensor, maker: Layer, device: str) -> float:
        """Return what it costs that `tensor` is an output of the engine: nothing for the network's own result."""
        known = self.known
        if known is not None:
            owner = maker.name if maker.name in known.group else None
            if owner is None or owner == known.last:
                return 0.0
            recorded = tables()["networks"][known.name].get("out_ms")
            if recorded is not None:
                return float(recorded[device][min(known.group[owner], len(known.sums) - 2)])
        elif maker.type == "SOFTMAX" or self.convolution is not None:
            return 0.0
        return OUT_MS + tensor.count * 2 / OUT_BYTES_PER_MS


def _traffic(layer: Layer) -> float:
    """Return the bytes that a layer moves, all in half precision."""
    return sum(tensor.count * 2 for tensor in [*layer.inputs, *layer.outputs]) + layer.weight_bytes


def _roofline_ms(layer: Layer, device: str) -> float:
    if layer.type in FREE:
        return 0.0
    if layer.type == "ACTIVATION":
        return LAUNCH_MS[device] / 4
    return max(layer.macs / MACS_PER_MS[device], _traffic(layer) / BYTES_PER_MS[device]) + LAUNCH_MS[device]


def _recognise(graph: Graph) -> Known | None:
    """Return the recorded network that all layers belong to, by names and sizes; layers that only shape do not count."""
    counted = [layer for layer in graph.layers if layer.op is not None and layer.type not in FREE]
    for known in networks().values():
        if counted and all(
            layer.name in known.group
            and layer.outputs[0].count == known.elements[layer.name] * layer.outputs[0].shape[0]
            for layer in counted
        ):
            return known
    return None


def _convolution_percent(graph: Graph) -> float | None:
    """Return the recorded percentage if the graph is one of the 25 convolutions."""
    convolutions = [layer for layer in graph.layers if layer.type == "CONVOLUTION"]
    others = [layer for layer in graph.layers if layer.type not in (*FREE, "ACTIVATION", "CONVOLUTION")]
    if len(convolutions) != 1 or others or len(convolutions[0].inputs[0].shape) != 4:
        return None
    layer = convolutions[0]
    _, channels, height, width = layer.inputs[0].shape
    sizes = {(224, 112): "conv1", (112, 112): "conv2", (112, 56): "conv3", (56, 56): "conv4", (56, 28): "conv5"}
    name, kernel = sizes.get((height, width)), layer.kernel[0]
    if name is None or channels != 64 or layer.outputs[0].shape[1] != 64 or not 1 <= kernel <= 5:
        return None
    percents: dict[str, Any] = tables()["convolution_percent"]
    return float(percents[name][kernel - 1])
