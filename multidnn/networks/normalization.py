"""Converts Caffe's BatchNorm, Scale and LRN, and draws their statistics and factors."""

import math
from collections.abc import Callable

import numpy as np

from multidnn.networks import caffe_pb2, moments
from multidnn.networks.builder import BIAS_STD, Builder, Shape, axis_of, image_shape
from multidnn.networks.moments import Moments
from multidnn.networks.prototxt import CaffeLayer
from multidnn.networks.weights import Weight, constant


def _filled(
    layer: CaffeLayer,
    builder: Builder,
    role: str,
    filler: caffe_pb2.FillerParameter | None,
    otherwise: Callable[[str], Weight],
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
        layer,
        builder,
        "scale",
        param.filler if param.HasField("filler") else None,
        lambda name: random.uniform(name, shape, 0.75, 1.25),
        shape,
    )
    typical = param.filler.value if param.HasField("filler") and param.filler.type == "constant" else 1.0
    if not param.bias_term:
        return builder.weight(factor), None, typical, 0.0
    bias = _filled(
        layer,
        builder,
        "bias",
        param.bias_filler if param.HasField("bias_filler") else None,
        lambda name: random.normal(name, shape, BIAS_STD),
        shape,
    )
    return builder.weight(factor), builder.weight(bias), typical, BIAS_STD


def is_channel_scale(layer: CaffeLayer) -> bool:
    """Tell whether a Scale layer multiplies every channel by one constant of its own."""
    return len(layer.bottoms) == 1 and layer.proto.scale_param.axis == 1 and layer.proto.scale_param.num_axes == 1


def _normalize(
    layer: CaffeLayer,
    builder: Builder,
    shape: Shape,
    scale: CaffeLayer | None,
    mean: Weight,
    variance: Weight,
    eps: float,
    normalized: Moments,
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
    spread = max(source.variance, moments.SMALLEST)
    std = math.sqrt(spread)
    mean = builder.random.normal(f"{layer.name}/mean", shape[1:2], 0.1 * std, source.mean)
    variance = builder.random.uniform(f"{layer.name}/variance", shape[1:2], 0.75 * spread, 1.25 * spread)
    normalized = moments.affine(source, source.mean, 1 / std, 0.1)
    _normalize(layer, builder, shape, scale, mean, variance, param.eps, normalized)


def scale(layer: CaffeLayer, builder: Builder) -> None:
    shape = builder.shape(layer.bottoms[0])
    source = builder.moment(layer.bottoms[0])
    param = layer.proto.scale_param
    if is_channel_scale(layer) and len(shape) >= 2:
        ones = constant(f"{layer.name}/one", np.ones(shape[1:2], dtype=np.float32))
        zeros = constant(f"{layer.name}/mean", np.zeros(shape[1:2], dtype=np.float32))
        _normalize(layer, builder, shape, layer, zeros, ones, 0.0, source)
        return
    axis = axis_of(layer, param.axis, len(shape), "scale_param.axis")
    if len(layer.bottoms) == 2:
        if param.bias_term:
            raise layer.error("bias_term with a second bottom is not supported", "scale_param.bias_term")
        other = builder.shape(layer.bottoms[1])
        if shape[axis : axis + len(other)] != other:
            raise layer.error(
                f"bottoms of shape {list(shape)} and {list(other)} do not match from axis {axis} on", "bottom", 1
            )
        factor = layer.bottoms[1]
        if axis + len(other) < len(shape):
            factor = builder.between(layer, "factor")
            wide = (*other, *[1] * (len(shape) - axis - len(other)))
            builder.reshape(f"{layer.name}/factor", layer.bottoms[1], factor, wide)
        after = moments.multiplied(source, builder.moment(layer.bottoms[1]))
        builder.node("Mul", layer.name, [layer.bottoms[0], factor], layer.tops[0], shape, after)
        return
    stop = len(shape) if param.num_axes == -1 else axis + param.num_axes
    if param.num_axes < -1 or stop > len(shape):
        raise layer.error(
            f"num_axes {param.num_axes} from axis {axis} exceeds the {len(shape)} axes", "scale_param.num_axes"
        )
    wide = (*shape[axis:stop], *[1] * (len(shape) - stop))
    scale, bias, typical, spread = _scale_weights(layer, builder, wide)
    product = layer.tops[0] if bias is None else builder.between(layer, "product")
    builder.node("Mul", layer.name, [layer.bottoms[0], scale], product, shape, moments.scaled(source, typical))
    if bias is not None:
        after = moments.affine(source, 0.0, typical, spread)
        builder.node("Add", f"{layer.name}/bias_add", [product, bias], layer.tops[0], shape, after)


def lrn(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.lrn_param
    shape = image_shape(layer, builder)
    if param.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL:
        raise layer.error(
            "norm_region WITHIN_CHANNEL is not supported; allowed: ACROSS_CHANNELS", "lrn_param.norm_region"
        )
    if param.local_size % 2 == 0:
        raise layer.error(f"found local_size {param.local_size}, expected an odd number", "lrn_param.local_size")
    if param.k <= 0:
        raise layer.error(f"found k {param.k:g}, expected a positive number", "lrn_param.k")
    if param.alpha < 0:
        raise layer.error(f"found alpha {param.alpha:g}, expected 0 or a positive number", "lrn_param.alpha")
    if abs(param.beta * math.log(param.k)) > 80:
        raise layer.error(f"found beta {param.beta:g}, expected one for which k^-beta fits into fp32", "lrn_param.beta")
    bottom, top = layer.bottoms[0], layer.tops[0]
    source = builder.moment(bottom)
    after = moments.scaled(source, (param.k + param.alpha * source.square) ** -param.beta)
    attributes = {"size": param.local_size, "alpha": param.alpha, "beta": param.beta, "bias": param.k}
    if param.k.is_integer():
        builder.node("LRN", layer.name, [bottom], top, shape, after, **attributes)
        return
    # OpenVINO's CPU plugin cuts k off to an integer, so k is divided out: (k + s)^-b = k^-b (1 + s / k)^-b
    attributes.update(alpha=param.alpha / param.k, bias=1.0)
    ratio = builder.between(layer, "ratio")
    factor = builder.weight(constant(f"{layer.name}/k_factor", np.array(param.k**-param.beta, dtype=np.float32)))
    builder.node("LRN", layer.name, [bottom], ratio, shape, after, **attributes)
    builder.node("Mul", f"{layer.name}/k", [ratio, factor], top, shape, after)
