"""Scaling of activations, by constants or by what lies around them."""

from typing import Any

import torch
from torch.nn import functional

from multidnn.errors import InputError
from multidnn.targets.cuda.fusion import AFFINE
from multidnn.targets.cuda.model import Node
from multidnn.targets.cuda.operators.arguments import Function, Tensor, optional_tensor, tensor


def _per_channel(values: Tensor, rank: int) -> Tensor:
    return values.reshape(1, -1, *[1] * (rank - 2))


def _affine(node: Node, opset: int, x: Any, scale: Any, shift: Any) -> Tensor:
    x = tensor(x)
    result = torch.addcmul(_per_channel(tensor(shift), x.dim()), x, _per_channel(tensor(scale), x.dim()))
    return result.relu_() if node.attributes["relu"] else result


def _batch_normalization(node: Node, opset: int, x: Any, *parameters: Any) -> Tensor:
    # `fusion` has taken out those whose parameters are constants
    raise InputError(f"node {node}: scale, bias, mean and variance must be constants")


def _instance_normalization(node: Node, opset: int, x: Any, scale: Any, bias: Any) -> Tensor:
    epsilon = node.attributes.get("epsilon", 1e-5)
    return functional.instance_norm(tensor(x), weight=tensor(scale), bias=tensor(bias), eps=epsilon)


def _layer_normalization(node: Node, opset: int, x: Any, scale: Any, bias: Any = None) -> Tensor:
    x = tensor(x)
    axis = node.attributes.get("axis", -1) % x.dim()
    shape = x.shape[axis:]
    shift = optional_tensor(bias)
    return functional.layer_norm(
        x,
        shape,
        tensor(scale).reshape(shape),
        None if shift is None else shift.reshape(shape),
        node.attributes.get("epsilon", 1e-5),
    )


def _lrn(node: Node, opset: int, x: Any) -> Tensor:
    x, attributes = tensor(x), node.attributes
    size, alpha = attributes["size"], attributes.get("alpha", 1e-4)
    # squares of half-precision activations overflow
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    squares = wide * wide
    # ONNX reaches floor((size - 1) / 2) channels down and the rest up
    down, up = (size - 1) // 2, size // 2
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        n, c, h, w = x.shape
        rows = squares.permute(0, 2, 3, 1).reshape(n, h * w, c)
        if down != up:
            rows, down = functional.pad(rows, (down, up)), 0
        mean = functional.avg_pool1d(rows, size, stride=1, padding=down).reshape(n, h, w, c).permute(0, 3, 1, 2)
    else:
        columns = squares.reshape(x.shape[0], 1, x.shape[1], -1)
        if down != up:
            columns, down = functional.pad(columns, (0, 0, down, up)), 0
        mean = functional.avg_pool2d(columns, (size, 1), stride=1, padding=(down, 0)).reshape(wide.shape)
    factor = (attributes.get("bias", 1.0) + alpha * mean).pow_(-attributes.get("beta", 0.75))
    return (wide * factor).to(x.dtype)


OPERATORS: dict[str, Function] = {
    AFFINE: _affine,
    "BatchNormalization": _batch_normalization,
    "InstanceNormalization": _instance_normalization,
    "LRN": _lrn,
    "LayerNormalization": _layer_normalization,
}
