"""Builds a `Network` from a prototxt or an ONNX file."""

from pathlib import Path

import numpy as np
from onnx import helper

from multidnn.errors import InputError
from multidnn.networks import caffe_layers, onnx_file, prototxt
from multidnn.networks.builder import Builder
from multidnn.networks.graph import Network
from multidnn.networks.normalization import batch_norm, is_channel_scale
from multidnn.networks.prototxt import CaffeLayer, CaffeNet
from multidnn.networks.weights import RandomWeights

# the newest operator set of TensorRT 8.5, which the oldest supported boards run; both CPU runtimes take it
OPSET = 17
IR_VERSION = 8


def load(path: str | Path, *, seed: int, name: str | None) -> Network:
    """Return the network in `path`; see `multidnn.networks.load`."""
    source, path = str(path), Path(path)
    name = path.stem if name is None else name
    if path.suffix == ".prototxt":
        return _from_caffe(prototxt.read(path), name, source, seed)
    if path.suffix == ".onnx":
        return onnx_file.load(path, name, source)
    raise InputError(f"{source}: found suffix {path.suffix!r}, a network is a .prototxt or an .onnx file")


def _from_caffe(net: CaffeNet, name: str, source: str, seed: int) -> Network:
    caffe_layers.check(net.layers)
    net.check_inputs()
    consumers: dict[str, list[CaffeLayer]] = {}
    for layer in net.layers:
        for bottom in layer.bottoms:
            consumers.setdefault(bottom, []).append(layer)
    builder = Builder(net.inputs, consumers, RandomWeights(seed, name))
    merged: set[str] = set()
    for layer in net.layers:
        users = consumers.get(layer.tops[0], [])
        if layer.name in merged:
            continue
        if layer.type == "BatchNorm" and len(users) == 1 and users[0].type == "Scale" and is_channel_scale(users[0]):
            merged.add(users[0].name)
            batch_norm(layer, builder, users[0])
        else:
            caffe_layers.CONVERTERS[layer.type][0](layer, builder)
    if not builder.nodes:
        raise InputError(f"{source}: no layer is left once Input and Dropout have vanished")
    return Network(
        name=name,
        source=source,
        seed=seed,
        inputs=dict(net.inputs),
        outputs={tensor: builder.shape(tensor) for tensor in net.outputs},
        nodes=builder.nodes,
        weights=builder.weights,
        shapes=builder.shapes,
        dtypes=dict.fromkeys(builder.shapes, np.dtype(np.float32)),
        opsets=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
