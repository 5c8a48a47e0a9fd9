"""Several inputs at once through a model that was exported for one: the first axis of its inputs grows from 1."""

from typing import Any

import numpy as np

from multidnn.errors import InputError
from multidnn.targets.cuda.model import Model, Node
from multidnn.targets.cuda.operators.arguments import Constant

# operators whose axis must not be the batch
_AXIS_OPERATORS = frozenset({"Concat", "Softmax", "LogSoftmax", "Gather", "Split", "Slice", "Unsqueeze"})


def batched(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    """Return a tensor's shape with `batch` inputs instead of one."""
    return shape if batch == 1 else (batch, *shape[1:])


def check_batch(model: Model) -> None:
    """Refuse nodes that would mix the inputs of a batch, which shapes alone do not tell.

    Raises:
        InputError: there is such a node, or an input or output has no axis for a batch.
    """
    for name, shape in {**model.inputs, **model.outputs}.items():
        if not shape or shape[0] != 1:
            raise InputError(
                f"{model.path}: tensor {name!r} of shape {list(shape)} has no first axis of size 1 for a batch; "
                "use batch: 1"
            )
    for node in model.nodes:
        attributes = node.attributes
        axes = [attributes["axis"]] if "axis" in attributes else list(attributes.get("axes", []))
        if not axes and node.op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Squeeze", "Unsqueeze"):
            axes = [int(axis) for name in node.inputs[1:2] for axis in model.constants.get(name, np.zeros(1)).flat]
            axes = axes or [0]
        if not axes and node.op in ("Split", "Gather"):
            axes = [0]
        reduces = node.op in _AXIS_OPERATORS or node.op.startswith("Reduce") or node.op in ("Squeeze", "Flatten")
        permutes = node.op == "Transpose" and next(iter(attributes.get("perm", [1]))) != 0
        if (reduces and 0 in axes) or permutes:
            raise InputError(
                f"{model.path}: node {node} works across the first axis, which would mix the inputs of a batch; "
                "use batch: 1"
            )


def with_batch(node: Node, inputs: list[Any], batch: int) -> list[Any]:
    """Return the inputs of `node` with the 1 that a reshape gives the batch replaced.

    Raises:
        InputError: it reshapes to something that mixes inputs.
    """
    if node.op == "Reshape" and isinstance(inputs[1], Constant):
        shape = [int(size) for size in inputs[1].array]
        if not shape or shape[0] not in (0, 1, -1):
            raise InputError(f"node {node}: a reshape to {shape} cannot be run with batch {batch}")
        shape[0] = batch
        # the first -1 is now known; a shape of one axis keeps it as the rest
        return [inputs[0], Constant(np.array(shape), None)]
    return inputs
