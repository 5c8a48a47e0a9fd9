"""A network as it is written anew, layer by layer: nodes, where each tensor of the original is, constants."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from multidnn.networks.graph import Network, Shape
from multidnn.networks.weights import Weight, constant


@dataclass(frozen=True)
class Held:
    """Where the values of a tensor of the original are: the tensor's name here, and its shape."""

    name: str
    shape: Shape


class Draft:
    """What has been written so far; every name in it is free of the original's.

    Attributes:
        nodes: per layer, in order, its nodes.
        places: where each tensor of the original is.
        shapes, dtypes: of every tensor here.
        weights: the constants, those of the original too.
        index: the layer that is being written.

    Args:
        names: what the layers are called here.
        fixed: tensors that keep shape and name.
    """

    def __init__(self, network: Network, names: Sequence[str], fixed: Collection[str]) -> None:
        self.network = network
        self.names = names
        self.fixed = fixed
        self.nodes: list[list[onnx.NodeProto]] = []
        self.places: dict[str, Held] = {}
        self.shapes: dict[str, Shape] = {}
        self.dtypes: dict[str, np.dtype[np.generic]] = {}
        self.weights: dict[str, Weight] = dict(network.weights)
        self.index = -1
        self._taken_nodes = set(names)
        self._taken_tensors = {*network.shapes, *network.weights, *network.prepared}
        self._shared: dict[tuple[Any, ...], str] = {}
        for tensor, shape in network.inputs.items():
            self.hold(tensor, tensor, shape)

    def begin(self, index: int) -> None:
        """Go on with layer `index`."""
        self.index = index
        self.nodes.append([])

    @property
    def layer(self) -> str:
        """The name of the layer that is being written."""
        return self.names[self.index]

    def finished(self) -> Network:
        """Return the network as it is written now."""
        return replace(
            self.network,
            nodes=[node for nodes in self.nodes for node in nodes],
            weights=self.weights,
            shapes=self.shapes,
            dtypes=self.dtypes,
            prepared={name: node for name, node in self.network.prepared.items() if name not in self.weights},
        )

    # tensors

    def hold(self, tensor: str, name: str, shape: Shape) -> None:
        """Say that `tensor` of the original is `name` here, in `shape`."""
        self.places[tensor] = Held(name, shape)
        self.shapes[name] = shape
        self.dtypes[name] = self.network.dtypes[tensor]

    def held(self, tensor: str) -> Held:
        """Return where a tensor of the original is."""
        return self.places[tensor]

    def is_moved(self, tensor: str) -> bool:
        """Tell whether a tensor of the original has another shape here."""
        return self.held(tensor).shape != self.network.shapes[tensor]

    def is_constant(self, tensor: str) -> bool:
        """Tell whether a tensor's values are known."""
        return tensor in self.weights

    def tensor(self, name: str, shape: Shape, like: str) -> str:
        """Register a tensor that the original does not have, of the type of `like`."""
        name = free_name(name, self._taken_tensors)
        self._taken_tensors.add(name)
        self.shapes[name] = shape
        self.dtypes[name] = self.network.dtypes[like]
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Register a constant of 64-bit integers and return its name."""
        name = free_name(name, self._taken_tensors)
        self._taken_tensors.add(name)
        self.weights[name] = constant(name, np.array(values, dtype=np.int64))
        return name

    def weight(self, key: tuple[Any, ...], role: str, weight: Weight) -> str:
        """Register a constant of this layer, once for all layers that need the same one, and return its name."""
        if key not in self._shared:
            name = free_name(f"{self.layer}/{role}", self._taken_tensors)
            self._taken_tensors.add(name)
            self._shared[key] = name
            self.weights[name] = replace(weight, name=name)
        return self._shared[key]

    # nodes

    def add(self, kind: str, inputs: Sequence[str], output: str, shape: Shape, **attributes: Any) -> None:
        """Add the layer's own node, which computes `output` in `shape`, and what brings that to a shape it must have."""
        name = self.layer
        if output not in self.fixed or shape == self.network.shapes[output]:
            self.hold(output, output, shape)
            self.nodes[-1].append(helper.make_node(kind, inputs, [output], name=name, **attributes))
            return
        inner = self.tensor(f"{output}/map", shape, output)
        self.nodes[-1].append(helper.make_node(kind, inputs, [inner], name=name, **attributes))
        self.reshape("shape", inner, output, self.network.shapes[output])
        self.hold(output, output, self.network.shapes[output])

    def reshape(self, role: str, source: str, output: str, shape: Shape) -> None:
        """Add a node ``{layer}/{role}`` that gives `source` another shape."""
        name = free_name(f"{self.layer}/{role}", self._taken_nodes)
        self._taken_nodes.add(name)
        target = self.integers(f"{name}/target", shape)
        self.nodes[-1].append(helper.make_node("Reshape", [source, target], [output], name=name))

    def copy(self, node: onnx.NodeProto, changed: Mapping[str, str], attributes: Mapping[str, Any]) -> onnx.NodeProto:
        """Return `node` under its layer's name, reading tensors where they are now, some attributes replaced."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = self.layer
        for position, tensor in enumerate(node.input):
            if tensor in changed:
                copy.input[position] = changed[tensor]
            elif tensor in self.places:
                copy.input[position] = self.held(tensor).name
        for name, value in attributes.items():
            kept = [attribute for attribute in copy.attribute if attribute.name != name]
            del copy.attribute[:]
            copy.attribute.extend([*kept, helper.make_attribute(name, value)])
        return copy

    def keep(
        self,
        node: onnx.NodeProto,
        shape: Shape | None = None,
        changed: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        """Keep the node; its only output has `shape` now, or all of them have the shapes they had."""
        copy = self.copy(node, changed or {}, attributes)
        if shape is None:
            for tensor in node.output:
                if tensor in self.network.shapes:
                    self.hold(tensor, tensor, self.network.shapes[tensor])
            self.nodes[-1].append(copy)
            return
        output = node.output[0]
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in copy.attribute}
        self.add(node.op_type, list(copy.input), output, shape, **settings)

    def keep_identity(self, held: Held, output: str) -> None:
        """Add a node of this layer that passes a tensor on as `output`."""
        self.hold(output, output, held.shape)
        self.nodes[-1].append(helper.make_node("Identity", [held.name], [output], name=self.layer))


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return `name`, with underscores behind it until nothing else has it."""
    while name in taken:
        name += "_"
    return name
