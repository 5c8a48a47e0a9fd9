"""An ONNX model as TensorRT's network, with every layer on the device that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Sequence

import tensorrt as trt

from . import api, devices
from .errors import BoardError
from .log import LogLines, text_of


@dataclass
class Assignment:
    """Where layers were sent.

    Attributes:
        refused: layers that were asked onto the DLA and are refused by it, with TensorRT's reason.
        absent: ONNX layers of which TensorRT's parser left nothing (a Dropout, say).
        uses_dla: whether anything was sent to the DLA.
    """

    refused: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    uses_dla: bool = False


def parse(builder: Any, logger: Any, lines: LogLines, model: Path) -> Any:
    """Return the network of an ONNX file; its external data is found beside it."""
    network = api.create_network(builder)
    parser = trt.OnnxParser(network, logger)
    mark = lines.mark()
    if not parser.parse_from_file(str(model)):
        reasons = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        raise BoardError(f"TensorRT {api.VERSION} cannot read {model}: {'; '.join(reasons[:3]) or lines.errors(mark)}")
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        if any(size < 0 for size in tuple(tensor.shape)):
            raise BoardError(
                f"{model}: input {tensor.name!r} has a dynamic shape {tuple(tensor.shape)}; fix it in the model"
            )
    return network


def _layers(network: Any) -> list[Any]:
    return [network.get_layer(i) for i in range(network.num_layers)]


def _describe(layer: Any) -> devices.TensorRTLayer:
    inputs = [layer.get_input(i) for i in range(layer.num_inputs)]
    outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
    # an optional input that is not there is None
    return devices.TensorRTLayer(
        layer.name,
        tuple(tensor.name for tensor in inputs if tensor is not None),
        tuple(tensor.name for tensor in outputs if tensor is not None),
    )


class Model:
    """A parsed model together with which ONNX layer each of TensorRT's layers belongs to."""

    def __init__(self, network: Any, names: Sequence[str], model: Path) -> None:
        self.network = network
        self._names = list(names)
        self._path = model
        self._layers = _layers(network)
        self._described = [_describe(layer) for layer in self._layers]
        self._owners = devices.owners(self._described, names)
        if not any(owner is not None for owner in self._owners):
            some = ", ".join(layer.name for layer in self._described[:3])
            raise BoardError(
                f"{model}: none of the {len(names)} layer names given is in the model, which has {some}, ..."
            )

    def mark(self, cut: int) -> None:
        """Make the tensor that is alive before layer `cut` an output of the network."""
        alive = devices.alive_before(self._described, self._owners, cut)
        if len(alive) != 1:
            raise BoardError(f"{self._path}: {len(alive)} tensors are alive before layer {cut}; a cut has exactly one")
        for layer in self._layers:
            for i in range(layer.num_outputs):
                tensor = layer.get_output(i)
                if tensor.name == alive[0] and not tensor.is_network_output:
                    self.network.mark_output(tensor)

    def assign(self, config: Any, lines: LogLines, wanted: dict[str, str]) -> Assignment:
        """Set the device of every layer by the device wanted for the ONNX layer it belongs to."""
        result = Assignment()
        seen = {owner for owner in self._owners if owner is not None}
        result.absent = [name for index, name in enumerate(self._names) if index not in seen]
        if "dla" not in wanted.values():
            return result
        config.default_device_type = trt.DeviceType.GPU
        for layer, described, owner in zip(self._layers, self._described, self._owners):
            device = trt.DeviceType.GPU
            if owner is not None and wanted[self._names[owner]] == "dla":
                mark = lines.mark()
                if config.can_run_on_DLA(layer):
                    device = trt.DeviceType.DLA
                    result.uses_dla = True
                elif described.name == self._names[owner] or not api.only_shapes(layer):
                    # what is put around a layer (constants, shuffles, casts) may stay on the GPU without a word
                    reason = "; ".join(text_of(line) for line in lines.since(mark))
                    result.refused.setdefault(
                        self._names[owner],
                        reason or f"TensorRT's can_run_on_DLA says no to {layer.type} without a reason",
                    )
            config.set_device_type(layer, device)
        return result


def check_precision(network: Any, precision: str, calibrated: bool) -> None:
    """Raise a `BoardError` if `precision` cannot come out of this model with this TensorRT."""
    found = api.precisions_in(network)
    if precision == "int8" and not calibrated and "int8" not in found:
        raise BoardError(
            "precision int8 needs calibration data, or QuantizeLinear and DequantizeLinear nodes in the model; it has neither"
        )
    if api.strongly_typed() and precision == "fp16" and "fp16" not in found:
        raise BoardError(
            f"TensorRT {api.VERSION} takes the precision from the model, and this one has nothing in fp16: send it as fp16"
        )


def shapes(tensors: Sequence[Any]) -> dict[str, list[int]]:
    """Return the shape of each tensor by name."""
    return {tensor.name: [int(size) for size in tuple(tensor.shape)] for tensor in tensors}


def inputs(network: Any) -> list[Any]:
    """Return the input tensors."""
    return [network.get_input(i) for i in range(network.num_inputs)]


def batch_size(network: Any) -> int:
    """Return the first dimension of the first input."""
    shape: Sequence[int] | None = tuple(network.get_input(0).shape)
    return int(shape[0]) if shape else 1
