"""Which layers a DLA takes: the limits of NVIDIA's developer guide, as far as shared/reference/tensorrt-jetson.md has them."""

from standin_board.boards import board
from standin_board.graph import Layer
from standin_board.versions import number

LOADABLES_PER_CORE = 16
LARGEST_BATCH = 4096
LARGEST_DIMENSION = 8192
ACTIVATIONS = ("Relu", "Sigmoid", "Tanh", "Clip")
ELEMENTWISE = ("Add", "Sum", "Mul", "Max", "Min", "Sub")


def softmax_supported() -> bool:
    """Return whether this board's DLA takes softmax with this TensorRT (Orin, from 8.6 on)."""
    return board().dla_softmax and number() >= (8, 6)


def refusal(layer: Layer) -> str | None:
    """Return why the DLA does not take `layer`, None if it does. Precision is not looked at."""
    for tensor in [*layer.inputs, *layer.outputs]:
        if any(size < 0 for size in tensor.shape):
            return "dynamic shapes are not supported on DLA"
        if len(tensor.shape) != 4 and layer.type != "CONSTANT":
            return f"tensor {tensor.name} has {len(tensor.shape)} dimensions; DLA takes 4"
        if tensor.shape and tensor.shape[0] > LARGEST_BATCH:
            return f"batch {tensor.shape[0]} is above {LARGEST_BATCH}"
        if any(size > LARGEST_DIMENSION for size in tensor.shape[1:]):
            return f"tensor {tensor.name} has a dimension above {LARGEST_DIMENSION}"
    check = _CHECKS.get(layer.type)
    if check is None:
        return f"layer type {layer.type} is not supported on DLA"
    return check(layer)


def _convolution(layer: Layer) -> str | None:
    strides = tuple(layer.attributes.get("strides", (1, 1)))
    pads = tuple(layer.attributes.get("pads", (0, 0, 0, 0)))
    dilations = tuple(layer.attributes.get("dilations", (1, 1)))
    if len(layer.kernel) != 2:
        return "only two-dimensional convolutions are supported on DLA"
    if not all(1 <= size <= 32 for size in layer.kernel):
        return f"kernel {layer.kernel} is outside 1..32"
    if not all(1 <= stride <= 8 for stride in strides):
        return f"stride {strides} is outside 1..8"
    if not all(0 <= pad <= 31 for pad in pads):
        return f"padding {pads} is outside 0..31"
    if any(pad >= size for pad, size in zip(pads, layer.kernel * 2, strict=True)):
        return f"padding {pads} is not below the kernel {layer.kernel}"
    if not all(1 <= dilation <= 32 for dilation in dilations):
        return f"dilation {dilations} is outside 1..32"
    return None


def _deconvolution(layer: Layer) -> str | None:
    if any(layer.attributes.get("pads", (0,))):
        return "deconvolution with padding is not supported on DLA"
    if layer.attributes.get("group", 1) != 1:
        return "deconvolution with groups is not supported on DLA"
    return None if all(1 <= size <= 32 for size in layer.kernel) else f"kernel {layer.kernel} is outside 1..32"


def _pooling(layer: Layer) -> str | None:
    window = tuple(layer.attributes["kernel_shape"])
    strides = tuple(layer.attributes.get("strides", (1,) * len(window)))
    pads = tuple(layer.attributes.get("pads", (0,) * 2 * len(window)))
    if not all(1 <= size <= 8 for size in window):
        return f"pooling window {window} is outside 1..8"
    if not all(1 <= stride <= 16 for stride in strides):
        return f"pooling stride {strides} is outside 1..16"
    if not all(0 <= pad <= 7 for pad in pads):
        return f"pooling padding {pads} is outside 0..7"
    excludes_padding = any(pads) and not layer.attributes.get("count_include_pad", 0)
    if layer.op == "AveragePool" and excludes_padding and board().average_inclusive_only:
        return "average pooling that excludes padding is not supported on this DLA"
    if layer.attributes.get("ceil_mode", 0):
        return "pooling that rounds up is not supported on DLA"
    return None


def _lrn(layer: Layer) -> str | None:
    size = layer.attributes["size"]
    return None if size in (3, 5, 7, 9) else f"LRN window {size} is none of 3, 5, 7, 9"


def _activation(layer: Layer) -> str | None:
    return None if layer.op in ACTIVATIONS else f"activation {layer.op} is not supported on DLA"


def _elementwise(layer: Layer) -> str | None:
    if layer.op not in ELEMENTWISE:
        return f"elementwise {layer.op} is not supported on DLA"
    if layer.constant_operand:
        return "elementwise with a constant operand is not supported on DLA by the stand-in"
    shapes = {tensor.shape for tensor in layer.inputs}
    return None if len(shapes) == 1 else "elementwise with broadcasting is not supported on DLA"


def _concatenation(layer: Layer) -> str | None:
    return None if layer.attributes["axis"] % 4 == 1 else "concatenation is supported on DLA along channels only"


def _softmax(layer: Layer) -> str | None:
    if not softmax_supported():
        return "softmax is not supported on this DLA"
    if layer.attributes.get("axis", -1) % 4 != 1:
        return "softmax is supported on DLA along channels only"
    return None if layer.inputs[0].shape[1] <= 1024 else "softmax over more than 1024 channels is not supported on DLA"


_CHECKS = {
    "CONVOLUTION": _convolution,
    "DECONVOLUTION": _deconvolution,
    "POOLING": _pooling,
    "LRN": _lrn,
    "ACTIVATION": _activation,
    "ELEMENTWISE": _elementwise,
    "CONCATENATION": _concatenation,
    "SCALE": lambda layer: None,
    "SOFTMAX": _softmax,
}
