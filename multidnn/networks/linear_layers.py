"""Converts Caffe's Convolution, Deconvolution and InnerProduct, and draws their weights."""

import math

from multidnn.networks import moments
from multidnn.networks.builder import BIAS_STD, Builder, axis_of, image_shape
from multidnn.networks.moments import Moments
from multidnn.networks.prototxt import CaffeLayer
from multidnn.networks.spatial import pair


def _pairs(layer: CaffeLayer) -> dict[str, tuple[int, int]]:
    """Return kernel, stride, pad and dilation as (height, width)."""
    place = "convolution_param"
    pairs = {
        "kernel": pair(layer, place, "kernel_size", "kernel", None),
        "stride": pair(layer, place, "stride", "stride", 1),
        "pad": pair(layer, place, "pad", "pad", 0),
        "dilation": pair(layer, place, "dilation", "", 1),
    }
    for name in ("kernel", "stride", "dilation"):
        if min(pairs[name]) < 1:
            raise layer.error(f"found {name} {min(pairs[name])}, expected at least 1", place)
    # one value cannot be spread out; OpenVINO 2026.4 crashes on such a dilation where the processor lacks AVX-512
    height, width = (d if k > 1 else 1 for k, d in zip(pairs["kernel"], pairs["dilation"], strict=True))
    return {**pairs, "dilation": (height, width)}


def _bias(layer: CaffeLayer, builder: Builder, size: int) -> str:
    return builder.weight(builder.random.normal(f"{layer.name}/bias", (size,), BIAS_STD))


def _biased(after: Moments, has_bias: bool) -> Moments:
    return moments.affine(after, 0.0, 1.0, BIAS_STD) if has_bias else after


def convolution(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.convolution_param
    transposed = layer.type == "Deconvolution"
    batch, channels, height, width = image_shape(layer, builder)
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
    pairs = _pairs(layer)
    spatial = []
    for size, kernel, stride, pad, dilation in zip((height, width), *pairs.values(), strict=True):
        if transposed:
            result = stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad
        else:
            result = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
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
    # over one channel, what varies slowly is not told from the mean
    removed = 0.0 if transposed or channels == group else moments.MEAN_REMOVED
    std = moments.linear_scale(source, fan_in, removed)
    weight = builder.random.filters(f"{layer.name}/weight", kernel_shape, std, (1, 2, 3), removed)
    inputs = [layer.bottoms[0], builder.weight(weight)]
    if param.bias_term:
        inputs.append(_bias(layer, builder, param.num_output))
    builder.node(
        "ConvTranspose" if transposed else "Conv",
        layer.name,
        inputs,
        layer.tops[0],
        (batch, param.num_output, *spatial),
        _biased(moments.linear(source, removed), param.bias_term),
        kernel_shape=list(pairs["kernel"]),
        strides=list(pairs["stride"]),
        pads=list(pairs["pad"]) * 2,
        dilations=list(pairs["dilation"]),
        group=group,
    )


def inner_product(layer: CaffeLayer, builder: Builder) -> None:
    param = layer.proto.inner_product_param
    bottom, top = layer.bottoms[0], layer.tops[0]
    shape = builder.shape(bottom)
    axis = axis_of(layer, param.axis, len(shape), "inner_product_param.axis")
    if param.num_output < 1:
        raise layer.error("has no num_output; expected at least 1", "inner_product_param")
    rows, depth = math.prod(shape[:axis]), math.prod(shape[axis:])
    source = builder.moment(bottom)
    matrix = bottom
    if not (axis == 1 and len(shape) == 2):
        matrix = builder.between(layer, "flatten")
        builder.node("Flatten", f"{layer.name}/flatten", [bottom], matrix, (rows, depth), source, axis=axis)
    kernel = (depth, param.num_output) if param.transpose else (param.num_output, depth)
    removed = moments.MEAN_REMOVED if depth > 1 else 0.0
    std = moments.linear_scale(source, depth, removed)
    weight = builder.random.filters(f"{layer.name}/weight", kernel, std, (0 if param.transpose else 1,), removed)
    inputs = [matrix, builder.weight(weight)]
    if param.bias_term:
        inputs.append(_bias(layer, builder, param.num_output))
    result = (*shape[:axis], param.num_output)
    output = top if axis == 1 else builder.between(layer, "matrix")
    after = _biased(moments.linear(source, removed), param.bias_term)
    builder.node("Gemm", layer.name, inputs, output, (rows, param.num_output), after, transB=int(not param.transpose))
    if axis != 1:
        builder.reshape(f"{layer.name}/shape_back", output, top, result)
