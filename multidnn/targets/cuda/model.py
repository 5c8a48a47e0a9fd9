"""Reads an ONNX model (weights in the file or beside it) into a plain list of nodes and constants."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multidnn.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class Node:
    """One operator: ONNX name, input tensors ("" where an optional one is left out), output tensors, attributes."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.op} {self.name or self.outputs[0]!r}"

    def with_(self, **changes: Any) -> "Node":
        """Return a copy with some fields changed."""
        return replace(self, **changes)


@dataclass
class Model:
    """A graph in execution order; inputs and outputs map names to the shapes that the file declares."""

    path: Path
    opset: int
    nodes: list[Node]
    constants: dict[str, Array]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]


def read_model(path: Path) -> Model:
    """Return the model at `path`.

    Raises:
        InputError: the file is no ONNX model, or uses operators of another domain than ONNX's own.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        # external weights are read here, as this checks that the files that hold them are there
        model = onnx.load(str(path))
    except (OSError, ValueError, DecodeError, onnx.checker.ValidationError) as error:
        raise InputError(f"{path}: cannot be read as an ONNX model: {error}") from None
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    nodes = []
    for proto in model.graph.node:
        node = Node(
            proto.op_type,
            proto.name,
            tuple(proto.input),
            tuple(proto.output),
            {attribute.name: _attribute(attribute) for attribute in proto.attribute},
        )
        if proto.domain not in ("", "ai.onnx"):
            raise InputError(f"{path}: node {node}: operators of domain {proto.domain!r} are not supported")
        nodes.append(node)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return Model(
        Path(path),
        opsets.get("", opsets.get("ai.onnx", 0)),
        nodes,
        constants,
        {value.name: _shape(value) for value in model.graph.input if value.name not in constants},
        {value.name: _shape(value) for value in model.graph.output},
    )


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)


def _attribute(attribute: Any) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value


def scalars(array: Array) -> list[int]:
    """Return a constant of integers as a flat list of Python integers."""
    return [int(value) for value in np.asarray(array).reshape(-1)]
