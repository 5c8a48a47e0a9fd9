"""Arithmetic on each value by itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from multidnn.errors import InputError
from multidnn.targets.cuda.model import Node
from multidnn.targets.cuda.operators.arguments import Constant, Function, Tensor, tensor


def _unary(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda node, opset, x: function(tensor(x))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda node, opset, a, b: function(tensor(a), tensor(b))


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def apply(node: Node, opset: int, first: Any, *others: Any) -> Tensor:
        result = tensor(first)
        for other in others:
            result = function(result, tensor(other))
        return result

    return apply


_sum = _folded(torch.add)


def _mean(node: Node, opset: int, *inputs: Any) -> Tensor:
    return _sum(node, opset, *inputs) / len(inputs)


def _identity(node: Node, opset: int, x: Any, *ratio_and_mode: Any) -> Tensor:
    mode = ratio_and_mode[1] if len(ratio_and_mode) > 1 else None
    if len([name for name in node.outputs if name]) > 1 or (
        mode is not None and not (isinstance(mode, Constant) and not mode.array.any())
    ):
        raise InputError(f"node {node}: dropout that is training, or gives its mask, is not supported")
    return tensor(x)


def _cast(node: Node, opset: int, x: Any) -> Tensor:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"])
    x = tensor(x)
    # floats stay in the accelerator's precision
    if np.issubdtype(kind, np.floating) and x.is_floating_point():
        return x
    raise InputError(f"node {node}: a cast from {x.dtype} to {kind} is not supported")


OPERATORS: dict[str, Function] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "Cast": _cast,
    "Ceil": _unary(torch.ceil),
    "Div": _binary(torch.true_divide),
    "Dropout": _identity,
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Floor": _unary(torch.floor),
    "Identity": _identity,
    "Log": _unary(torch.log),
    "Max": _folded(torch.maximum),
    "Mean": _mean,
    "Min": _folded(torch.minimum),
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "Pow": _binary(torch.pow),
    "Reciprocal": _unary(torch.reciprocal),
    "Sqrt": _unary(torch.sqrt),
    "Sub": _binary(torch.sub),
    "Sum": _sum,
}
