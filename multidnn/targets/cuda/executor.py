"""Executes ONNX graphs with torch, on one device and in one precision; our own, so that every kernel is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multidnn.errors import InputError, suggestion
from multidnn.targets.cuda.batching import batched, check_batch, with_batch
from multidnn.targets.cuda.constants import with_constants_evaluated
from multidnn.targets.cuda.fusion import AFFINE, FUSED_CONV, fuse
from multidnn.targets.cuda.model import Array, Model, Node, read_model
from multidnn.targets.cuda.operators import OPERATORS
from multidnn.targets.cuda.operators.arguments import Constant, Function, Tensor, tensor
from multidnn.targets.cuda.precision import Precision


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
            # a copy: what onnx returns may not be writable, which torch warns about
            found = torch.from_numpy(np.array(array)).to(self.device)
            self._tensors[key] = precision.arranged(found) if found.is_floating_point() else found
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
            check_batch(model)
        model = fuse(with_constants_evaluated(model))
        self._model = model
        self._constants = {
            name: Constant(array, store.get(path.parent, name, array, precision))
            for name, array in model.constants.items()
        }
        self._functions: list[tuple[Node, Function]] = [(node, OPERATORS[node.op]) for node in model.nodes]
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
                arguments = with_batch(node, arguments, self.batch)
            result = function(node, self._model.opset, *arguments)
            results = result if isinstance(result, tuple) else (result,)
            for name, value in zip(node.outputs, results, strict=False):
                values[name] = value
            for name in dead:
                del values[name]
        outputs = {}
        for name, shape in self.outputs.items():
            value = tensor(values[name])
            if tuple(value.shape) != shape:
                raise InputError(
                    f"{self._model.path}: output {name!r} has shape {tuple(value.shape)}, expected {shape}"
                    + (f"; this model cannot be run with batch {self.batch}" if self.batch > 1 else "")
                )
            outputs[name] = value
        return outputs


def _check(model: Model) -> None:
    for node in model.nodes:
        if node.op not in OPERATORS and node.op != "Constant":
            known = sorted(set(OPERATORS) - {FUSED_CONV, AFFINE})
            raise InputError(
                f"{model.path}: node {node}: the operator {node.op} is not supported by the cuda target"
                f"{suggestion(node.op, known)}"
            )
