"""Computes what a network computes from constants alone, such as transposed weights."""

from dataclasses import replace

import numpy as np
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from multidnn.networks.graph import Network, read_by
from multidnn.networks.weights import constant

# constants made by these alone are computed here; quantisation must stay in the model for TensorRT to see it
FOLDED = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Mul",
        "Neg",
        "Pow",
        "Range",
        "Reciprocal",
        "Reshape",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


def folded(network: Network) -> Network:
    """Return the network with constants that are computed from constants in their place."""
    weights = dict(network.weights)
    prepared = dict(network.prepared)
    for node in {id(node): node for node in network.prepared.values()}.values():
        if node.op_type not in FOLDED or node.domain not in ("", "ai.onnx") or not set(read_by(node)) <= set(weights):
            continue
        graph = helper.make_graph(
            [node],
            "constant",
            [],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name],
            [numpy_helper.from_array(weights[name].array(), name) for name in read_by(node)],
        )
        model = helper.make_model(graph, opset_imports=network.opsets, ir_version=network.ir_version)
        values = ReferenceEvaluator(model).run(None, {})
        for name, value in zip(filter(None, node.output), values, strict=True):
            weights[name] = constant(name, np.ascontiguousarray(value))
            del prepared[name]
    return replace(network, weights=weights, prepared=prepared)
