"""Works out what a model computes from constants alone, once and on the CPU."""

import numpy as np
import torch

from multidnn.errors import InputError
from multidnn.targets.cuda.model import Array, Model, Node
from multidnn.targets.cuda.operators import OPERATORS
from multidnn.targets.cuda.operators.arguments import Constant


def with_constants_evaluated(model: Model) -> Model:
    """Return `model` with every node whose inputs are all constant replaced by its result.

    Raises:
        InputError: a node cannot do what it is asked for, or a constant is no number.
    """
    constants = dict(model.constants)
    nodes = []
    for node in model.nodes:
        if node.op == "Constant":
            constants[node.outputs[0]] = _constant_value(node)
        elif node.op != "BatchNormalization" and all(name in constants for name in node.inputs if name):
            arguments = [
                Constant(constants[name], torch.from_numpy(np.array(constants[name]))) if name else None
                for name in node.inputs
            ]
            result = OPERATORS[node.op](node, model.opset, *arguments)
            for name, value in zip(node.outputs, result if isinstance(result, tuple) else (result,), strict=False):
                constants[name] = value.numpy()
        else:
            nodes.append(node)
    return Model(model.path, model.opset, nodes, constants, model.inputs, model.outputs)


def _constant_value(node: Node) -> Array:
    attributes = node.attributes
    for name, kind in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64), ("value_ints", np.int64)):  # fmt: skip
        if name in attributes:
            return np.array(attributes[name], dtype=kind)
    if "value" not in attributes:
        raise InputError(f"node {node}: only constants of numbers are supported")
    return np.asarray(attributes["value"])
