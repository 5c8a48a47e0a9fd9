"""Types a network in half precision, with fp32 at its borders: a strongly typed TensorRT computes in the types it reads."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from multidnn.errors import InputError
from multidnn.networks.graph import Network, label
from multidnn.networks.weights import Array, Weight, constant

FLOAT = np.dtype(np.float32)
HALF = np.dtype(np.float16)
LARGEST = float(np.finfo(HALF).max)

# attributes that say in which type a node writes
TYPE_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype", "RandomNormalLike": "dtype", "RandomUniformLike": "dtype"}


def halved(network: Network) -> Network:
    """Return the network with every fp32 tensor and constant in half precision, inputs and outputs included.

    Constants that a standard operator reads in fp32 only (the scales of a Resize) stay. The four vectors of a
    BatchNormalization become a factor and a summand, computed in fp64: in half a small variance would vanish.

    Raises:
        InputError: a constant that half precision cannot hold, or a node that is not typed by its inputs (one with a
            subgraph, a function, quantisation).
    """
    opset = max(entry.version for entry in network.opsets if entry.domain in ("", "ai.onnx"))
    weights: dict[str, Weight] = dict(network.weights)
    float_only: set[str] = set()
    half: set[str] = set()
    nodes = []
    prepared = {id(node): node for node in network.prepared.values()}
    for node in (*network.nodes, *prepared.values()):
        if node.domain not in ("", "ai.onnx") or any(a.HasField("g") or len(a.graphs) for a in node.attribute):
            raise InputError(
                f"{network.source}: {label(node)} cannot be written in fp16: it is no plain standard operator"
            )
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            raise InputError(f"{network.source}: {label(node)} cannot be written in fp16: the network is quantised")
        node = _typed(_without_variance(node, weights, network))
        for position, tensor in enumerate(node.input):
            if tensor in weights and weights[tensor].dtype == FLOAT:
                (half if _takes_half(node, position, opset) else float_only).add(tensor)
        nodes.append(node)
    clipped = {name for node in nodes if node.op_type == "Clip" for name in node.input[1:]}
    for name in sorted(float_only & half):
        # read in both types: the nodes that want fp32 get a copy
        weights[f"{name}/fp32"] = replace(weights[name], name=f"{name}/fp32")
        for node in nodes:
            for position, tensor in enumerate(node.input):
                if tensor == name and not _takes_half(node, position, opset):
                    node.input[position] = f"{name}/fp32"
    for name in sorted(half):
        weights[name] = _half(weights[name], network.source, name in clipped)
    count = len(network.nodes)
    replaced = dict(zip(prepared, nodes[count:], strict=True))
    return replace(
        network,
        nodes=nodes[:count],
        weights=weights,
        dtypes={name: HALF if dtype == FLOAT else dtype for name, dtype in network.dtypes.items()},
        prepared={name: replaced[id(node)] for name, node in network.prepared.items()},
    )


def with_float_borders(model: onnx.ModelProto, owners: Mapping[str, str]) -> dict[str, str]:
    """Make the half inputs and outputs of `model` fp32 by Casts, in place; return each Cast's name with its layer.

    `owners` gives the layer of nodes that are none themselves; a Cast is called ``{layer}/to_half`` or
    ``{layer}/to_float`` after the layer that reads or makes the tensor.
    """
    graph = model.graph
    taken = {node.name for node in graph.node}
    tensors = {*(name for node in graph.node for name in (*node.input, *node.output)), *(v.name for v in graph.input)}
    casts: dict[str, str] = {}
    before, after = [], []

    def inner(tensor: str, role: str) -> str:
        name = f"{tensor}/{role}"
        while name in tensors:
            name += "_"
        tensors.add(name)
        return name

    def cast(source: str, output: str, to: int, node: onnx.NodeProto, role: str) -> onnx.NodeProto:
        layer = owners.get(node.name, node.name)
        name = f"{layer}/{role}"
        while name in taken:
            name += "_"
        taken.add(name)
        casts[name] = layer
        return helper.make_node("Cast", [source], [output], name=name, to=to)

    for value, is_input in (*((value, True) for value in graph.input), *((value, False) for value in graph.output)):
        if value.type.tensor_type.elem_type != TensorProto.FLOAT16:
            continue
        # one group's output is the next one's input: two names, since both may end up in one segment
        half = inner(value.name, "half_in" if is_input else "half")
        described = onnx.ValueInfoProto()
        described.CopyFrom(value)
        described.name = half
        graph.value_info.append(described)
        value.type.tensor_type.elem_type = TensorProto.FLOAT
        readers = [node for node in graph.node if value.name in node.input]
        makers = [node for node in graph.node if value.name in node.output]
        for node in (*readers, *makers):
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name == value.name:
                        names[position] = half
        if is_input and readers:
            before.append(cast(value.name, half, TensorProto.FLOAT16, readers[0], "to_half"))
        elif not is_input:
            after.append(cast(half, value.name, TensorProto.FLOAT, makers[0], "to_float"))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return casts


def _typed(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a copy of `node` that writes half where it said fp32."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.name == TYPE_ATTRIBUTES.get(node.op_type) and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
    return copy


def _takes_half(node: onnx.NodeProto, position: int, opset: int) -> bool:
    """Tell whether the operator takes half at this input; whether that fits its other inputs is checked afterwards."""
    schema: Any = onnx.defs.get_schema(node.op_type, opset, "")
    # the last one may stand for all that follow
    declared = schema.inputs[min(position, len(schema.inputs) - 1)]
    return "tensor(float16)" in declared.types


def _without_variance(node: onnx.NodeProto, weights: dict[str, Weight], network: Network) -> onnx.NodeProto:
    """Return a BatchNormalization of mean 0, variance 1 and epsilon 0 in place of one with constants."""
    if node.op_type != "BatchNormalization" or not all(name in weights for name in node.input[1:]):
        return node
    vectors = [weights[name] for name in node.input[1:]]
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    shape = vectors[0].shape

    def factor() -> Array:
        scale, _, _, variance = (vector.array().astype(np.float64) for vector in vectors)
        return np.asarray(scale / np.sqrt(variance + epsilon))

    def summand() -> Array:
        _, bias, mean, _ = (vector.array().astype(np.float64) for vector in vectors)
        return np.asarray(bias - np.multiply(mean, factor()))

    names = [f"{node.name}/{role}" for role in ("factor", "summand", "zero", "one")]
    while any(name in weights or name in network.shapes for name in names):
        names = [f"{name}_" for name in names]
    weights[names[0]] = Weight(names[0], shape, FLOAT, lambda: factor().astype(np.float32))
    weights[names[1]] = Weight(names[1], shape, FLOAT, lambda: summand().astype(np.float32))
    weights[names[2]] = constant(names[2], np.zeros(shape, np.float32))
    weights[names[3]] = constant(names[3], np.ones(shape, np.float32))
    kept = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name != "epsilon"}
    return helper.make_node(
        node.op_type, [node.input[0], *names], list(node.output), name=node.name, **{**kept, "epsilon": 0.0}
    )


def _half(weight: Weight, source: str, is_bound: bool) -> Weight:
    def make() -> Array:
        values = weight.array()
        # a bound beyond the range of half bounds nothing there
        values = np.clip(values, -LARGEST, LARGEST) if is_bound else values
        with np.errstate(over="ignore"):
            result = values.astype(HALF)
        if np.any(np.isinf(result) & np.isfinite(values)):
            raise InputError(
                f"{source}: constant {weight.name!r} reaches {np.abs(values).max():g}, beyond what fp16 holds "
                f"({LARGEST:g}); run this network in fp32"
            )
        return result

    return Weight(weight.name, weight.shape, HALF, make)
