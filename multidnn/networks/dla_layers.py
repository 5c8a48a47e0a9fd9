"""Writes the layers of a network as nodes that a GPU and a DLA run on tensors of four axes.

A DLA convolves, pools and computes point by point on tensors of four axes; it knows no matrix product, no reduction and
no global pooling (NVIDIA/Deep-Learning-Accelerator-SW, operators/README.md: ReduceMean, GlobalAveragePool and
GlobalMaxPool have no support through TensorRT). So here

- an inner product (Gemm or MatMul with constant weights, with the Add that is its bias) is a Conv of the same name whose
  kernel covers the map before it, its weights the same numbers;
- what only changes a shape (Flatten, Reshape, Squeeze, Unsqueeze) or nothing (Identity) vanishes, and activations,
  softmax and the like in between follow on four axes;
- a mean or a maximum over a whole map is a pooling with a window as large as the map.

A tensor has one shape wherever it goes, so groups fit each other and the whole; network inputs and outputs keep theirs,
through one Reshape behind the last layer.
"""

from collections.abc import Sequence

import numpy as np
import onnx

from multidnn.networks.draft import Draft, Held
from multidnn.networks.graph import Network, Shape, has_subgraph
from multidnn.networks.inner_products import InnerProduct, bias_of, inner_product, is_bias, kernel_of
from multidnn.networks.weights import Weight

# limits of the DLA (TensorRT Developer Guide, "DLA Supported Layers and Restrictions")
LARGEST_KERNEL = 32
LARGEST_WINDOW = 8

SHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
# one activation in, one out, every value on its own
POINTWISE = frozenset(
    {
        "Abs",
        "Cast",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Tanh",
        "ThresholdedRelu",
    }
)
PAIRWISE = frozenset({"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum"})


class _CannotTakeError(Exception):
    """A node needs `tensor` in its original shape and under its own name."""

    def __init__(self, tensor: str) -> None:
        super().__init__(tensor)
        self.tensor = tensor


def rewrite(network: Network, names: Sequence[str], groups: Sequence[tuple[int, int]]) -> Draft:
    """Return the layers as nodes that a DLA knows; a tensor that a reader cannot take otherwise keeps its shape."""
    fixed = set(network.outputs)
    pinned: set[str] = set()
    while True:
        try:
            rewritten = _Rewriter(network, names, groups, fixed, pinned).run()
        except _CannotTakeError as error:
            if error.tensor in fixed:
                raise AssertionError(f"{error.tensor} has its own shape already") from None
            fixed.add(error.tensor)
            continue
        # a group of nothing but vanished layers still has to be a model
        empty = [last for first, last in groups if not any(rewritten.nodes[first : last + 1])]
        if not empty:
            return rewritten
        pinned.update(network.layers[last].outputs[0] for last in empty)


class _Rewriter:
    """One pass over the layers. `fixed` tensors keep shape and name, `pinned` ones are made by a node of their layer."""

    def __init__(
        self,
        network: Network,
        names: Sequence[str],
        groups: Sequence[tuple[int, int]],
        fixed: set[str],
        pinned: set[str],
    ) -> None:
        self.network = network
        self.draft = Draft(network, names, fixed)
        self.pinned = pinned
        self.group_of = {layer: group for group, (first, last) in enumerate(groups) for layer in range(first, last + 1)}
        self.readers: dict[str, list[int]] = {}
        for layer in network.layers:
            for tensor in layer.inputs:
                self.readers.setdefault(tensor, []).append(layer.index)
        # biases that an inner product took over: layer index of the Add
        self.fused: set[int] = set()

    def run(self) -> Draft:
        for index, node in enumerate(self.network.nodes):
            self.draft.begin(index)
            if index not in self.fused:
                self._layer(node)
        return self.draft

    def _layer(self, node: onnx.NodeProto) -> None:
        standard = node.domain in ("", "ai.onnx")
        if standard and self._product(node):
            return
        activations = self.network.layers[self.draft.index].inputs
        single = standard and len([name for name in node.output if name]) == 1 and not has_subgraph(node)
        if single and len(activations) == 1 and activations[0] == node.input[0]:
            if node.op_type in SHAPING or node.op_type == "Identity":
                self._shaping(node)
                return
            if self._whole_map(node):
                return
        moved = [tensor for tensor in activations if self.draft.is_moved(tensor)]
        if has_subgraph(node):
            moved = [tensor for tensor in activations if self.draft.held(tensor).name != tensor] or moved
        if not moved:
            self.draft.keep(node)
        elif not (single and self._follow(node, activations)):
            raise _CannotTakeError(moved[0])

    def _product(self, node: onnx.NodeProto) -> bool:
        """Write an inner product as a convolution; tell whether the node is one."""
        found = inner_product(node, self.network, self.draft.weights)
        if found is None:
            return False
        source = self.draft.held(node.input[0])
        rows, depth = self.network.shapes[node.input[0]]
        output, bias = node.output[0], found.bias
        addition = self._bias_after(node, found)
        if addition is not None:
            output, bias = self.network.nodes[addition].output[0], _other_input(self.network.nodes[addition], output)
            self.fused.add(addition)
        shape = source.shape
        # a kernel beyond the DLA's limit may be beyond what a GPU has kernels for, too
        if len(shape) != 4 or shape[0] != rows or max(shape[2:]) > LARGEST_KERNEL:
            shape = (rows, depth, 1, 1)
            image = self.draft.tensor(f"{self.draft.layer}/image", shape, node.input[0])
            self.draft.reshape("image", source.name, image, shape)
            source = Held(image, shape)
        inputs = [source.name, self._kernel(node.input[1], found, shape)]
        if bias:
            inputs.append(self._bias(bias, found, beta=1.0 if addition is not None else found.beta))
        self.draft.add(
            "Conv",
            inputs,
            output,
            (rows, found.outputs, 1, 1),
            kernel_shape=list(shape[2:]),
            strides=[1, 1],
            pads=[0, 0, 0, 0],
            dilations=[1, 1],
            group=1,
        )
        self.draft.places[node.output[0]] = self.draft.places[output]
        return True

    def _bias_after(self, node: onnx.NodeProto, found: "InnerProduct") -> int | None:
        """Return the layer that only adds a bias to this inner product, if it is in the same group."""
        output = node.output[0]
        readers = self.readers.get(output, [])
        if found.bias or output in self.network.outputs or len(readers) != 1:
            return None
        reader = self.network.nodes[readers[0]]
        if reader.op_type != "Add" or reader.domain not in ("", "ai.onnx"):
            return None
        if self.group_of[readers[0]] != self.group_of[self.draft.index] or list(reader.input).count(output) != 1:
            return None
        weight = self.draft.weights.get(_other_input(reader, output))
        if weight is None or not is_bias(weight.shape, found.outputs):
            return None
        return readers[0] if self.network.shapes[reader.output[0]] == self.network.shapes[output] else None

    def _kernel(self, name: str, found: InnerProduct, image: Shape) -> str:
        kernel = kernel_of(self.draft.weights[name], found, image)
        return self.draft.weight((name, kernel.shape, found.transposed, found.alpha), "kernel", kernel)

    def _bias(self, name: str, found: InnerProduct, beta: float) -> str:
        weight = self.draft.weights[name]
        bias = bias_of(weight, found, beta)
        return name if bias is weight else self.draft.weight((name, bias.shape, "bias", beta), "bias", bias)

    def _shaping(self, node: onnx.NodeProto) -> None:
        """Let a node that changes a shape or nothing vanish, as far as its readers and its group permit."""
        source, output = node.input[0], node.output[0]
        held, result = self.draft.held(source), self.network.shapes[output]
        if output in self.draft.fixed:
            # where the readers need it, the values are brought to that shape whatever shape they had
            if held.shape == result:
                self.draft.keep_identity(held, output)
            else:
                target = self.draft.integers(f"{self.draft.layer}/target", result)
                self.draft.add("Reshape", [held.name, target], output, result)
            return
        shape = held.shape
        is_image = len(held.shape) == 4 and len(result) == 2 and held.shape[0] == result[0]
        if held.shape != result and not is_image and not (node.op_type == "Identity" or self.draft.is_moved(source)):
            shape = result
            if len(result) == 2 and any(self._is_product(reader) for reader in self.readers.get(output, ())):
                shape = (*result, 1, 1)
        elif held.shape != result and not is_image and node.op_type != "Identity":
            raise _CannotTakeError(source)
        if shape != held.shape:
            target = self.draft.integers(f"{self.draft.layer}/target", shape)
            self.draft.add("Reshape", [held.name, target], output, shape)
        elif output in self.pinned:
            self.draft.keep_identity(held, output)
        else:
            self.draft.places[output] = held

    def _is_product(self, index: int) -> bool:
        return inner_product(self.network.nodes[index], self.network, self.draft.weights) is not None

    def _whole_map(self, node: onnx.NodeProto) -> bool:
        """Write a mean or maximum over the whole map as a pooling, if the node is one."""
        source, output = node.input[0], node.output[0]
        held = self.draft.held(source)
        if len(self.network.shapes[source]) != 4 or held.shape != self.network.shapes[source]:
            return False
        if node.op_type == "ReduceMean":
            axes = self._axes(node)
            if axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
                return False
        elif node.op_type not in ("GlobalAveragePool", "GlobalMaxPool"):
            return False
        kind = "MaxPool" if node.op_type == "GlobalMaxPool" else "AveragePool"
        window = held.shape[2:]
        shape = (*held.shape[:2], 1, 1)
        if max(window) > LARGEST_WINDOW:
            self.draft.add(f"Global{kind}", [held.name], output, shape)
        else:
            self.draft.add(
                kind, [held.name], output, shape, kernel_shape=list(window), strides=[1, 1], pads=[0, 0, 0, 0]
            )
        return True

    def _axes(self, node: onnx.NodeProto) -> list[int] | None:
        """Return the axes a reduction names, as an attribute or (from operator set 18) as a constant."""
        for attribute in node.attribute:
            if attribute.name == "axes":
                return list(attribute.ints)
        if len(node.input) > 1 and self.draft.is_constant(node.input[1]):
            return [int(axis) for axis in np.asarray(self.draft.weights[node.input[1]].array()).reshape(-1)]
        return None

    def _follow(self, node: onnx.NodeProto, activations: Sequence[str]) -> bool:
        """Keep a node that computes the same on the shapes its inputs have now; tell whether it does."""
        first = self.draft.held(activations[0]).shape
        original = self.network.shapes[activations[0]]
        result = self.network.shapes[node.output[0]]
        is_column = len(original) == 2 and first == (*original, 1, 1)
        if node.op_type in POINTWISE and len(activations) == 1 and activations[0] == node.input[0]:
            self.draft.keep(node, first)
            return True
        if node.op_type in ("Softmax", "LogSoftmax") and is_column:
            # before operator set 13 the axis splits the shape in two and is 1 if it is left out; both agree on (N, C, 1, 1)
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            self.draft.keep(node, first, axis=axis % 2)
            return True
        if node.op_type == "BatchNormalization" and is_column:
            self.draft.keep(node, first)
            return True
        columns = all(
            len(self.network.shapes[tensor]) == 2
            and self.draft.held(tensor).shape == (*self.network.shapes[tensor], 1, 1)
            for tensor in activations
        )
        if node.op_type == "Concat" and columns and len(activations) == len(set(node.input)):
            if next(attribute.i for attribute in node.attribute if attribute.name == "axis") % 2 == 1:
                self.draft.keep(node, (*result, 1, 1), axis=1)
                return True
            return False
        if node.op_type not in PAIRWISE or any(self.draft.held(tensor).shape != first for tensor in activations):
            return False
        if any(self.network.shapes[tensor] != original for tensor in activations) or result != original:
            return False
        changed = {}
        for tensor in node.input:
            if tensor in activations:
                continue
            if not self.draft.is_constant(tensor):
                return False
            weight = self.draft.weights[tensor]
            if weight.shape and set(weight.shape) != {1}:
                if not is_column or len(weight.shape) > 2:
                    return False
                shape = (*((1, 1, *weight.shape)[-2:]), 1, 1)
                changed[tensor] = self.draft.weight((tensor, shape), "constant", _reshaped(weight, shape))
            elif len(weight.shape) > len(first):
                return False
        self.draft.keep(node, first, changed)
        return True


def _reshaped(weight: Weight, shape: Shape) -> Weight:
    return Weight(weight.name, shape, weight.dtype, lambda: weight.array().reshape(shape))


def _other_input(node: onnx.NodeProto, tensor: str) -> str:
    return str(node.input[1] if node.input[0] == tensor else node.input[0])
