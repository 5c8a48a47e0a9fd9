"""A network as everything else sees it: layers in execution order, tensor shapes, cuts, parameters and MACs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx

from multidnn.networks.weights import Weight

Shape = tuple[int, ...]

# the operators whose parameters and multiply-accumulates are counted
COUNTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Layer:
    """One node: its activation inputs and outputs (tensor names that later layers or the user read) and its cost."""

    index: int
    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    macs: int
    activation_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class Network:
    """An inference graph with static shapes; see `multidnn.networks.load`.

    Attributes:
        name: the network's name.
        source: the path it was read from, as given.
        seed: the seed of its random weights, None if it brought its own.
        inputs, outputs: tensor name to shape, fp32.
        nodes: ONNX nodes in execution order; every one depends on a network input.
        weights: the constants, by tensor name.
        shapes, dtypes: of every activation tensor.
        opsets, ir_version, functions: what an ONNX model of these nodes has to declare.
        prepared: tensors computed from constants alone, with the node that makes each; such nodes are no layers but
            belong to every model that reads them.
        prepared_shapes: their shapes, where known.
    """

    name: str
    source: str
    seed: int | None
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    nodes: Sequence[onnx.NodeProto] = field(repr=False)
    weights: Mapping[str, Weight] = field(repr=False)
    shapes: Mapping[str, Shape] = field(repr=False)
    dtypes: Mapping[str, np.dtype[np.generic]] = field(repr=False)
    opsets: Sequence[onnx.OperatorSetIdProto] = field(repr=False)
    ir_version: int = field(repr=False)
    functions: Sequence[onnx.FunctionProto] = field(repr=False, default=())
    prepared: Mapping[str, onnx.NodeProto] = field(repr=False, default_factory=dict)
    prepared_shapes: Mapping[str, Shape] = field(repr=False, default_factory=dict)

    def nbytes(self, tensor: str) -> int:
        """Return the size of an activation tensor in bytes."""
        return math.prod(self.shapes[tensor]) * self.dtypes[tensor].itemsize

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The nodes as layers, in execution order."""
        read = set(self.outputs).union(*(read_by(node) for node in self.nodes))
        layers = []
        for index, node in enumerate(self.nodes):
            names = read_by(node)
            inputs = tuple(name for name in names if name in self.shapes)
            outputs = tuple(name for name in node.output if name and name in read)
            weights = tuple(self.constants((node,))[1])
            layers.append(
                Layer(
                    index=index,
                    name=node.name or next(iter(outputs), node.op_type),
                    type=node.op_type,
                    inputs=inputs,
                    outputs=outputs,
                    weights=weights,
                    macs=self._macs(node),
                    activation_bytes=sum(self.nbytes(name) for name in (*inputs, *outputs)),
                    weight_bytes=sum(self.weights[name].nbytes for name in weights),
                )
            )
        return tuple(layers)

    def constants(self, nodes: Iterable[onnx.NodeProto]) -> tuple[list[onnx.NodeProto], list[str]]:
        """Return what `nodes` need beside activations: the preparing nodes, in order, and the weights' names."""
        preparing: dict[str, onnx.NodeProto] = {}
        weights: dict[str, None] = {}

        def visit(node: onnx.NodeProto) -> None:
            for name in read_by(node):
                if name in self.weights:
                    weights[name] = None
                elif name in self.prepared and name not in preparing:
                    visit(self.prepared[name])
                    preparing.update(dict.fromkeys(self.prepared[name].output, self.prepared[name]))

        for node in nodes:
            visit(node)
        return list({id(node): node for node in preparing.values()}.values()), list(weights)

    def _constant_shape(self, tensor: str) -> Shape | None:
        return self.weights[tensor].shape if tensor in self.weights else self.prepared_shapes.get(tensor)

    @cached_property
    def last_uses(self) -> Mapping[str, int]:
        """For every activation the index of the last layer that reads it; an output is read once more, at the end."""
        uses = {name: layer.index for layer in self.layers for name in layer.inputs}
        return {**uses, **dict.fromkeys(self.outputs, len(self.nodes))}

    def alive(self) -> list[list[str]]:
        """Return, for each layer, the activations alive just before it: made earlier (or inputs), read then or later.

        A network output stays alive to the end, because somebody reads it there; constants are never counted.
        """
        current = {name: None for name in self.inputs if name in self.last_uses}
        before = []
        for layer in self.layers:
            before.append(list(current))
            for name in layer.inputs:
                if self.last_uses[name] == layer.index:
                    current.pop(name, None)
            current.update(dict.fromkeys(layer.outputs))
        return before

    @cached_property
    def cut_tensors(self) -> Mapping[int, str]:
        """The cuts: first layer after the cut, mapped to the only tensor alive there."""
        return {index: names[0] for index, names in enumerate(self.alive()) if index and len(names) == 1}

    @property
    def cuts(self) -> list[int]:
        """First layer after each cut, ascending."""
        return list(self.cut_tensors)

    @cached_property
    def params(self) -> int:
        """Weights and biases of convolutions and inner products; a shared one counts once."""
        names = {name for node in self.nodes if node.op_type in COUNTED for name in node.input}
        names.update(self._added_biases())
        return sum(math.prod(shape) for name in names if (shape := self._constant_shape(name)) is not None)

    def _added_biases(self) -> Iterable[str]:
        """Yield the constants, one value per output, that Add nodes add to inner products: how exporters write a bias."""
        endings: dict[str, Shape] = {}
        for node in self.nodes:
            if len(node.input) != 2:
                continue
            shapes = [self._constant_shape(name) for name in node.input]
            if node.op_type == "MatMul" and any(shapes):
                result = self.shapes[node.output[0]]
                endings[node.output[0]] = result[-1:] if shapes[1] else (*result[-2:-1], 1)
            elif node.op_type == "Add":
                for product, bias, shape in zip(node.input, node.input[::-1], shapes[::-1], strict=True):
                    ending = endings.get(product)
                    if ending and shape and shape[-len(ending) :] == ending and math.prod(shape) == math.prod(ending):
                        yield bias

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and inner products (matrix products with a constant operand)."""
        return sum(layer.macs for layer in self.layers)

    def _macs(self, node: onnx.NodeProto) -> int:
        if node.op_type not in COUNTED:
            return 0
        operands = [self._constant_shape(name) for name in node.input[:2]]
        kernel = operands[0] or operands[1]
        if kernel is None:
            return 0
        output = math.prod(self.shapes[node.output[0]])
        if node.op_type == "Conv":
            return output * math.prod(kernel[1:])
        if node.op_type == "ConvTranspose":
            return math.prod(self.shapes[node.input[0]]) * math.prod(kernel[1:])
        is_left = operands[0] is not None
        if node.op_type == "MatMul":
            depth = kernel[-1] if is_left or len(kernel) == 1 else kernel[-2]
        else:
            flag = next((a.i for a in node.attribute if a.name == ("transA" if is_left else "transB")), 0)
            depth = kernel[0] if bool(flag) == is_left else kernel[1]
        return output * depth


def label(node: onnx.NodeProto) -> str:
    """Return how messages call a node: by its name, or else by its outputs."""
    return f"node {node.name or '/'.join(node.output)!r} ({node.op_type})"


def read_by(node: onnx.NodeProto) -> list[str]:
    """Return the tensors a node reads, once each, those that its subgraphs (If, Loop, Scan) capture included."""
    names = dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") or attribute.graphs else ():
            names.update(dict.fromkeys(_captured(graph)))
    return list(names)


def _captured(graph: onnx.GraphProto) -> Iterable[str]:
    own = {value.name for value in graph.input} | {value.name for value in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    reads = dict.fromkeys(name for node in graph.node for name in read_by(node))
    reads.update(dict.fromkeys(value.name for value in graph.output))
    return [name for name in reads if name and name not in own]


def has_subgraph(node: onnx.NodeProto) -> bool:
    """Tell whether a node has graphs of its own among its attributes (If, Loop, Scan)."""
    return any(attribute.HasField("g") or len(attribute.graphs) > 0 for attribute in node.attribute)
