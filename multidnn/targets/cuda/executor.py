"""Executes ONNX graphs with torch, on one device and in one precision; our own, so that every kernel is known."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from multidnn.errors import InputError, suggestion
from multidnn.targets.cuda.fusion import AFFINE, FUSED_CONV, fuse
from multidnn.targets.cuda.model import Array, Model, Node, read_model
from multidnn.targets.cuda.operators import BATCH_AXIS_OPERATORS, OPERATORS, Constant
from multidnn.targets.cuda.precision import Precision

Tensor = Any


class WeightStore:
    """Weights on the device, once per network and precision; groups, instances and the whole network share them.

    Args:
        device: torch's name of the device.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._tensors: dict[tuple[Path, str, str], Tensor] = {}

    def get(self, directory: Path, name: str, array: Array, precision: Precision) -> Tensor:
        """Return the constant `name` of the models in `directory` on the device, in `precision` if it is a float."""
        key = (directory, name, precision.name)
        if key not in self._tensors:
            import torch

            # a copy: what onnx returns may not be writable, which torch warns about
            tensor = torch.from_numpy(np.array(array)).to(self.device)
            self._tensors[key] = precision.arranged(tensor) if tensor.is_floating_point() else tensor
        return self._tensors[key]


class Program:
    """One ONNX model, ready to run.

    Args:
        path: the model; its external weights lie beside it.
        batch: how many inputs are run at once. The model is for one: the first axis of its inputs is 1.
        store: where its weights are, shared with other models of the directory.

    Raises:
        InputError: an operator is not supported (the message names it and the node), or the model cannot have a batch.
    """

    def __init__(self, path: Path, precision: Precision, batch: int, store: WeightStore) -> None:
        self.precision = precision
        self.batch = batch
        model = read_model(path)
        _check(model)
        if batch > 1:
            _check_batch(model)
        model = fuse(_with_constants_evaluated(model))
        self._model = model
        self._constants = {
            name: Constant(array, store.get(path.parent, name, array, precision))
            for name, array in model.constants.items()
        }
        self._functions: list[tuple[Node, Callable[..., Any]]] = [(node, OPERATORS[node.op]) for node in model.nodes]
        # tensors that no later node reads are freed, so that the graph's memory is as small as it can be
        last = {name: number for number, node in enumerate(model.nodes) for name in node.inputs}
        self._dead: list[list[str]] = [[] for _ in model.nodes]
        for name, number in last.items():
            if name not in self._constants and name not in model.outputs:
                self._dead[number].append(name)

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs, with the batch."""
        return {name: batched(shape, self.batch) for name, shape in self._model.outputs.items()}

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs for `inputs`, which may be of another precision; nothing waits for the device.

        Raises:
            InputError: a node cannot do what it is asked for, or an output has another shape than declared.
        """
        values: dict[str, Any] = dict(self._constants)
        for name in self._model.inputs:
            given = inputs[name]
            values[name] = self.precision.arranged(given) if given.is_floating_point() else given
        for (node, function), dead in zip(self._functions, self._dead, strict=True):
            arguments = [values[name] if name else None for name in node.inputs]
            if self.batch > 1:
                arguments = self._with_batch(node, arguments)
            result = function(node, self._model.opset, *arguments)
            results = result if isinstance(result, tuple) else (result,)
            for name, value in zip(node.outputs, results, strict=False):
                values[name] = value
            for name in dead:
                del values[name]
        outputs = {}
        for name, shape in self.outputs.items():
            value = values[name].tensor if isinstance(values[name], Constant) else values[name]
            if tuple(value.shape) != shape:
                raise InputError(
                    f"{self._model.path}: output {name!r} has shape {tuple(value.shape)}, expected {shape}"
                    + (f"; this model cannot be run with batch {self.batch}" if self.batch > 1 else "")
                )
            outputs[name] = value
        return outputs

    def _with_batch(self, node: Node, arguments: list[Any]) -> list[Any]:
        """Return the inputs of `node` with the 1 that a reshape gives the batch replaced, or refuse what mixes inputs."""
        if node.op == "Reshape" and isinstance(arguments[1], Constant):
            shape = [int(size) for size in arguments[1].array]
            if not shape or shape[0] not in (0, 1, -1):
                raise InputError(f"node {node}: a reshape to {shape} cannot be run with batch {self.batch}")
            shape[0] = self.batch
            # the first -1 is now known; a shape of one axis keeps it as the rest
            return [arguments[0], Constant(np.array(shape), None)]
        return arguments


def batched(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    """Return a tensor's shape with `batch` inputs instead of one."""
    return shape if batch == 1 else (batch, *shape[1:])


def _check(model: Model) -> None:
    for node in model.nodes:
        if node.op not in OPERATORS and node.op != "Constant":
            known = sorted(set(OPERATORS) - {FUSED_CONV, AFFINE})
            raise InputError(
                f"{model.path}: node {node}: the operator {node.op} is not supported by the cuda target"
                f"{suggestion(node.op, known)}"
            )


def _check_batch(model: Model) -> None:
    """Refuse nodes that would mix the inputs of a batch, which shapes alone do not tell."""
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
        reduces = node.op in BATCH_AXIS_OPERATORS or node.op.startswith("Reduce") or node.op in ("Squeeze", "Flatten")
        permutes = node.op == "Transpose" and next(iter(attributes.get("perm", [1]))) != 0
        if (reduces and 0 in axes) or permutes:
            raise InputError(
                f"{model.path}: node {node} works across the first axis, which would mix the inputs of a batch; "
                "use batch: 1"
            )


def _with_constants_evaluated(model: Model) -> Model:
    """Return `model` with every node whose inputs are all constant replaced by its result."""
    import torch

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
