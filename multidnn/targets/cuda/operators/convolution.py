"""Convolutions, with what `fusion` joins to them."""

import logging
from typing import Any

import torch
from torch.nn import functional

from multidnn.errors import InputError
from multidnn.targets.cuda.fusion import FUSED_CONV
from multidnn.targets.cuda.model import Node
from multidnn.targets.cuda.operators.arguments import Constant, Function, Tensor, optional_tensor, tensor
from multidnn.targets.cuda.windows import Window

_log = logging.getLogger(__name__)
# convolutions that cudnn has no joined kernel for
_UNFUSED: set[tuple[Any, ...]] = set()
_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONVOLVE_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def _window(node: Node, x: Tensor, weight: Any) -> Window:
    size = x.shape[2:]
    if not 1 <= len(size) <= 3:
        raise InputError(f"node {node}: convolutions over {len(size)} spatial axes are not supported")
    return Window.of(node, size, tuple(weight.array.shape[2:]) if isinstance(weight, Constant) else weight.shape[2:])


def _padded(x: Tensor, window: Window) -> tuple[Tensor, tuple[int, ...]]:
    """Return `x` and the padding that torch is to add; pads that differ between sides are there already."""
    if window.symmetric:
        return x, window.before
    return functional.pad(x, window.explicit_pads()), (0,) * len(window.before)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int) -> Tensor:
    x, padding = _padded(x, window)
    return _CONVOLVE[len(window.kernel)](x, weight, bias, window.strides, padding, window.dilations, groups)


def _convolution(node: Node, opset: int, x: Any, weight: Any, bias: Any = None) -> Tensor:
    x = tensor(x)
    groups = node.attributes.get("group", 1)
    return _convolve(x, tensor(weight), optional_tensor(bias), _window(node, x, weight), groups)


def _fused_convolution(node: Node, opset: int, x: Any, weight: Any, bias: Any, added: Any = None) -> Tensor:
    x, added = tensor(x), optional_tensor(added)
    window, groups, relu = _window(node, x, weight), node.attributes.get("group", 1), node.attributes["relu"]
    whole = added is None or list(added.shape) == [
        x.shape[0], weight.array.shape[0], *window.lengths(x.shape[2:], False)
    ]  # fmt: skip
    if relu and whole and x.is_cuda and groups == 1 and len(window.kernel) == 2:
        # cudnn adds bias and summand and rectifies within the convolution
        padded, padding = _padded(x, window)
        arguments = (tensor(bias), window.strides, padding, window.dilations, groups)
        key = (node.outputs[0], x.dtype, tuple(x.shape))
        if key not in _UNFUSED:
            try:
                if added is None:
                    return torch.cudnn_convolution_relu(padded, tensor(weight), *arguments)
                return torch.cudnn_convolution_add_relu(padded, tensor(weight), added, 1.0, *arguments)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                # decided while warming up, so that what is captured is the same every time
                _UNFUSED.add(key)
                _log.info("cuda: node %s runs as separate kernels: %s", node, str(error).splitlines()[0])
    result = _convolve(x, tensor(weight), tensor(bias), window, groups)
    if added is not None:
        result = result + added
    return result.relu_() if relu else result


def _transposed_convolution(node: Node, opset: int, x: Any, weight: Any, bias: Any = None) -> Tensor:
    x, kernel, attributes = tensor(x), tensor(weight), node.attributes
    rank = x.dim() - 2
    if attributes.get("output_shape") or attributes.get("auto_pad", "NOTSET") != "NOTSET" or not 1 <= rank <= 3:
        raise InputError(f"node {node}: output_shape, auto_pad and more than three spatial axes are not supported")
    pads = list(attributes.get("pads") or [0] * 2 * rank)
    if pads[:rank] != pads[rank:]:
        raise InputError(f"node {node}: pads {pads} that differ between the sides of an axis are not supported")
    return _CONVOLVE_TRANSPOSED[rank](
        x,
        kernel,
        optional_tensor(bias),
        attributes.get("strides") or [1] * rank,
        pads[:rank],
        attributes.get("output_padding") or [0] * rank,
        attributes.get("group", 1),
        attributes.get("dilations") or [1] * rank,
    )


OPERATORS: dict[str, Function] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    FUSED_CONV: _fused_convolution,
}
