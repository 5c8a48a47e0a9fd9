"""Converts Caffe layers to ONNX nodes, one node per layer where ONNX has one.

What does not map one to one: Input and Dropout vanish; BatchNorm takes a following Scale over channels into its own
node; a Scale over channels alone is a BatchNormalization with mean 0 and variance 1; Flatten stands before an
InnerProduct (Gemm) whose bottom is not a matrix (a convolution over the whole map, the other way to write it, is
2.7 times slower in OpenVINO at AlexNet's fc6); coefficients of Eltwise and the k of an LRN that is no integer are Mul nodes;
products of n bottoms are n - 1 Mul nodes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from multidnn.errors import suggestion
from multidnn.networks import caffe_pb2, moments
from multidnn.networks.builder import Builder, axis_of, image_shape
from multidnn.networks.linear_layers import convolution, inner_product
from multidnn.networks.moments import Moments
from multidnn.networks.normalization import batch_norm, lrn, scale
from multidnn.networks.pooling import pooling
from multidnn.networks.prototxt import CaffeLayer
from multidnn.networks.weights import constant


def _relu(layer: CaffeLayer, builder: Builder) -> None:
    slope = layer.proto.relu_param.negative_slope
    shape = builder.shape(layer.bottoms[0])
    after = moments.elementwise(builder.moment(layer.bottoms[0]), lambda x: np.where(x > 0, x, slope * x))
    if slope == 0:
        builder.node("Relu", layer.name, layer.bottoms, layer.tops[0], shape, after)
    else:
        builder.node("LeakyRelu", layer.name, layer.bottoms, layer.tops[0], shape, after, alpha=slope)


def _prelu(layer: CaffeLayer, builder: Builder) -> None:
    shape = builder.shape(layer.bottoms[0])
    if len(shape) < 2:
        raise layer.error(f"bottom has shape {list(shape)}, expected at least batch and channels", "bottom")
    channels = 1 if layer.proto.prelu_param.channel_shared else shape[1]
    slope = builder.random.uniform(f"{layer.name}/slope", (channels, *[1] * (len(shape) - 2)), 0.05, 0.45)
    after = moments.elementwise(builder.moment(layer.bottoms[0]), lambda x: np.where(x > 0, x, 0.25 * x))
    builder.node("PRelu", layer.name, [layer.bottoms[0], builder.weight(slope)], layer.tops[0], shape, after)


def _eltwise(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.eltwise_param
    shapes = [builder.shape(bottom) for bottom in layer.bottoms]
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise layer.error(
                f"bottoms have shapes {list(shapes[0])} and {list(shape)}, expected equal ones", "bottom", index
            )
    coefficients = list(param.coeff) or [1.0] * len(shapes)
    if len(coefficients) != len(shapes) or (param.coeff and param.operation != caffe_pb2.EltwiseParameter.SUM):
        raise layer.error(
            f"found {len(coefficients)} coeff for {len(shapes)} bottoms; allowed: one per bottom, operation SUM only",
            "eltwise_param.coeff",
        )
    parts = [builder.moment(bottom) for bottom in layer.bottoms]
    top, shape = layer.tops[0], shapes[0]
    if param.operation == caffe_pb2.EltwiseParameter.MAX:
        after = moments.largest(moments.joined(parts, [1] * len(parts)), len(parts))
        builder.node("Max", layer.name, layer.bottoms, top, shape, after)
    elif param.operation == caffe_pb2.EltwiseParameter.PROD:
        product, after = layer.bottoms[0], parts[0]
        for index, (bottom, part) in enumerate(zip(layer.bottoms[1:], parts[1:], strict=True), start=2):
            last = index == len(parts)
            after = moments.multiplied(after, part)
            output = top if last else builder.between(layer, f"{index}")
            builder.node(
                "Mul", layer.name if last else f"{layer.name}/{index}", [product, bottom], output, shape, after
            )
            product = output
    else:
        terms = []
        for index, (bottom, coefficient) in enumerate(zip(layer.bottoms, coefficients, strict=True)):
            terms.append(bottom)
            if coefficient != 1:
                terms[-1] = builder.between(layer, f"{index}")
                factor = builder.weight(
                    constant(f"{layer.name}/coeff_{index}", np.array(coefficient, dtype=np.float32))
                )
                scaled = moments.scaled(parts[index], coefficient)
                builder.node("Mul", f"{layer.name}/{index}", [bottom, factor], terms[-1], shape, scaled)
        after = moments.added([builder.moment(term) for term in terms])
        builder.node("Add" if len(terms) == 2 else "Sum", layer.name, terms, top, shape, after)


def _concat(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.concat_param
    if param.HasField("axis") and param.HasField("concat_dim"):
        raise layer.error("found both axis and concat_dim, expected one of them", "concat_param.concat_dim")
    shapes = [builder.shape(bottom) for bottom in layer.bottoms]
    wanted = param.concat_dim if param.HasField("concat_dim") else param.axis
    axis = axis_of(layer, wanted, len(shapes[0]), "concat_param")
    for index, shape in enumerate(shapes):
        if len(shape) != len(shapes[0]) or any(
            a != b for i, (a, b) in enumerate(zip(shape, shapes[0], strict=True)) if i != axis
        ):
            raise layer.error(
                f"bottoms have shapes {list(shapes[0])} and {list(shape)}, expected them equal except on axis {axis}",
                "bottom",
                index,
            )
    sizes = [shape[axis] for shape in shapes]
    result = (*shapes[0][:axis], sum(sizes), *shapes[0][axis + 1 :])
    after = moments.joined([builder.moment(bottom) for bottom in layer.bottoms], sizes)
    builder.node("Concat", layer.name, layer.bottoms, layer.tops[0], result, after, axis=axis)


def _softmax(layer: CaffeLayer, builder: Builder) -> None:
    shape = builder.shape(layer.bottoms[0])
    axis = axis_of(layer, layer.proto.softmax_param.axis, len(shape), "softmax_param.axis")
    after = Moments(1 / shape[axis], 0.0, 1 / shape[axis] ** 2)
    builder.node("Softmax", layer.name, layer.bottoms, layer.tops[0], shape, after, axis=axis)


def _dropout(layer: CaffeLayer, builder: Builder) -> None:
    bottom, top = layer.bottoms[0], layer.tops[0]
    if builder.consumers.get(top):
        builder.aliases[top] = bottom
    else:
        # a network that ends in Dropout still needs an output of that name
        builder.node("Identity", layer.name, [bottom], top, builder.shape(bottom), builder.moment(bottom))


def _flatten(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.flatten_param
    shape = builder.shape(layer.bottoms[0])
    first = axis_of(layer, param.axis, len(shape), "flatten_param.axis")
    last = axis_of(layer, param.end_axis, len(shape), "flatten_param.end_axis")
    if last < first:
        raise layer.error(f"end_axis {param.end_axis} lies before axis {param.axis}", "flatten_param.end_axis")
    result = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    if first == 1 and last == len(shape) - 1:
        after = builder.moment(layer.bottoms[0])
        builder.node("Flatten", layer.name, layer.bottoms, layer.tops[0], result, after, axis=1)
    else:
        builder.reshape(layer.name, layer.bottoms[0], layer.tops[0], result)


def _reshape(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.reshape_param
    shape = builder.shape(layer.bottoms[0])
    first = axis_of(layer, param.axis, len(shape), "reshape_param.axis", end=True)
    if param.num_axes < -1 or (param.num_axes >= 0 and first + param.num_axes > len(shape)):
        raise layer.error(
            f"num_axes {param.num_axes} from axis {first} exceeds the {len(shape)} axes", "reshape_param.num_axes"
        )
    stop = len(shape) if param.num_axes == -1 else first + param.num_axes
    middle = []
    for index, size in enumerate(param.shape.dim):
        if size < -1 or (size == 0 and first + index >= len(shape)):
            raise layer.error(f"dim {size} at position {index} has no meaning for {list(shape)}", "reshape_param.shape")
        middle.append(shape[first + index] if size == 0 else size)
    outside = math.prod(shape[:first]) * math.prod(shape[stop:])
    known = outside * math.prod(size for size in middle if size != -1)
    if middle.count(-1) > 1 or (middle.count(-1) == 1 and math.prod(shape) % known):
        raise layer.error(f"cannot infer -1 in {list(param.shape.dim)} for {list(shape)}", "reshape_param.shape")
    middle = [math.prod(shape) // known if size == -1 else size for size in middle]
    result = (*shape[:first], *middle, *shape[stop:])
    if math.prod(result) != math.prod(shape):
        raise layer.error(f"cannot reshape {list(shape)} to {list(result)}: sizes differ", "reshape_param.shape")
    builder.reshape(layer.name, layer.bottoms[0], layer.tops[0], result)


def _pooling(layer: CaffeLayer, builder: Builder) -> None:
    image_shape(layer, builder)
    pooling(layer, builder)


def _batch_norm(layer: CaffeLayer, builder: Builder) -> None:
    batch_norm(layer, builder, None)


# converter, fewest and most bottoms
CONVERTERS: Mapping[str, tuple[Callable[[CaffeLayer, Builder], None], int, float]] = MappingProxyType(
    {
        "BatchNorm": (_batch_norm, 1, 1),
        "Concat": (_concat, 1, math.inf),
        "Convolution": (convolution, 1, 1),
        "Deconvolution": (convolution, 1, 1),
        "Dropout": (_dropout, 1, 1),
        "Eltwise": (_eltwise, 2, math.inf),
        "Flatten": (_flatten, 1, 1),
        "InnerProduct": (inner_product, 1, 1),
        "LRN": (lrn, 1, 1),
        "PReLU": (_prelu, 1, 1),
        "Pooling": (_pooling, 1, 1),
        "ReLU": (_relu, 1, 1),
        "Reshape": (_reshape, 1, 1),
        "Scale": (scale, 1, 2),
        "Softmax": (_softmax, 1, 1),
    }
)


def check(layers: Sequence[CaffeLayer]) -> None:
    """Raise an `InputError` for the first layer of an unknown type or with a wrong number of bottoms or tops."""
    for layer in layers:
        if layer.type not in CONVERTERS:
            allowed = ["Input", *CONVERTERS]
            raise layer.error(
                f"type is not supported{suggestion(layer.type, allowed)}; allowed: {', '.join(allowed)}", "type"
            )
        _, fewest, most = CONVERTERS[layer.type]
        if not fewest <= len(layer.bottoms) <= most:
            wanted = (
                f"{fewest}" if fewest == most else f"at least {fewest}" if most == math.inf else f"{fewest} to {most}"
            )
            raise layer.error(f"found {len(layer.bottoms)} bottoms, expected {wanted}", "bottom")
        if len(layer.tops) != 1:
            raise layer.error(f"found {len(layer.tops)} tops, expected 1", "top")
