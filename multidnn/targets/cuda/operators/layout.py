"""The same values in another shape or order, parts of them, or more of them."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from multidnn.errors import InputError
from multidnn.targets.cuda.model import Node, scalars
from multidnn.targets.cuda.operators.arguments import Constant, Function, Tensor, axes_of, integers, number, tensor


def _concat(node: Node, opset: int, *inputs: Any) -> Tensor:
    return torch.cat([tensor(value) for value in inputs], node.attributes["axis"])


def _flatten(node: Node, opset: int, x: Any) -> Tensor:
    x = tensor(x)
    axis = node.attributes.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    rows = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape(rows, -1)


def _reshape(node: Node, opset: int, x: Any, shape: Any) -> Tensor:
    x, wanted = tensor(x), integers(node, shape, "the shape")
    if not node.attributes.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


def _squeeze(node: Node, opset: int, *inputs: Any) -> Tensor:
    x = tensor(inputs[0])
    axes = axes_of(node, inputs, x.dim())
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def _unsqueeze(node: Node, opset: int, *inputs: Any) -> Tensor:
    x = tensor(inputs[0])
    axes = node.attributes.get("axes") or integers(node, inputs[1], "axes")
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _transpose(node: Node, opset: int, x: Any) -> Tensor:
    x = tensor(x)
    return x.permute(node.attributes.get("perm") or tuple(reversed(range(x.dim()))))


def _slice(node: Node, opset: int, x: Any, *bounds: Any) -> Tensor:
    x = tensor(x)
    if bounds:
        starts, ends, axes, steps = (
            None if value is None else integers(node, value, "a bound")
            for value in (*bounds, *[None] * (4 - len(bounds)))
        )
    else:
        starts, ends, axes = (node.attributes.get(name) for name in ("starts", "ends", "axes"))
        steps = None
    assert starts is not None
    assert ends is not None
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = place if axes is None else axes[place]
        if steps is not None and steps[place] < 1:
            raise InputError(f"node {node}: a slice with step {steps[place]} is not supported")
        index = [slice(None)] * x.dim()
        index[axis] = slice(start, end, None if steps is None else steps[place])
        x = x[tuple(index)]
    return x


def _split(node: Node, opset: int, x: Any, sizes: Any = None) -> Any:
    x = tensor(x)
    axis = node.attributes.get("axis", 0)
    listed = node.attributes.get("split") or (None if sizes is None else integers(node, sizes, "the sizes"))
    if listed is None:
        listed = -(-x.shape[axis] // len(node.outputs))
    return tuple(x.split(listed, axis))


def _gather(node: Node, opset: int, x: Any, indices: Any) -> Tensor:
    x, axis = tensor(x), node.attributes.get("axis", 0)
    if isinstance(indices, Constant) and indices.array.ndim == 0:
        return x.select(axis, int(indices.array))
    raise InputError(f"node {node}: only a gather of one constant index is supported")


def _pad(node: Node, opset: int, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    x = tensor(x)
    if axes is not None:
        raise InputError(f"node {node}: a pad of chosen axes is not supported")
    amounts = list(node.attributes.get("pads") or integers(node, pads, "pads"))
    fill = node.attributes.get("value", 0.0) if value is None else number(node, value, "the value")
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        node.attributes.get("mode", "constant")
    )
    if mode is None:
        raise InputError(f"node {node}: mode {node.attributes['mode']!r} is not supported")
    rank = x.dim()
    sides = [side for axis in reversed(range(rank)) for side in (amounts[axis], amounts[axis + rank])]
    if mode == "constant":
        return functional.pad(x, sides, value=fill)
    if any(sides[2 * (rank - 2) :]):
        raise InputError(f"node {node}: {mode} pads of batch or channels are not supported")
    return functional.pad(x, sides[: 2 * (rank - 2)], mode=mode)


def _depth_to_space(node: Node, opset: int, x: Any) -> Tensor:
    x, block = tensor(x), node.attributes["blocksize"]
    n, c, h, w = x.shape
    if node.attributes.get("mode", "DCR") == "DCR":
        split = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        split = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return split.reshape(n, c // block**2, h * block, w * block)


def _resize(node: Node, opset: int, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Tensor:
    x = tensor(x)
    if isinstance(sizes, Constant):
        factors = [size / old for size, old in zip(scalars(sizes.array)[2:], x.shape[2:], strict=True)]
        batch_and_channels = scalars(sizes.array)[:2] == list(x.shape[:2])
    elif isinstance(scales, Constant):
        factors = [float(value) for value in scales.array.reshape(-1)[2:]]
        batch_and_channels = bool((scales.array.reshape(-1)[:2] == 1).all())
    else:
        raise InputError(f"node {node}: scales or sizes must be constants")
    if (
        node.attributes.get("mode", "nearest") != "nearest"
        or not batch_and_channels
        or any(factor < 1 or factor != int(factor) for factor in factors)
    ):
        raise InputError(f"node {node}: only enlarging by whole factors with mode nearest is supported")
    return functional.interpolate(x, scale_factor=factors, mode="nearest")


OPERATORS: dict[str, Function] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
