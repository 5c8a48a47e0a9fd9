"""ONNX operators as torch calls: one function per operator, with ONNX's exact meaning.

A function gets the node, the opset, and its inputs: torch tensors, `Constant` for constants of the model, None for
optional inputs that are left out. It returns a tensor, or a tuple for several outputs. Nothing here waits for the
device or reads from it, so that calls can be captured into a CUDA graph.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from multidnn.errors import InputError
from multidnn.targets.cuda import pools
from multidnn.targets.cuda.fusion import AFFINE, FUSED_CONV
from multidnn.targets.cuda.model import Array, Node, scalars
from multidnn.targets.cuda.windows import Window

_log = logging.getLogger(__name__)
# convolutions that cudnn has no joined kernel for
_UNFUSED: set[tuple[Any, ...]] = set()

Tensor = Any
Function = Callable[..., Any]


@dataclass(frozen=True)
class Constant:
    """A constant of the model: as numpy for shapes and numbers, on the device for arithmetic."""

    array: Array
    tensor: Tensor


OPERATORS: dict[str, Function] = {}
# operators whose axis must not be the batch where one batch holds several inputs
BATCH_AXIS_OPERATORS = frozenset({"Concat", "Softmax", "LogSoftmax", "Gather", "Split", "Slice", "Unsqueeze"})


def operator(*names: str) -> Callable[[Function], Function]:
    """Register a function for ONNX operators."""

    def register(function: Function) -> Function:
        for name in names:
            OPERATORS[name] = function
        return function

    return register


def _t(value: Any) -> Tensor:
    return value.tensor if isinstance(value, Constant) else value


def _ints(node: Node, value: Any, what: str) -> list[int]:
    if not isinstance(value, Constant):
        raise InputError(f"node {node}: {what} must be a constant")
    return scalars(value.array)


def _number(node: Node, value: Any, what: str) -> float:
    if not isinstance(value, Constant) or value.array.size != 1:
        raise InputError(f"node {node}: {what} must be a constant number")
    return float(value.array.reshape(-1)[0])


def _axes(node: Node, inputs: tuple[Any, ...], rank: int) -> list[int] | None:
    """Return the axes of a reduction or squeeze, an attribute in older opsets and an input in newer ones."""
    axes = node.attributes.get("axes")
    if axes is None and len(inputs) > 1 and inputs[1] is not None:
        axes = _ints(node, inputs[1], "axes")
    return None if axes is None else [int(axis) % rank for axis in axes]


def _torch() -> Any:
    import torch

    return torch


def _functional() -> Any:
    from torch.nn import functional

    return functional


def _register_elementwise() -> None:
    def binary(function: str) -> Function:
        return lambda node, opset, a, b: getattr(_torch(), function)(_t(a), _t(b))

    for name, function in {
        "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "true_divide", "Pow": "pow",
    }.items():  # fmt: skip
        OPERATORS[name] = binary(function)

    def unary(function: str) -> Function:
        return lambda node, opset, x: getattr(_torch(), function)(_t(x))

    for name in ("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Neg", "Abs", "Erf", "Floor", "Ceil", "Reciprocal"):
        OPERATORS[name] = unary(name.lower())

    def folded(function: str) -> Function:
        def apply(node: Node, opset: int, first: Any, *others: Any) -> Tensor:
            result = _t(first)
            for other in others:
                result = getattr(_torch(), function)(result, _t(other))
            return result

        return apply

    for name, function in {"Sum": "add", "Max": "maximum", "Min": "minimum"}.items():
        OPERATORS[name] = folded(function)


_register_elementwise()


@operator("Mean")
def _mean(node: Node, opset: int, *inputs: Any) -> Tensor:
    return OPERATORS["Sum"](node, opset, *inputs) / len(inputs)


@operator("Clip")
def _clip(node: Node, opset: int, x: Any, low: Any = None, high: Any = None) -> Tensor:
    smallest = node.attributes.get("min") if low is None else _number(node, low, "min")
    largest = node.attributes.get("max") if high is None else _number(node, high, "max")
    return _t(x) if smallest is None and largest is None else _t(x).clamp(smallest, largest)


@operator("LeakyRelu")
def _leaky_relu(node: Node, opset: int, x: Any) -> Tensor:
    return _functional().leaky_relu(_t(x), node.attributes.get("alpha", 0.01))


@operator("PRelu")
def _prelu(node: Node, opset: int, x: Any, slope: Any) -> Tensor:
    x = _t(x)
    return _torch().where(x < 0, x * _t(slope), x)


@operator("Elu")
def _elu(node: Node, opset: int, x: Any) -> Tensor:
    return _functional().elu(_t(x), node.attributes.get("alpha", 1.0))


@operator("Selu")
def _selu(node: Node, opset: int, x: Any) -> Tensor:
    x, a, g = _t(x), node.attributes.get("alpha", 1.6732632), node.attributes.get("gamma", 1.050701)
    return g * _torch().where(x > 0, x, a * _torch().expm1(x))


@operator("Softplus")
def _softplus(node: Node, opset: int, x: Any) -> Tensor:
    return _functional().softplus(_t(x))


@operator("HardSigmoid")
def _hard_sigmoid(node: Node, opset: int, x: Any) -> Tensor:
    return (_t(x) * node.attributes.get("alpha", 0.2) + node.attributes.get("beta", 0.5)).clamp(0, 1)


@operator("HardSwish")
def _hard_swish(node: Node, opset: int, x: Any) -> Tensor:
    return _functional().hardswish(_t(x))


@operator("Mish")
def _mish(node: Node, opset: int, x: Any) -> Tensor:
    return _functional().mish(_t(x))


@operator("Gelu")
def _gelu(node: Node, opset: int, x: Any) -> Tensor:
    return _functional().gelu(_t(x), approximate=node.attributes.get("approximate", "none"))


@operator("Identity", "Dropout")
def _identity(node: Node, opset: int, x: Any, *ratio_and_mode: Any) -> Tensor:
    mode = ratio_and_mode[1] if len(ratio_and_mode) > 1 else None
    if len([name for name in node.outputs if name]) > 1 or (
        mode is not None and not (isinstance(mode, Constant) and not mode.array.any())
    ):
        raise InputError(f"node {node}: dropout that is training, or gives its mask, is not supported")
    return _t(x)


@operator("Cast")
def _cast(node: Node, opset: int, x: Any) -> Tensor:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(node.attributes["to"])
    x = _t(x)
    # floats stay in the accelerator's precision
    if np.issubdtype(kind, np.floating) and x.is_floating_point():
        return x
    raise InputError(f"node {node}: a cast from {x.dtype} to {kind} is not supported")


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window, groups: int) -> Tensor:
    functional = _functional()
    padding = window.before
    if not window.symmetric:
        x, padding = functional.pad(x, window.explicit_pads()), (0,) * len(padding)
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[len(window.kernel)]
    return convolve(x, weight, bias, window.strides, padding, window.dilations, groups)


def _window(node: Node, x: Tensor, weight: Any) -> Window:
    size = x.shape[2:]
    if not 1 <= len(size) <= 3:
        raise InputError(f"node {node}: convolutions over {len(size)} spatial axes are not supported")
    return Window.of(node, size, tuple(weight.array.shape[2:]) if isinstance(weight, Constant) else weight.shape[2:])


@operator("Conv")
def _convolution(node: Node, opset: int, x: Any, weight: Any, bias: Any = None) -> Tensor:
    x = _t(x)
    return _conv(
        x, _t(weight), None if bias is None else _t(bias), _window(node, x, weight), node.attributes.get("group", 1)
    )


@operator(FUSED_CONV)
def _fused_convolution(node: Node, opset: int, x: Any, weight: Any, bias: Any, added: Any = None) -> Tensor:
    x, added = _t(x), None if added is None else _t(added)
    window, groups, relu = _window(node, x, weight), node.attributes.get("group", 1), node.attributes["relu"]
    whole = added is None or list(added.shape) == [
        x.shape[0], weight.array.shape[0], *window.lengths(x.shape[2:], False)
    ]  # fmt: skip
    if relu and whole and x.is_cuda and groups == 1 and len(window.kernel) == 2:
        # cudnn adds bias and summand and rectifies within the convolution
        functional, torch = _functional(), _torch()
        padded, padding = x, window.before
        if not window.symmetric:
            padded, padding = functional.pad(x, window.explicit_pads()), (0, 0)
        arguments = (_t(bias), window.strides, padding, window.dilations, groups)
        key = (node.outputs[0], x.dtype, tuple(x.shape))
        if key not in _UNFUSED:
            try:
                if added is None:
                    return torch.cudnn_convolution_relu(padded, _t(weight), *arguments)
                return torch.cudnn_convolution_add_relu(padded, _t(weight), added, 1.0, *arguments)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                # decided while warming up, so that what is captured is the same every time
                _UNFUSED.add(key)
                _log.info("cuda: node %s runs as separate kernels: %s", node, str(error).splitlines()[0])
    result = _conv(x, _t(weight), _t(bias), window, groups)
    if added is not None:
        result = result + added
    return result.relu_() if relu else result


@operator("ConvTranspose")
def _transposed_convolution(node: Node, opset: int, x: Any, weight: Any, bias: Any = None) -> Tensor:
    x, kernel, attributes = _t(x), _t(weight), node.attributes
    rank = x.dim() - 2
    if attributes.get("output_shape") or attributes.get("auto_pad", "NOTSET") != "NOTSET" or not 1 <= rank <= 3:
        raise InputError(f"node {node}: output_shape, auto_pad and more than three spatial axes are not supported")
    pads = list(attributes.get("pads") or [0] * 2 * rank)
    if pads[:rank] != pads[rank:]:
        raise InputError(f"node {node}: pads {pads} that differ between the sides of an axis are not supported")
    functional = _functional()
    convolve = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}[rank]
    return convolve(
        x,
        kernel,
        None if bias is None else _t(bias),
        attributes.get("strides") or [1] * rank,
        pads[:rank],
        attributes.get("output_padding") or [0] * rank,
        attributes.get("group", 1),
        attributes.get("dilations") or [1] * rank,
    )


def _per_channel(values: Tensor, rank: int) -> Tensor:
    return values.reshape(1, -1, *[1] * (rank - 2))


@operator(AFFINE)
def _affine(node: Node, opset: int, x: Any, scale: Any, shift: Any) -> Tensor:
    x = _t(x)
    result = _torch().addcmul(_per_channel(_t(shift), x.dim()), x, _per_channel(_t(scale), x.dim()))
    return result.relu_() if node.attributes["relu"] else result


@operator("InstanceNormalization")
def _instance_normalization(node: Node, opset: int, x: Any, scale: Any, bias: Any) -> Tensor:
    return _functional().instance_norm(_t(x), weight=_t(scale), bias=_t(bias), eps=node.attributes.get("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_normalization(node: Node, opset: int, x: Any, scale: Any, bias: Any = None) -> Tensor:
    x = _t(x)
    axis = node.attributes.get("axis", -1) % x.dim()
    shape = x.shape[axis:]
    return _functional().layer_norm(
        x,
        shape,
        _t(scale).reshape(shape),
        None if bias is None else _t(bias).reshape(shape),
        node.attributes.get("epsilon", 1e-5),
    )


@operator("LRN")
def _lrn(node: Node, opset: int, x: Any) -> Tensor:
    x, attributes = _t(x), node.attributes
    size, alpha = attributes["size"], attributes.get("alpha", 1e-4)
    functional = _functional()
    # squares of half-precision activations overflow
    wide = x.float() if x.dtype in (_torch().float16, _torch().bfloat16) else x
    squares = wide * wide
    # ONNX reaches floor((size - 1) / 2) channels down and the rest up
    down, up = (size - 1) // 2, size // 2
    if x.dim() == 4 and x.is_contiguous(memory_format=_torch().channels_last):
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


@operator("MaxPool")
def _max_pool(node: Node, opset: int, x: Any) -> Tensor:
    x = _t(x)
    if len([name for name in node.outputs if name]) > 1:
        raise InputError(f"node {node}: indices of a max pool are not supported")
    window, ceil = _pool_window(node, x)
    functional = _functional()
    pool = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[len(window.kernel)]
    mode = window.torch_ceil_mode(x.shape[2:], ceil)
    if mode is None and ceil:
        raise InputError(f"node {node}: ceil_mode with these pads is not supported")
    if pools.takes(x):
        return pools.max_pool(x, window, window.lengths(x.shape[2:], ceil))
    if mode is not None:
        return pool(x, window.kernel, window.strides, window.before, window.dilations, mode)
    padded = functional.pad(x, window.explicit_pads(), value=float("-inf"))
    return pool(padded, window.kernel, window.strides, 0, window.dilations, False)


def _pool_window(node: Node, x: Tensor) -> tuple[Window, bool]:
    if not 1 <= x.dim() - 2 <= 3:
        raise InputError(f"node {node}: pools over {x.dim() - 2} spatial axes are not supported")
    return Window.of(node, x.shape[2:], node.attributes["kernel_shape"]), bool(node.attributes.get("ceil_mode", 0))


@operator("AveragePool")
def _average_pool(node: Node, opset: int, x: Any) -> Tensor:
    x = _t(x)
    window, ceil = _pool_window(node, x)
    if any(step != 1 for step in window.dilations):
        raise InputError(f"node {node}: dilations of an average pool are not supported")
    functional = _functional()
    pool = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[len(window.kernel)]
    padded = any(window.before) or any(window.after)
    if not node.attributes.get("count_include_pad", 0) or not padded:
        mode = window.torch_ceil_mode(x.shape[2:], ceil)
        if mode is not None:
            return pool(x, window.kernel, window.strides, window.before, mode, False)
        if ceil:
            raise InputError(f"node {node}: ceil_mode with these pads is not supported")
        # means over what is not padding: sums, and how many values are in each
        ones = _torch().ones_like(x[:1, :1])
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


@operator("GlobalAveragePool")
def _global_average_pool(node: Node, opset: int, x: Any) -> Tensor:
    x = _t(x)
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool")
def _global_max_pool(node: Node, opset: int, x: Any) -> Tensor:
    x = _t(x)
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


def _reduction(function: str) -> Function:
    def reduce(node: Node, opset: int, *inputs: Any) -> Tensor:
        x = _t(inputs[0])
        axes = _axes(node, inputs, x.dim())
        if not axes and node.attributes.get("noop_with_empty_axes", 0):
            return x
        axes = axes or list(range(x.dim()))
        return getattr(x, function)(tuple(axes), keepdim=bool(node.attributes.get("keepdims", 1)))

    return reduce


for _name, _function in {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin"}.items():
    OPERATORS[_name] = _reduction(_function)


@operator("Gemm")
def _gemm(node: Node, opset: int, a: Any, b: Any, c: Any = None) -> Tensor:
    attributes = node.attributes
    x = _t(a).t() if attributes.get("transA", 0) else _t(a)
    weight = _t(b) if attributes.get("transB", 0) else _t(b).t()
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if alpha == 1.0 and (c is None or (beta == 1.0 and _t(c).dim() == 1)):
        return _functional().linear(x, weight, None if c is None else _t(c))
    result = alpha * (x @ weight.t())
    return result if c is None else result + beta * _t(c)


@operator("MatMul")
def _matmul(node: Node, opset: int, a: Any, b: Any) -> Tensor:
    return _t(a) @ _t(b)


@operator("Concat")
def _concat(node: Node, opset: int, *inputs: Any) -> Tensor:
    return _torch().cat([_t(value) for value in inputs], node.attributes["axis"])


@operator("Softmax", "LogSoftmax")
def _softmax(node: Node, opset: int, x: Any) -> Tensor:
    x = _t(x)
    axis = node.attributes.get("axis", -1 if opset >= 13 else 1)
    function = getattr(_torch(), "softmax" if node.op == "Softmax" else "log_softmax")
    if opset >= 13:
        return function(x, axis)
    # before opset 13 everything from the axis on is one row
    return function(x.flatten(axis), axis).reshape(x.shape)


@operator("Flatten")
def _flatten(node: Node, opset: int, x: Any) -> Tensor:
    x = _t(x)
    axis = node.attributes.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    rows = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape(rows, -1)


@operator("Reshape")
def _reshape(node: Node, opset: int, x: Any, shape: Any) -> Tensor:
    x, wanted = _t(x), _ints(node, shape, "the shape")
    if not node.attributes.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


@operator("Squeeze")
def _squeeze(node: Node, opset: int, *inputs: Any) -> Tensor:
    x = _t(inputs[0])
    axes = _axes(node, inputs, x.dim())
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Unsqueeze")
def _unsqueeze(node: Node, opset: int, *inputs: Any) -> Tensor:
    x = _t(inputs[0])
    axes = node.attributes.get("axes") or _ints(node, inputs[1], "axes")
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Transpose")
def _transpose(node: Node, opset: int, x: Any) -> Tensor:
    x = _t(x)
    return x.permute(node.attributes.get("perm") or tuple(reversed(range(x.dim()))))


@operator("Slice")
def _slice(node: Node, opset: int, x: Any, *bounds: Any) -> Tensor:
    x = _t(x)
    if bounds:
        starts, ends, axes, steps = (
            None if value is None else _ints(node, value, "a bound") for value in (*bounds, *[None] * (4 - len(bounds)))
        )
    else:
        starts, ends, axes = (node.attributes.get(name) for name in ("starts", "ends", "axes"))
        steps = None
    assert starts is not None
    assert ends is not None
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = number if axes is None else axes[number]
        if steps is not None and steps[number] < 1:
            raise InputError(f"node {node}: a slice with step {steps[number]} is not supported")
        index = [slice(None)] * x.dim()
        index[axis] = slice(start, end, None if steps is None else steps[number])
        x = x[tuple(index)]
    return x


@operator("Split")
def _split(node: Node, opset: int, x: Any, sizes: Any = None) -> Any:
    x = _t(x)
    axis = node.attributes.get("axis", 0)
    listed = node.attributes.get("split") or (None if sizes is None else _ints(node, sizes, "the sizes"))
    if listed is None:
        listed = -(-x.shape[axis] // len(node.outputs))
    return tuple(x.split(listed, axis))


@operator("Gather")
def _gather(node: Node, opset: int, x: Any, indices: Any) -> Tensor:
    x, axis = _t(x), node.attributes.get("axis", 0)
    if isinstance(indices, Constant) and indices.array.ndim == 0:
        return x.select(axis, int(indices.array))
    raise InputError(f"node {node}: only a gather of one constant index is supported")


@operator("Pad")
def _pad(node: Node, opset: int, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    x = _t(x)
    if axes is not None:
        raise InputError(f"node {node}: a pad of chosen axes is not supported")
    amounts = list(node.attributes.get("pads") or _ints(node, pads, "pads"))
    fill = node.attributes.get("value", 0.0) if value is None else _number(node, value, "the value")
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        node.attributes.get("mode", "constant")
    )
    if mode is None:
        raise InputError(f"node {node}: mode {node.attributes['mode']!r} is not supported")
    rank = x.dim()
    sides = [side for axis in reversed(range(rank)) for side in (amounts[axis], amounts[axis + rank])]
    if mode == "constant":
        return _functional().pad(x, sides, value=fill)
    if any(sides[2 * (rank - 2) :]):
        raise InputError(f"node {node}: {mode} pads of batch or channels are not supported")
    return _functional().pad(x, sides[: 2 * (rank - 2)], mode=mode)


@operator("DepthToSpace")
def _depth_to_space(node: Node, opset: int, x: Any) -> Tensor:
    x, block = _t(x), node.attributes["blocksize"]
    n, c, h, w = x.shape
    if node.attributes.get("mode", "DCR") == "DCR":
        split = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        split = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return split.reshape(n, c // block**2, h * block, w * block)


@operator("Resize")
def _resize(node: Node, opset: int, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Tensor:
    x = _t(x)
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
    return _functional().interpolate(x, scale_factor=factors, mode="nearest")


_BATCH_NORMALIZATION = "BatchNormalization"


@operator(_BATCH_NORMALIZATION)
def _batch_normalization(node: Node, opset: int, x: Any, *parameters: Any) -> Tensor:
    raise InputError(f"node {node}: scale, bias, mean and variance must be constants")
