"""Converts Caffe layers to ONNX nodes, one node per layer where ONNX has one.

What does not map one to one: Input and Dropout vanish; BatchNorm takes a following Scale over channels into its own
node; a Scale over channels alone is a BatchNormalization with mean 0 and variance 1; Flatten stands before an
InnerProduct (Gemm) whose bottom is not a matrix (a convolution over the whole map, the other way to write it, is
2.7 times slower in OpenVINO at AlexNet's fc6); coefficients of Eltwise are Mul nodes; products of n bottoms are n - 1
Mul nodes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from multidnn.errors import suggestion
from multidnn.networks import caffe_pb2, moments
from multidnn.networks.builder import Builder, Shape
from multidnn.networks.moments import Moments
from multidnn.networks.pooling import output_size, pooling
from multidnn.networks.prototxt import CaffeLayer
from multidnn.networks.weights import Weight, constant

BIAS_STD = 0.1


def _axis(layer: CaffeLayer, axis: int, rank: int, at: str, end: bool = False) -> int:
    """Return `axis` counted from the front; with `end`, the position after the last axis is allowed too."""
    limit = rank + 1 if end else rank
    position = axis + limit if axis < 0 else axis
    if not 0 <= position < limit:
        raise layer.error(f"axis {axis} does not exist in a blob with {rank} axes", at)
    return position


def _image(layer: CaffeLayer, builder: Builder) -> Shape:
    shape = builder.shape(layer.bottoms[0])
    if len(shape) != 4:
        raise layer.error(f"bottom has shape {list(shape)}, expected four axes (batch, channels, height, width)", "bottom")
    return shape


def _pairs(layer: CaffeLayer, height: int, width: int) -> dict[str, tuple[int, int]]:
    """Return kernel, stride, pad and dilation as (height, width), by Caffe's rules for repeated and _h/_w fields."""
    param = layer.proto.convolution_param
    place = "convolution_param"

    def pair(name: str, prefix: str, default: int | None) -> tuple[int, int]:
        values = list(getattr(param, name))
        sides = [side for side in (f"{prefix}_h", f"{prefix}_w") if prefix and param.HasField(side)]
        if values and sides:
            raise layer.error(f"found both {name} and {sides[0]}, expected one of them", f"{place}.{sides[0]}")
        if len(sides) == 1:
            raise layer.error(f"found {sides[0]} alone, expected {prefix}_h and {prefix}_w", f"{place}.{sides[0]}")
        if sides:
            return getattr(param, sides[0]), getattr(param, sides[1])
        if not values:
            if default is None:
                raise layer.error(f"has no {name} (or {prefix}_h and {prefix}_w)", place)
            return default, default
        if len(values) > 2:
            raise layer.error(f"found {len(values)} values of {name}, expected one, or one per spatial axis (2)", f"{place}.{name}")
        return values[0], values[-1]

    pairs = {
        "kernel": pair("kernel_size", "kernel", None),
        "stride": pair("stride", "stride", 1),
        "pad": pair("pad", "pad", 0),
        "dilation": pair("dilation", "", 1),
    }
    for name in ("kernel", "stride", "dilation"):
        if min(pairs[name]) < 1:
            raise layer.error(f"found {name} {min(pairs[name])}, expected at least 1", place)
    return pairs


def _bias(layer: CaffeLayer, builder: Builder, size: int) -> str:
    return builder.weight(builder.random.normal(f"{layer.name}/bias", (size,), BIAS_STD))


def _biased(after: Moments, has_bias: bool) -> Moments:
    return moments.affine(after, 0.0, 1.0, BIAS_STD) if has_bias else after


def _convolution(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.convolution_param
    transposed = layer.type == "Deconvolution"
    batch, channels, height, width = _image(layer, builder)
    if param.axis not in (1, -3):
        raise layer.error(f"axis {param.axis} is not supported; allowed: 1 (channels)", "convolution_param.axis")
    if param.num_output < 1:
        raise layer.error("has no num_output; expected at least 1", "convolution_param")
    group = param.group
    if group < 1 or channels % group or param.num_output % group:
        raise layer.error(
            f"group {group} does not divide the {channels} input and {param.num_output} output channels",
            "convolution_param.group",
        )
    pairs = _pairs(layer, height, width)
    spatial = []
    for size, kernel, stride, pad, dilation in zip((height, width), *pairs.values(), strict=True):
        if transposed:
            result = stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad
        else:
            result = output_size(size, kernel, stride, pad, dilation)
        if result < 1:
            raise layer.error(
                f"a kernel of {kernel} (dilation {dilation}) does not fit into {size} values padded by {pad}",
                "convolution_param",
            )
        spatial.append(result)
    area = math.prod(pairs["kernel"])
    if transposed:
        kernel_shape = (channels, param.num_output // group, *pairs["kernel"])
        fan_in = channels // group * area / math.prod(pairs["stride"])
    else:
        kernel_shape = (param.num_output, channels // group, *pairs["kernel"])
        fan_in = channels // group * area
    source = builder.moment(layer.bottoms[0])
    std = 1 / math.sqrt(fan_in * source.square)
    inputs = [layer.bottoms[0], builder.weight(builder.random.normal(f"{layer.name}/weight", kernel_shape, std))]
    if param.bias_term:
        inputs.append(_bias(layer, builder, param.num_output))
    builder.node(
        "ConvTranspose" if transposed else "Conv",
        layer.name,
        inputs,
        layer.tops[0],
        (batch, param.num_output, *spatial),
        _biased(moments.linear(source), param.bias_term),
        kernel_shape=list(pairs["kernel"]),
        strides=list(pairs["stride"]),
        pads=list(pairs["pad"]) * 2,
        dilations=list(pairs["dilation"]),
        group=group,
    )


def _inner_product(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.inner_product_param
    bottom, top = layer.bottoms[0], layer.tops[0]
    shape = builder.shape(bottom)
    axis = _axis(layer, param.axis, len(shape), "inner_product_param.axis")
    if param.num_output < 1:
        raise layer.error("has no num_output; expected at least 1", "inner_product_param")
    rows, depth = math.prod(shape[:axis]), math.prod(shape[axis:])
    source = builder.moment(bottom)
    matrix = bottom
    if not (axis == 1 and len(shape) == 2):
        matrix = f"{top}@{layer.name}/flatten"
        builder.node("Flatten", f"{layer.name}/flatten", [bottom], matrix, (rows, depth), source, axis=axis)
    kernel = (depth, param.num_output) if param.transpose else (param.num_output, depth)
    std = 1 / math.sqrt(depth * source.square)
    inputs = [matrix, builder.weight(builder.random.normal(f"{layer.name}/weight", kernel, std))]
    if param.bias_term:
        inputs.append(_bias(layer, builder, param.num_output))
    result = (*shape[:axis], param.num_output)
    output = top if axis == 1 else f"{top}@{layer.name}/matrix"
    after = _biased(moments.linear(source), param.bias_term)
    builder.node("Gemm", layer.name, inputs, output, (rows, param.num_output), after, transB=int(not param.transpose))
    if axis != 1:
        builder.reshape(f"{layer.name}/shape_back", output, top, result)


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


def _lrn(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.lrn_param
    shape = _image(layer, builder)
    if param.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL:
        raise layer.error("norm_region WITHIN_CHANNEL is not supported; allowed: ACROSS_CHANNELS", "lrn_param.norm_region")
    if param.local_size % 2 == 0:
        raise layer.error(f"found local_size {param.local_size}, expected an odd number", "lrn_param.local_size")
    source = builder.moment(layer.bottoms[0])
    after = moments.scaled(source, (param.k + param.alpha * source.square) ** -param.beta)
    attributes = {"size": param.local_size, "alpha": param.alpha, "beta": param.beta, "bias": param.k}
    builder.node("LRN", layer.name, layer.bottoms, layer.tops[0], shape, after, **attributes)


def _filled(
    layer: CaffeLayer, builder: Builder, role: str, filler: caffe_pb2.FillerParameter | None, otherwise: Callable[[str], Weight],
    shape: Shape,
) -> Weight:
    """Return a weight of the constant the prototxt writes out, or the random one."""
    name = f"{layer.name}/{role}"
    if filler is not None and filler.type == "constant":
        return constant(name, np.full(shape, filler.value, dtype=np.float32))
    return otherwise(name)


def _scale_weights(layer: CaffeLayer, builder: Builder, shape: Shape) -> tuple[str, str | None, float, float]:
    """Return factor and bias tensors of a Scale layer, its typical factor, and its bias' spread."""
    param = layer.proto.scale_param
    random = builder.random
    factor = _filled(
        layer, builder, "scale", param.filler if param.HasField("filler") else None,
        lambda name: random.uniform(name, shape, 0.75, 1.25), shape,
    )
    typical = param.filler.value if param.HasField("filler") and param.filler.type == "constant" else 1.0
    if not param.bias_term:
        return builder.weight(factor), None, typical, 0.0
    bias = _filled(
        layer, builder, "bias", param.bias_filler if param.HasField("bias_filler") else None,
        lambda name: random.normal(name, shape, BIAS_STD), shape,
    )
    return builder.weight(factor), builder.weight(bias), typical, BIAS_STD


def is_channel_scale(layer: CaffeLayer) -> bool:
    """Tell whether a Scale layer multiplies every channel by one constant of its own."""
    return len(layer.bottoms) == 1 and layer.proto.scale_param.axis == 1 and layer.proto.scale_param.num_axes == 1


def _normalize(
    layer: CaffeLayer, builder: Builder, shape: Shape, scale: CaffeLayer | None, mean: Weight, variance: Weight,
    eps: float, normalized: Moments,
) -> None:
    channels = (shape[1],)
    if scale is None:
        factor: str = builder.weight(constant(f"{layer.name}/scale", np.ones(channels, dtype=np.float32)))
        bias: str | None = None
        typical, spread, top = 1.0, 0.0, layer.tops[0]
    else:
        factor, bias, typical, spread = _scale_weights(scale, builder, channels)
        top = scale.tops[0]
    if bias is None:
        bias = builder.weight(constant(f"{(scale or layer).name}/zero", np.zeros(channels, dtype=np.float32)))
    inputs = [layer.bottoms[0], factor, bias, builder.weight(mean), builder.weight(variance)]
    after = moments.affine(normalized, 0.0, typical, spread)
    builder.node("BatchNormalization", layer.name, inputs, top, shape, after, epsilon=eps)


def batch_norm(layer: CaffeLayer, builder: Builder, scale: CaffeLayer | None) -> None:
    """Convert BatchNorm (with stored statistics, as deployed), together with the channel Scale that follows it."""
    shape = builder.shape(layer.bottoms[0])
    param = layer.proto.batch_norm_param
    if len(shape) < 2:
        raise layer.error(f"bottom has shape {list(shape)}, expected at least batch and channels", "bottom")
    if param.HasField("use_global_stats") and not param.use_global_stats:
        raise layer.error(
            "use_global_stats: false normalises by the batch; a deployed network needs stored statistics (true)",
            "batch_norm_param.use_global_stats",
        )
    source = builder.moment(layer.bottoms[0])
    std = math.sqrt(source.variance)
    mean = builder.random.normal(f"{layer.name}/mean", shape[1:2], 0.1 * std, source.mean)
    variance = builder.random.uniform(f"{layer.name}/variance", shape[1:2], 0.75 * source.variance, 1.25 * source.variance)
    normalized = moments.affine(source, source.mean, 1 / std, 0.1)
    _normalize(layer, builder, shape, scale, mean, variance, param.eps, normalized)


def _scale(layer: CaffeLayer, builder: Builder) -> None:
    shape = builder.shape(layer.bottoms[0])
    source = builder.moment(layer.bottoms[0])
    param = layer.proto.scale_param
    if is_channel_scale(layer) and len(shape) >= 2:
        ones = constant(f"{layer.name}/one", np.ones(shape[1:2], dtype=np.float32))
        zeros = constant(f"{layer.name}/mean", np.zeros(shape[1:2], dtype=np.float32))
        _normalize(layer, builder, shape, layer, zeros, ones, 0.0, source)
        return
    axis = _axis(layer, param.axis, len(shape), "scale_param.axis")
    if len(layer.bottoms) == 2:
        if param.bias_term:
            raise layer.error("bias_term with a second bottom is not supported", "scale_param.bias_term")
        other = builder.shape(layer.bottoms[1])
        if shape[axis : axis + len(other)] != other:
            raise layer.error(f"bottoms of shape {list(shape)} and {list(other)} do not match from axis {axis} on", "bottom", 1)
        factor = layer.bottoms[1]
        if axis + len(other) < len(shape):
            factor = f"{layer.tops[0]}@{layer.name}/factor"
            wide = (*other, *[1] * (len(shape) - axis - len(other)))
            builder.reshape(f"{layer.name}/factor", layer.bottoms[1], factor, wide)
        after = moments.multiplied(source, builder.moment(layer.bottoms[1]))
        builder.node("Mul", layer.name, [layer.bottoms[0], factor], layer.tops[0], shape, after)
        return
    stop = len(shape) if param.num_axes == -1 else axis + param.num_axes
    if param.num_axes < -1 or stop > len(shape):
        raise layer.error(f"num_axes {param.num_axes} from axis {axis} exceeds the {len(shape)} axes", "scale_param.num_axes")
    wide = (*shape[axis:stop], *[1] * (len(shape) - stop))
    scale, bias, typical, spread = _scale_weights(layer, builder, wide)
    product = layer.tops[0] if bias is None else f"{layer.tops[0]}@{layer.name}/product"
    builder.node("Mul", layer.name, [layer.bottoms[0], scale], product, shape, moments.scaled(source, typical))
    if bias is not None:
        after = moments.affine(source, 0.0, typical, spread)
        builder.node("Add", f"{layer.name}/bias_add", [product, bias], layer.tops[0], shape, after)


def _eltwise(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.eltwise_param
    shapes = [builder.shape(bottom) for bottom in layer.bottoms]
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise layer.error(f"bottoms have shapes {list(shapes[0])} and {list(shape)}, expected equal ones", "bottom", index)
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
            output = top if last else f"{top}@{layer.name}/{index}"
            builder.node("Mul", layer.name if last else f"{layer.name}/{index}", [product, bottom], output, shape, after)
            product = output
    else:
        terms = []
        for index, (bottom, coefficient) in enumerate(zip(layer.bottoms, coefficients, strict=True)):
            terms.append(bottom)
            if coefficient != 1:
                terms[-1] = f"{top}@{layer.name}/{index}"
                factor = builder.weight(constant(f"{layer.name}/coeff_{index}", np.array(coefficient, dtype=np.float32)))
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
    axis = _axis(layer, wanted, len(shapes[0]), "concat_param")
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
    axis = _axis(layer, layer.proto.softmax_param.axis, len(shape), "softmax_param.axis")
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
    first = _axis(layer, param.axis, len(shape), "flatten_param.axis")
    last = _axis(layer, param.end_axis, len(shape), "flatten_param.end_axis")
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
    first = _axis(layer, param.axis, len(shape), "reshape_param.axis", end=True)
    if param.num_axes < -1 or (param.num_axes >= 0 and first + param.num_axes > len(shape)):
        raise layer.error(f"num_axes {param.num_axes} from axis {first} exceeds the {len(shape)} axes", "reshape_param.num_axes")
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
    _image(layer, builder)
    pooling(layer, builder)


def _batch_norm(layer: CaffeLayer, builder: Builder) -> None:
    batch_norm(layer, builder, None)


# converter, fewest and most bottoms
CONVERTERS: Mapping[str, tuple[Callable[[CaffeLayer, Builder], None], int, float]] = MappingProxyType(
    {
        "BatchNorm": (_batch_norm, 1, 1),
        "Concat": (_concat, 1, math.inf),
        "Convolution": (_convolution, 1, 1),
        "Deconvolution": (_convolution, 1, 1),
        "Dropout": (_dropout, 1, 1),
        "Eltwise": (_eltwise, 2, math.inf),
        "Flatten": (_flatten, 1, 1),
        "InnerProduct": (_inner_product, 1, 1),
        "LRN": (_lrn, 1, 1),
        "PReLU": (_prelu, 1, 1),
        "Pooling": (_pooling, 1, 1),
        "ReLU": (_relu, 1, 1),
        "Reshape": (_reshape, 1, 1),
        "Scale": (_scale, 1, 2),
        "Softmax": (_softmax, 1, 1),
    }
)


def check(layers: Sequence[CaffeLayer]) -> None:
    """Raise an `InputError` for the first layer of an unknown type or with a wrong number of bottoms or tops."""
    for layer in layers:
        if layer.type not in CONVERTERS:
            allowed = ["Input", *CONVERTERS]
            raise layer.error(f"type is not supported{suggestion(layer.type, allowed)}; allowed: {', '.join(allowed)}", "type")
        _, fewest, most = CONVERTERS[layer.type]
        if not fewest <= len(layer.bottoms) <= most:
            wanted = f"{fewest}" if fewest == most else f"at least {fewest}" if most == math.inf else f"{fewest} to {most}"
            raise layer.error(f"found {len(layer.bottoms)} bottoms, expected {wanted}", "bottom")
        if len(layer.tops) != 1:
            raise layer.error(f"found {len(layer.tops)} tops, expected 1", "top")
