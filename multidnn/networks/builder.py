"""Collects the ONNX nodes, weights, shapes and activation sizes of a network while its Caffe layers are converted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from multidnn.networks.moments import Moments
from multidnn.networks.prototxt import CaffeLayer
from multidnn.networks.weights import RandomWeights, Weight, constant

Shape = tuple[int, ...]

# standard deviation of random biases, where activations have a mean square of about 1
BIAS_STD = 0.1


class Builder:
    """What has been converted so far; the functions of `caffe_layers` add to it."""

    def __init__(
        self, inputs: Mapping[str, Shape], consumers: Mapping[str, Sequence[CaffeLayer]], random: RandomWeights
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Weight] = {}
        self.shapes: dict[str, Shape] = dict(inputs)
        self.moments: dict[str, Moments] = {name: Moments() for name in inputs}
        self.consumers = consumers
        self.random = random
        # the value that stands for a vanished layer's top
        self.aliases: dict[str, str] = {}

    def resolve(self, tensor: str) -> str:
        """Return the tensor that holds the value called `tensor`."""
        while tensor in self.aliases:
            tensor = self.aliases[tensor]
        return tensor

    def shape(self, tensor: str) -> Shape:
        """Return the shape of `tensor`."""
        return self.shapes[self.resolve(tensor)]

    def moment(self, tensor: str) -> Moments:
        """Return the estimated moments of `tensor`."""
        return self.moments[self.resolve(tensor)]

    def between(self, layer: CaffeLayer, role: str) -> str:
        """Return an unused name for a tensor between two nodes of one layer."""
        name = f"{layer.name}/{role}"
        while name in self.shapes or name in self.consumers:
            name += "_"
        return name

    def weight(self, weight: Weight) -> str:
        """Register `weight` and return its tensor name."""
        self.weights[weight.name] = weight
        return weight.name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Register an int64 vector (a shape) and return its tensor name."""
        return self.weight(constant(name, np.array(values, dtype=np.int64)))

    def node(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        output: str,
        shape: Shape,
        moments: Moments,
        **attributes: Any,
    ) -> None:
        """Add one ONNX node called `name` that writes `output`."""
        resolved = [self.resolve(tensor) for tensor in inputs]
        self.nodes.append(helper.make_node(kind, resolved, [output], name=name, **attributes))
        self.shapes[output] = shape
        self.moments[output] = moments

    def reshape(self, name: str, source: str, output: str, shape: Shape) -> None:
        """Add a Reshape to a constant shape."""
        if math.prod(shape) != math.prod(self.shape(source)):
            raise ValueError(f"cannot reshape {self.shape(source)} to {shape}")
        target = self.integers(f"{name}/shape", shape)
        self.node("Reshape", name, [source, target], output, shape, self.moment(source))


def axis_of(layer: CaffeLayer, axis: int, rank: int, at: str, end: bool = False) -> int:
    """Return `axis` counted from the front; with `end`, the position after the last axis is allowed too."""
    limit = rank + 1 if end else rank
    position = axis + limit if axis < 0 else axis
    if not 0 <= position < limit:
        raise layer.error(f"axis {axis} does not exist in a blob with {rank} axes", at)
    return position


def image_shape(layer: CaffeLayer, builder: Builder) -> Shape:
    shape = builder.shape(layer.bottoms[0])
    if len(shape) != 4:
        raise layer.error(
            f"bottom has shape {list(shape)}, expected four axes (batch, channels, height, width)", "bottom"
        )
    return shape
