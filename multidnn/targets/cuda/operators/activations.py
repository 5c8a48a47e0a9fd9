"""Nonlinear functions between layers."""

from typing import Any

import torch
from torch.nn import functional

from multidnn.targets.cuda.model import Node
from multidnn.targets.cuda.operators.arguments import Function, Tensor, number, tensor


def _relu(node: Node, opset: int, x: Any) -> Tensor:
    return torch.relu(tensor(x))


def _sigmoid(node: Node, opset: int, x: Any) -> Tensor:
    return torch.sigmoid(tensor(x))


def _tanh(node: Node, opset: int, x: Any) -> Tensor:
    return torch.tanh(tensor(x))


def _clip(node: Node, opset: int, x: Any, low: Any = None, high: Any = None) -> Tensor:
    smallest = node.attributes.get("min") if low is None else number(node, low, "min")
    largest = node.attributes.get("max") if high is None else number(node, high, "max")
    return tensor(x) if smallest is None and largest is None else tensor(x).clamp(smallest, largest)


def _leaky_relu(node: Node, opset: int, x: Any) -> Tensor:
    return functional.leaky_relu(tensor(x), node.attributes.get("alpha", 0.01))


def _prelu(node: Node, opset: int, x: Any, slope: Any) -> Tensor:
    x = tensor(x)
    return torch.where(x < 0, x * tensor(slope), x)


def _elu(node: Node, opset: int, x: Any) -> Tensor:
    return functional.elu(tensor(x), node.attributes.get("alpha", 1.0))


def _selu(node: Node, opset: int, x: Any) -> Tensor:
    x, a, g = tensor(x), node.attributes.get("alpha", 1.6732632), node.attributes.get("gamma", 1.050701)
    return g * torch.where(x > 0, x, a * torch.expm1(x))


def _softplus(node: Node, opset: int, x: Any) -> Tensor:
    return functional.softplus(tensor(x))


def _hard_sigmoid(node: Node, opset: int, x: Any) -> Tensor:
    return (tensor(x) * node.attributes.get("alpha", 0.2) + node.attributes.get("beta", 0.5)).clamp(0, 1)


def _hard_swish(node: Node, opset: int, x: Any) -> Tensor:
    return functional.hardswish(tensor(x))


def _mish(node: Node, opset: int, x: Any) -> Tensor:
    return functional.mish(tensor(x))


def _gelu(node: Node, opset: int, x: Any) -> Tensor:
    return functional.gelu(tensor(x), approximate=node.attributes.get("approximate", "none"))


def _softmax(node: Node, opset: int, x: Any) -> Tensor:
    x = tensor(x)
    axis = node.attributes.get("axis", -1 if opset >= 13 else 1)
    function = torch.softmax if node.op == "Softmax" else torch.log_softmax
    if opset >= 13:
        return function(x, axis)
    # before opset 13 everything from the axis on is one row
    return function(x.flatten(axis), axis).reshape(x.shape)


OPERATORS: dict[str, Function] = {
    "Clip": _clip,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax,
    "Mish": _mish,
    "PRelu": _prelu,
    "Relu": _relu,
    "Selu": _selu,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Tanh": _tanh,
}
