"""Converts Caffe's pooling, whose output size and divisors no ONNX attribute expresses, exactly."""

from dataclasses import dataclass

import numpy as np

from multidnn.networks import caffe_pb2, moments
from multidnn.networks.builder import Builder
from multidnn.networks.prototxt import CaffeLayer
from multidnn.networks.spatial import pair
from multidnn.networks.weights import constant


@dataclass(frozen=True)
class Windows:
    """The windows along one axis: their number, and for each what Caffe divides by and how much of it is input."""

    size: int
    kernel: int
    stride: int
    pad: int
    count: int

    @property
    def end_pad(self) -> int:
        """Padding after the input with which plain floor arithmetic gives `count` windows."""
        return max(0, (self.count - 1) * self.stride + self.kernel - self.size - self.pad)

    def _lengths(self, low: int, high: int) -> list[int]:
        starts = [i * self.stride - self.pad for i in range(self.count)]
        return [min(start + self.kernel, high) - max(start, low) for start in starts]

    @property
    def divisors(self) -> list[int]:
        """Length of each window clipped to the padded input: Caffe's divisor."""
        return self._lengths(-self.pad, self.size + self.pad)

    @property
    def inputs(self) -> list[int]:
        """Length of each window clipped to the input."""
        return self._lengths(0, self.size)

    @property
    def is_whole(self) -> bool:
        """Whether the only window is exactly the input."""
        return self.count == 1 and self.inputs == self.divisors == [self.size]


def _windows(layer: CaffeLayer, size: int, kernel: int, stride: int, pad: int) -> Windows:
    if kernel < 1 or stride < 1:
        raise layer.error(f"found kernel {kernel} and stride {stride}, expected at least 1", "pooling_param")
    if pad >= kernel:
        raise layer.error(f"found pad {pad}, expected less than the kernel's {kernel}", "pooling_param")
    room = size + 2 * pad - kernel
    floor = layer.proto.pooling_param.round_mode == caffe_pb2.PoolingParameter.FLOOR
    count = (room // stride if floor else -(-room // stride)) + 1
    if (count - 1) * stride >= size + pad:
        count -= 1
    if count < 1:
        raise layer.error(f"a window of {kernel} does not fit into {size} values padded by {pad}", "pooling_param")
    return Windows(size, kernel, stride, pad, count)


def _sizes(layer: CaffeLayer, height: int, width: int) -> tuple[Windows, Windows]:
    """Return the windows along height and width."""
    param, place = layer.proto.pooling_param, "pooling_param"
    strides, pads = pair(layer, place, "stride", "stride", 1), pair(layer, place, "pad", "pad", 0)
    if param.global_pooling:
        if any(param.HasField(name) for name in ("kernel_size", "kernel_h", "kernel_w")):
            raise layer.error("global_pooling allows no kernel size", "pooling_param.global_pooling")
        if strides != (1, 1) or pads != (0, 0):
            raise layer.error("global_pooling allows only stride 1 and pad 0", "pooling_param.global_pooling")
        kernels = (height, width)
    else:
        kernels = pair(layer, place, "kernel_size", "kernel", None, " and no global_pooling")
    return (
        _windows(layer, height, kernels[0], strides[0], pads[0]),
        _windows(layer, width, kernels[1], strides[1], pads[1]),
    )


def _feeds_inner_products(builder: Builder, top: str) -> bool:
    """Tell whether every use of `top`, seen through Dropout, is an InnerProduct over all that follows the batch."""
    users = builder.consumers.get(top, ())
    return bool(users) and all(
        (user.type == "InnerProduct" and user.proto.inner_product_param.axis == 1)
        or (user.type == "Dropout" and _feeds_inner_products(builder, user.tops[0]))
        for user in users
    )


def pooling(layer: CaffeLayer, builder: Builder) -> None:
    """Convert a Pooling layer: explicit pads, ceil_mode 0, one node except where windows run out of the padding.

    An average over the whole map that feeds inner products alone becomes a ReduceMean without the two axes of size 1,
    so that the inner product is a plain matrix product with nothing between. Where an average's windows run beyond the
    padded input, Caffe's divisor differs from window to window; a Mul by the constant ratio then follows.
    """
    param = layer.proto.pooling_param
    source, output = layer.bottoms[0], layer.tops[0]
    batch, channels, height, width = builder.shape(source)
    if param.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
        raise layer.error("pool STOCHASTIC is not supported; allowed: MAX, AVE", "pooling_param.pool")
    rows, columns = _sizes(layer, height, width)
    shape = (batch, channels, rows.count, columns.count)
    taken = max(1, round(float(np.mean(rows.inputs) * np.mean(columns.inputs))))
    attributes = {
        "kernel_shape": [rows.kernel, columns.kernel],
        "strides": [rows.stride, columns.stride],
        "pads": [rows.pad, columns.pad, rows.end_pad, columns.end_pad],
    }
    is_whole = rows.is_whole and columns.is_whole
    if param.pool == caffe_pb2.PoolingParameter.MAX:
        after = moments.largest(builder.moment(source), taken)
        if is_whole:
            builder.node("GlobalMaxPool", layer.name, [source], output, shape, after)
        else:
            builder.node("MaxPool", layer.name, [source], output, shape, after, **attributes)
        return
    after = moments.average(builder.moment(source), taken)
    if is_whole and _feeds_inner_products(builder, output):
        builder.node("ReduceMean", layer.name, [source], output, shape[:2], after, axes=[2, 3], keepdims=0)
    elif is_whole:
        builder.node("GlobalAveragePool", layer.name, [source], output, shape, after)
    elif (rows.divisors, columns.divisors) == (rows.inputs, columns.inputs):
        builder.node("AveragePool", layer.name, [source], output, shape, after, count_include_pad=0, **attributes)
    else:
        ratio = rows.kernel * columns.kernel / np.outer(rows.divisors, columns.divisors)
        exact = bool(np.all(ratio == 1))
        pooled = output if exact else builder.between(layer, "window")
        builder.node("AveragePool", layer.name, [source], pooled, shape, after, count_include_pad=1, **attributes)
        if not exact:
            values = ratio.astype(np.float32)[None, None]
            factor = builder.weight(constant(f"{layer.name}/divisor_ratio", values))
            builder.node("Mul", f"{layer.name}/divisor", [pooled, factor], output, shape, after)
