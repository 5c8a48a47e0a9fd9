"""What an operator's function is given: tensors, and constants of the model that it reads as numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.cuda.model import Array, Node, scalars

Tensor = Any
# (node, opset, inputs...) to a tensor, or a tuple of them
Function = Callable[..., Any]


@dataclass(frozen=True)
class Constant:
    """A constant of the model: as numpy for shapes and numbers, on the device for arithmetic."""

    array: Array
    tensor: Tensor


def tensor(value: Any) -> Tensor:
    """Return an input as a tensor on the device."""
    return value.tensor if isinstance(value, Constant) else value


def optional_tensor(value: Any) -> Tensor | None:
    """Return an input as a tensor on the device, None if it is left out."""
    return None if value is None else tensor(value)


def integers(node: Node, value: Any, what: str) -> list[int]:
    """Return the integers that an input holds.

    Raises:
        InputError: it is no constant; `what` says what it is for.
    """
    if not isinstance(value, Constant):
        raise InputError(f"node {node}: {what} must be a constant")
    return scalars(value.array)


def number(node: Node, value: Any, what: str) -> float:
    """Return the one number that an input holds.

    Raises:
        InputError: it is no constant, or several numbers; `what` says what it is for.
    """
    if not isinstance(value, Constant) or value.array.size != 1:
        raise InputError(f"node {node}: {what} must be a constant number")
    return float(value.array.reshape(-1)[0])


def axes_of(node: Node, inputs: tuple[Any, ...], rank: int) -> list[int] | None:
    """Return the axes of a reduction or squeeze, an attribute in older opsets and an input in newer ones."""
    listed = node.attributes.get("axes")
    if listed is None and len(inputs) > 1 and inputs[1] is not None:
        listed = integers(node, inputs[1], "axes")
    return None if listed is None else [int(axis) % rank for axis in listed]
