"""Sums, means and extremes along axes."""

from collections.abc import Callable
from typing import Any

import torch

from multidnn.targets.cuda.model import Node
from multidnn.targets.cuda.operators.arguments import Function, Tensor, axes_of, tensor


def _reduction(function: Callable[..., Tensor]) -> Function:
    def reduce(node: Node, opset: int, *inputs: Any) -> Tensor:
        x = tensor(inputs[0])
        chosen = axes_of(node, inputs, x.dim())
        if not chosen and node.attributes.get("noop_with_empty_axes", 0):
            return x
        chosen = chosen or list(range(x.dim()))
        return function(x, tuple(chosen), keepdim=bool(node.attributes.get("keepdims", 1)))

    return reduce


OPERATORS: dict[str, Function] = {
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceSum": _reduction(torch.sum),
}
