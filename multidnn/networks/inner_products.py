"""Inner products (Gemm, MatMul with constant weights), and their weights as those of a convolution."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from multidnn.networks.graph import Network, Shape
from multidnn.networks.weights import Array, Weight


@dataclass(frozen=True)
class InnerProduct:
    """A matrix product with constant weights: (outputs, depth) if `transposed`, else (depth, outputs)."""

    outputs: int
    transposed: bool
    bias: str
    alpha: float
    beta: float


def inner_product(node: onnx.NodeProto, network: Network, weights: Mapping[str, Weight]) -> InnerProduct | None:
    """Return what `node` computes if it is an inner product of an activation (rows, depth) with constants, in fp32."""
    if node.op_type not in ("Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return None
    source, weight = network.shapes.get(node.input[0]), weights.get(node.input[1])
    if source is None or len(source) != 2 or weight is None or len(weight.shape) != 2 or weight.dtype != np.float32:
        return None
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if settings.get("transA", 0):
        return None
    transposed = bool(settings.get("transB", 0))
    outputs = weight.shape[0 if transposed else 1]
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias and (bias not in weights or not is_bias(weights[bias].shape, outputs)):
        return None
    return InnerProduct(outputs, transposed, bias, float(settings.get("alpha", 1.0)), float(settings.get("beta", 1.0)))


def is_bias(shape: Shape, outputs: int) -> bool:
    """Tell whether a constant of this shape is one value per output, or one for all."""
    sizes = [size for size in shape if size != 1]
    return len(shape) <= 2 and (not sizes or (sizes == [outputs] and shape[-1] == outputs))


def _scaled(values: Array, factor: float) -> Array:
    return values if factor == 1.0 else np.multiply(values, factor, dtype=np.float32)


def kernel_of(weight: Weight, found: InnerProduct, image: Shape) -> Weight:
    """Return the weights of the product as a kernel that covers an image (rows, channels, height, width)."""
    shape = (found.outputs, *image[1:])

    def make() -> Array:
        values = weight.array() if found.transposed else weight.array().T
        return np.ascontiguousarray(_scaled(values, found.alpha)).reshape(shape)

    return Weight(weight.name, shape, weight.dtype, make)


def bias_of(weight: Weight, found: InnerProduct, beta: float) -> Weight:
    """Return the bias, times `beta`, as one value per output."""
    shape = (found.outputs,)
    if weight.shape == shape and beta == 1.0:
        return weight

    def make() -> Array:
        return np.broadcast_to(_scaled(weight.array(), beta).reshape(-1), shape).copy()

    return Weight(weight.name, shape, weight.dtype, make)
