"""Maxima and means over windows of an image, or over all of it."""

from typing import Any

import torch
from torch.nn import functional

from multidnn.errors import InputError
from multidnn.targets.cuda import pools
from multidnn.targets.cuda.model import Node
from multidnn.targets.cuda.operators.arguments import Function, Tensor, tensor
from multidnn.targets.cuda.windows import Window

_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _window(node: Node, x: Tensor) -> tuple[Window, bool]:
    """Return the window of a pool, and whether it takes windows that are not full."""
    if not 1 <= x.dim() - 2 <= 3:
        raise InputError(f"node {node}: pools over {x.dim() - 2} spatial axes are not supported")
    return Window.of(node, x.shape[2:], node.attributes["kernel_shape"]), bool(node.attributes.get("ceil_mode", 0))


def _max_pool(node: Node, opset: int, x: Any) -> Tensor:
    x = tensor(x)
    if len([name for name in node.outputs if name]) > 1:
        raise InputError(f"node {node}: indices of a max pool are not supported")
    window, ceil = _window(node, x)
    pool = _MAX_POOL[len(window.kernel)]
    mode = window.torch_ceil_mode(x.shape[2:], ceil)
    if mode is None and ceil:
        raise InputError(f"node {node}: ceil_mode with these pads is not supported")
    if pools.takes(x):
        return pools.max_pool(x, window, window.lengths(x.shape[2:], ceil))
    if mode is not None:
        return pool(x, window.kernel, window.strides, window.before, window.dilations, mode)
    padded = functional.pad(x, window.explicit_pads(), value=float("-inf"))
    return pool(padded, window.kernel, window.strides, 0, window.dilations, False)


def _average_pool(node: Node, opset: int, x: Any) -> Tensor:
    x = tensor(x)
    window, ceil = _window(node, x)
    if any(step != 1 for step in window.dilations):
        raise InputError(f"node {node}: dilations of an average pool are not supported")
    pool = _AVERAGE_POOL[len(window.kernel)]
    padded = any(window.before) or any(window.after)
    if not node.attributes.get("count_include_pad", 0) or not padded:
        mode = window.torch_ceil_mode(x.shape[2:], ceil)
        if mode is not None:
            return pool(x, window.kernel, window.strides, window.before, mode, False)
        if ceil:
            raise InputError(f"node {node}: ceil_mode with these pads is not supported")
        # means over what is not padding: sums, and how many values are in each
        ones = torch.ones_like(x[:1, :1])
        sums, counts = (
            pool(functional.pad(values, window.explicit_pads()), window.kernel, window.strides, 0, False, True)
            for values in (x, ones)
        )
        return sums / counts
    if ceil:
        raise InputError(f"node {node}: ceil_mode with count_include_pad is not supported")
    if window.symmetric and window.torch_ceil_mode(x.shape[2:], False) is False:
        return pool(x, window.kernel, window.strides, window.before, False, True)
    return pool(functional.pad(x, window.explicit_pads()), window.kernel, window.strides, 0, False, True)


def _global_average_pool(node: Node, opset: int, x: Any) -> Tensor:
    x = tensor(x)
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


def _global_max_pool(node: Node, opset: int, x: Any) -> Tensor:
    x = tensor(x)
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


OPERATORS: dict[str, Function] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "MaxPool": _max_pool,
}
