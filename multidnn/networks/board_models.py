"""Writes an exported network once more, so that TensorRT can run all of it on a GPU or a DLA.

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

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.networks import export, onnx_file
from multidnn.networks.exported import DESCRIPTION, MODELS, ExportedNetwork
from multidnn.networks.exporting import WEIGHTS, WHOLE
from multidnn.networks.graph import Network, Shape, read_by
from multidnn.networks.half_precision import halved, with_float_borders
from multidnn.networks.weights import Array, Weight, constant

BOARD = "board.json"
PRECISIONS = ("fp32", "fp16")

# what onnx-tensorrt 8.4 to 8.6 parses (docs/operators.md of its branches 8.4-GA, 8.5-GA and 8.6-GA: "up to Opset 17");
# its ModelImporter.cpp only logs the IR version, and 8 is the one that came with operator set 17
NEWEST_OPSET = 17
NEWEST_IR_VERSION = 8

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
# constants made by these alone are computed here; quantisation must stay in the model for TensorRT to see it
FOLDED = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Mul",
        "Neg",
        "Pow",
        "Range",
        "Reciprocal",
        "Reshape",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


@dataclass(frozen=True)
class _Held:
    """Where the values of a tensor of the original are: the tensor's name here, and its shape."""

    name: str
    shape: Shape


class _CannotTakeError(Exception):
    """A node needs `tensor` in its original shape and under its own name."""

    def __init__(self, tensor: str) -> None:
        super().__init__(tensor)
        self.tensor = tensor


@dataclass
class _Rewritten:
    """What has been written so far: per layer its nodes, the tensors' shapes and the constants."""

    nodes: list[list[onnx.NodeProto]] = field(default_factory=list)
    held: dict[str, _Held] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, np.dtype[np.generic]] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    # biases that an inner product took over: layer index of the Add
    fused: set[int] = field(default_factory=set)


def write_board_models(network_dir: Path, out: Path, precision: str = "fp32") -> None:
    """Write whole.onnx, group_NN.onnx, weights.bin and board.json into `out` for the network exported to `network_dir`.

    Nodes are called as the layers of network.json (a name that is there twice gets its index behind it), what is added
    to a layer ``{layer}/...``. Inputs and outputs of every model are fp32. With `precision` fp16 everything between is
    half, weights included, through Casts at the borders of each model: what a strongly typed TensorRT runs in fp16.

    board.json: {"format", "name", "source", "precision", "opset", "inputs", "outputs", "layers": [{"index", "name",
    "type"}] (type null: the layer vanished into its neighbours), "cuts": {first layer after it: tensor alive there},
    "groups": [{"file", "first_layer", "last_layer", "layers" (names of its nodes in order), "extras": {name of a node
    that is no layer: layer it belongs to}, "inputs", "outputs" (shapes), "input_bytes", "output_bytes", "weight_bytes",
    "activation_bytes", "macs"}], "whole": {the same}, "weights": {"file", "bytes"}}.

    Raises:
        InputError: the export is missing or damaged, `out` cannot be written, or fp16 cannot hold the network.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is unknown; models are written in {' or '.join(PRECISIONS)}")
    exported = ExportedNetwork.read(network_dir)
    described = read_json(Path(network_dir) / DESCRIPTION)
    original = onnx_file.load(exported.whole_path, exported.name, str(exported.whole_path))
    if [layer.name for layer in original.layers] != [layer["name"] for layer in described["layers"]]:
        raise InputError(
            f"{network_dir}: {DESCRIPTION} and {exported.whole_path.name} differ; export the network again"
        )
    groups = [(group.first_layer, group.last_layer) for group in exported.groups]
    names = _unique([layer.name for layer in original.layers])
    rewritten = _rewrite(_folded(original), names, groups)
    board = _network(original, rewritten)
    if precision == "fp16":
        board = halved(board)
    board = _lowered(_needed(board))
    counts = np.cumsum([0, *map(len, rewritten.nodes)])
    board_groups = [(int(counts[first]), int(counts[last + 1]) - 1) for first, last in groups]
    owners = {
        node.name: names[index]
        for index, nodes in enumerate(rewritten.nodes)
        for node in nodes
        if node.name != names[index]
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".board.", dir=out))
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from None
    try:
        export(board, board_groups, fresh)
        facts = read_json(fresh / DESCRIPTION)
        whole = {**_sums(facts["group_models"]), "file": WHOLE, "inputs": facts["inputs"], "outputs": facts["outputs"]}
        models = []
        for fact, (first, last) in zip([*facts["group_models"], whole], [*groups, (0, len(names) - 1)], strict=True):
            path = fresh / MODELS / fact["file"]
            model = onnx.load(str(path), load_external_data=False)
            if precision == "fp16":
                owners.update(with_float_borders(model, owners))
                path.write_bytes(model.SerializeToString(deterministic=True))
            _check(model, original.source, precision)
            models.append(_described(fact, first, last, model, names, owners))
        description = {
            "name": exported.name,
            "source": exported.source,
            "precision": precision,
            "opset": next(entry.version for entry in board.opsets if entry.domain in ("", "ai.onnx")),
            "inputs": facts["inputs"],
            "outputs": facts["outputs"],
            "layers": [
                {"index": index, "name": name, "type": _type(name, rewritten.nodes[index])}
                for index, name in enumerate(names)
            ],
            "cuts": {str(cut): rewritten.held[tensor].name for cut, tensor in original.cut_tensors.items()},
            "groups": models[:-1],
            "whole": models[-1],
            "weights": {"file": WEIGHTS, "bytes": (fresh / MODELS / WEIGHTS).stat().st_size},
        }
        _move(fresh / MODELS, out)
        write_json(out / BOARD, description)
    except OSError as error:
        raise InputError(f"{out}: the models of {exported.name} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, those that come again with their index behind them: TensorRT tells layers apart by name."""
    taken = set(names)
    seen: set[str] = set()
    result = []
    for index, name in enumerate(names):
        if name in seen:
            name = _free(f"{name}_{index}", taken)
            taken.add(name)
        seen.add(name)
        result.append(name)
    return result


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _folded(network: Network) -> Network:
    """Return the network with constants that are computed from constants (transposed weights, say) in their place."""
    weights = dict(network.weights)
    prepared = dict(network.prepared)
    for node in {id(node): node for node in network.prepared.values()}.values():
        if node.op_type not in FOLDED or node.domain not in ("", "ai.onnx") or not set(read_by(node)) <= set(weights):
            continue
        graph = helper.make_graph(
            [node],
            "constant",
            [],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name],
            [numpy_helper.from_array(weights[name].array(), name) for name in read_by(node)],
        )
        model = helper.make_model(graph, opset_imports=network.opsets, ir_version=network.ir_version)
        values = ReferenceEvaluator(model).run(None, {})
        for name, value in zip(filter(None, node.output), values, strict=True):
            weights[name] = constant(name, np.ascontiguousarray(value))
            del prepared[name]
    return replace(network, weights=weights, prepared=prepared)


def _rewrite(network: Network, names: Sequence[str], groups: Sequence[tuple[int, int]]) -> _Rewritten:
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
        self.names = names
        self.fixed = fixed
        self.pinned = pinned
        self.group_of = {layer: group for group, (first, last) in enumerate(groups) for layer in range(first, last + 1)}
        self.readers: dict[str, list[int]] = {}
        for layer in network.layers:
            for tensor in layer.inputs:
                self.readers.setdefault(tensor, []).append(layer.index)
        self.done = _Rewritten(weights=dict(network.weights))
        self.taken_nodes = set(names)
        self.taken_tensors = {*network.shapes, *network.weights, *network.prepared}
        self.kernels: dict[tuple[Any, ...], str] = {}
        for tensor, shape in network.inputs.items():
            self._hold(tensor, tensor, shape)
        self.index = 0
        self.nodes: list[onnx.NodeProto] = []

    def run(self) -> _Rewritten:
        for index, node in enumerate(self.network.nodes):
            self.index, self.nodes = index, []
            if self.index not in self.done.fused:
                self._layer(node)
            self.done.nodes.append(self.nodes)
        return self.done

    # tensors

    def _hold(self, tensor: str, name: str, shape: Shape) -> None:
        self.done.held[tensor] = _Held(name, shape)
        self.done.shapes[name] = shape
        self.done.dtypes[name] = self.network.dtypes[tensor]

    def _held(self, tensor: str) -> _Held:
        return self.done.held[tensor]

    def _is_moved(self, tensor: str) -> bool:
        return self._held(tensor).shape != self.network.shapes[tensor]

    def _is_constant(self, tensor: str) -> bool:
        return tensor in self.done.weights

    def _tensor(self, name: str, shape: Shape, like: str) -> str:
        """Register a tensor that the original does not have, of the type of `like`."""
        name = _free(name, self.taken_tensors)
        self.taken_tensors.add(name)
        self.done.shapes[name] = shape
        self.done.dtypes[name] = self.network.dtypes[like]
        return name

    def _integers(self, name: str, values: Sequence[int]) -> str:
        name = _free(name, self.taken_tensors)
        self.taken_tensors.add(name)
        self.done.weights[name] = constant(name, np.array(values, dtype=np.int64))
        return name

    # nodes

    def _add(self, kind: str, inputs: Sequence[str], output: str, shape: Shape, **attributes: Any) -> None:
        """Add the layer's own node, which computes `output` in `shape`, and what brings that to a shape it must have."""
        name = self.names[self.index]
        if output not in self.fixed or shape == self.network.shapes[output]:
            self._hold(output, output, shape)
            self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
            return
        inner = self._tensor(f"{output}/map", shape, output)
        self.nodes.append(helper.make_node(kind, inputs, [inner], name=name, **attributes))
        self._reshape("shape", inner, output, self.network.shapes[output])
        self._hold(output, output, self.network.shapes[output])

    def _reshape(self, role: str, source: str, output: str, shape: Shape) -> None:
        name = _free(f"{self.names[self.index]}/{role}", self.taken_nodes)
        self.taken_nodes.add(name)
        target = self._integers(f"{name}/target", shape)
        self.nodes.append(helper.make_node("Reshape", [source, target], [output], name=name))

    def _copy(self, node: onnx.NodeProto, changed: Mapping[str, str], attributes: Mapping[str, Any]) -> onnx.NodeProto:
        """Return `node` under its layer's name, reading tensors where they are now, some attributes replaced."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = self.names[self.index]
        for position, tensor in enumerate(node.input):
            if tensor in changed:
                copy.input[position] = changed[tensor]
            elif tensor in self.done.held:
                copy.input[position] = self._held(tensor).name
        for name, value in attributes.items():
            kept = [attribute for attribute in copy.attribute if attribute.name != name]
            del copy.attribute[:]
            copy.attribute.extend([*kept, helper.make_attribute(name, value)])
        return copy

    def _keep(
        self,
        node: onnx.NodeProto,
        shape: Shape | None = None,
        changed: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        """Keep the node; its only output has `shape` now, or all of them have the shapes they had."""
        copy = self._copy(node, changed or {}, attributes)
        if shape is None:
            for tensor in node.output:
                if tensor in self.network.shapes:
                    self._hold(tensor, tensor, self.network.shapes[tensor])
            self.nodes.append(copy)
            return
        output = node.output[0]
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in copy.attribute}
        self._add(node.op_type, list(copy.input), output, shape, **settings)

    # layers

    def _layer(self, node: onnx.NodeProto) -> None:
        standard = node.domain in ("", "ai.onnx")
        if standard and self._product(node):
            return
        activations = self.network.layers[self.index].inputs
        single = standard and len([name for name in node.output if name]) == 1 and not _has_subgraph(node)
        if single and len(activations) == 1 and activations[0] == node.input[0]:
            if node.op_type in SHAPING or node.op_type == "Identity":
                self._shaping(node)
                return
            if self._whole_map(node):
                return
        moved = [tensor for tensor in activations if self._is_moved(tensor)]
        if _has_subgraph(node):
            moved = [tensor for tensor in activations if self._held(tensor).name != tensor] or moved
        if not moved:
            self._keep(node)
        elif not (single and self._follow(node, activations)):
            raise _CannotTakeError(moved[0])

    def _product(self, node: onnx.NodeProto) -> bool:
        """Write an inner product as a convolution; tell whether the node is one."""
        found = _inner_product(node, self.network, self.done.weights)
        if found is None:
            return False
        source = self._held(node.input[0])
        rows, depth = self.network.shapes[node.input[0]]
        output, bias = node.output[0], found.bias
        addition = self._bias_after(node, found)
        if addition is not None:
            output, bias = self.network.nodes[addition].output[0], _other_input(self.network.nodes[addition], output)
            self.done.fused.add(addition)
        shape = source.shape
        # a kernel beyond the DLA's limit may be beyond what a GPU has kernels for, too
        if len(shape) != 4 or shape[0] != rows or max(shape[2:]) > LARGEST_KERNEL:
            shape = (rows, depth, 1, 1)
            image = self._tensor(f"{self.names[self.index]}/image", shape, node.input[0])
            self._reshape("image", source.name, image, shape)
            source = _Held(image, shape)
        inputs = [source.name, self._kernel(node.input[1], found, shape)]
        if bias:
            inputs.append(self._bias(bias, found, beta=1.0 if addition is not None else found.beta))
        self._add(
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
        self.done.held[node.output[0]] = self.done.held[output]
        return True

    def _bias_after(self, node: onnx.NodeProto, found: "_InnerProduct") -> int | None:
        """Return the layer that only adds a bias to this inner product, if it is in the same group."""
        output = node.output[0]
        readers = self.readers.get(output, [])
        if found.bias or output in self.network.outputs or len(readers) != 1:
            return None
        reader = self.network.nodes[readers[0]]
        if reader.op_type != "Add" or reader.domain not in ("", "ai.onnx"):
            return None
        if self.group_of[readers[0]] != self.group_of[self.index] or list(reader.input).count(output) != 1:
            return None
        weight = self.done.weights.get(_other_input(reader, output))
        if weight is None or not _is_bias(weight.shape, found.outputs):
            return None
        return readers[0] if self.network.shapes[reader.output[0]] == self.network.shapes[output] else None

    def _weight(self, key: tuple[Any, ...], role: str, weight: Weight) -> str:
        """Register a constant of this layer, once for all layers that need the same one, and return its name."""
        if key not in self.kernels:
            name = _free(f"{self.names[self.index]}/{role}", self.taken_tensors)
            self.taken_tensors.add(name)
            self.kernels[key] = name
            self.done.weights[name] = replace(weight, name=name)
        return self.kernels[key]

    def _kernel(self, name: str, found: "_InnerProduct", image: Shape) -> str:
        weight = self.done.weights[name]
        shape = (found.outputs, *image[1:])

        def make() -> Array:
            values = weight.array() if found.transposed else weight.array().T
            return np.ascontiguousarray(_scaled(values, found.alpha)).reshape(shape)

        kernel = Weight(name, shape, weight.dtype, make)
        return self._weight((name, shape, found.transposed, found.alpha), "kernel", kernel)

    def _bias(self, name: str, found: "_InnerProduct", beta: float) -> str:
        weight = self.done.weights[name]
        shape = (found.outputs,)
        if weight.shape == shape and beta == 1.0:
            return name

        def make() -> Array:
            return np.broadcast_to(_scaled(weight.array(), beta).reshape(-1), shape).copy()

        return self._weight((name, shape, "bias", beta), "bias", Weight(name, shape, weight.dtype, make))

    def _shaping(self, node: onnx.NodeProto) -> None:
        """Let a node that changes a shape or nothing vanish, as far as its readers and its group permit."""
        source, output = node.input[0], node.output[0]
        held, result = self._held(source), self.network.shapes[output]
        if output in self.fixed:
            # where the readers need it, the values are brought to that shape whatever shape they had
            if held.shape == result:
                self._keep_identity(held, output)
            else:
                target = self._integers(f"{self.names[self.index]}/target", result)
                self._add("Reshape", [held.name, target], output, result)
            return
        shape = held.shape
        is_image = len(held.shape) == 4 and len(result) == 2 and held.shape[0] == result[0]
        if held.shape != result and not is_image and not (node.op_type == "Identity" or self._is_moved(source)):
            shape = result
            if len(result) == 2 and any(self._is_product(reader) for reader in self.readers.get(output, ())):
                shape = (*result, 1, 1)
        elif held.shape != result and not is_image and node.op_type != "Identity":
            raise _CannotTakeError(source)
        if shape != held.shape:
            target = self._integers(f"{self.names[self.index]}/target", shape)
            self._add("Reshape", [held.name, target], output, shape)
        elif output in self.pinned:
            self._keep_identity(held, output)
        else:
            self.done.held[output] = held

    def _is_product(self, index: int) -> bool:
        return _inner_product(self.network.nodes[index], self.network, self.done.weights) is not None

    def _keep_identity(self, held: _Held, output: str) -> None:
        self._hold(output, output, held.shape)
        self.nodes.append(helper.make_node("Identity", [held.name], [output], name=self.names[self.index]))

    def _whole_map(self, node: onnx.NodeProto) -> bool:
        """Write a mean or maximum over the whole map as a pooling, if the node is one."""
        source, output = node.input[0], node.output[0]
        held = self._held(source)
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
            self._add(f"Global{kind}", [held.name], output, shape)
        else:
            self._add(kind, [held.name], output, shape, kernel_shape=list(window), strides=[1, 1], pads=[0, 0, 0, 0])
        return True

    def _axes(self, node: onnx.NodeProto) -> list[int] | None:
        """Return the axes a reduction names, as an attribute or (from operator set 18) as a constant."""
        for attribute in node.attribute:
            if attribute.name == "axes":
                return list(attribute.ints)
        if len(node.input) > 1 and self._is_constant(node.input[1]):
            return [int(axis) for axis in np.asarray(self.done.weights[node.input[1]].array()).reshape(-1)]
        return None

    def _follow(self, node: onnx.NodeProto, activations: Sequence[str]) -> bool:
        """Keep a node that computes the same on the shapes its inputs have now; tell whether it does."""
        first = self._held(activations[0]).shape
        original = self.network.shapes[activations[0]]
        result = self.network.shapes[node.output[0]]
        is_column = len(original) == 2 and first == (*original, 1, 1)
        if node.op_type in POINTWISE and len(activations) == 1 and activations[0] == node.input[0]:
            self._keep(node, first)
            return True
        if node.op_type in ("Softmax", "LogSoftmax") and is_column:
            # before operator set 13 the axis splits the shape in two and is 1 if it is left out; both agree on (N, C, 1, 1)
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            self._keep(node, first, axis=axis % 2)
            return True
        if node.op_type == "BatchNormalization" and is_column:
            self._keep(node, first)
            return True
        columns = all(
            len(self.network.shapes[tensor]) == 2 and self._held(tensor).shape == (*self.network.shapes[tensor], 1, 1)
            for tensor in activations
        )
        if node.op_type == "Concat" and columns and len(activations) == len(set(node.input)):
            if next(attribute.i for attribute in node.attribute if attribute.name == "axis") % 2 == 1:
                self._keep(node, (*result, 1, 1), axis=1)
                return True
            return False
        if node.op_type not in PAIRWISE or any(self._held(tensor).shape != first for tensor in activations):
            return False
        if any(self.network.shapes[tensor] != original for tensor in activations) or result != original:
            return False
        changed = {}
        for tensor in node.input:
            if tensor in activations:
                continue
            if not self._is_constant(tensor):
                return False
            weight = self.done.weights[tensor]
            if weight.shape and set(weight.shape) != {1}:
                if not is_column or len(weight.shape) > 2:
                    return False
                shape = (*((1, 1, *weight.shape)[-2:]), 1, 1)
                changed[tensor] = self._weight((tensor, shape), "constant", _reshaped(weight, shape))
            elif len(weight.shape) > len(first):
                return False
        self._keep(node, first, changed)
        return True


@dataclass(frozen=True)
class _InnerProduct:
    """A matrix product with constant weights: (outputs, depth) if `transposed`, else (depth, outputs)."""

    outputs: int
    transposed: bool
    bias: str
    alpha: float
    beta: float


def _inner_product(node: onnx.NodeProto, network: Network, weights: Mapping[str, Weight]) -> _InnerProduct | None:
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
    if bias and (bias not in weights or not _is_bias(weights[bias].shape, outputs)):
        return None
    return _InnerProduct(outputs, transposed, bias, float(settings.get("alpha", 1.0)), float(settings.get("beta", 1.0)))


def _is_bias(shape: Shape, outputs: int) -> bool:
    """Tell whether a constant of this shape is one value per output, or one for all."""
    sizes = [size for size in shape if size != 1]
    return len(shape) <= 2 and (not sizes or (sizes == [outputs] and shape[-1] == outputs))


def _scaled(values: Array, factor: float) -> Array:
    return values if factor == 1.0 else np.multiply(values, factor, dtype=np.float32)


def _reshaped(weight: Weight, shape: Shape) -> Weight:
    return Weight(weight.name, shape, weight.dtype, lambda: weight.array().reshape(shape))


def _other_input(node: onnx.NodeProto, tensor: str) -> str:
    return str(node.input[1] if node.input[0] == tensor else node.input[0])


def _has_subgraph(node: onnx.NodeProto) -> bool:
    return any(attribute.HasField("g") or len(attribute.graphs) > 0 for attribute in node.attribute)


def _network(original: Network, rewritten: _Rewritten) -> Network:
    return replace(
        original,
        nodes=[node for nodes in rewritten.nodes for node in nodes],
        weights=rewritten.weights,
        shapes=rewritten.shapes,
        dtypes=rewritten.dtypes,
        prepared={name: node for name, node in original.prepared.items() if name not in rewritten.weights},
    )


def _needed(network: Network) -> Network:
    """Return the network without constants that nothing reads any more."""
    _, used = network.constants(network.nodes)
    return replace(network, weights={name: network.weights[name] for name in used})


def _lowered(network: Network) -> Network:
    """Return the network declared in operator set 17 if all of its nodes mean the same there, else as it is."""
    opset = max(entry.version for entry in network.opsets if entry.domain in ("", "ai.onnx"))
    ir_version = min(network.ir_version, NEWEST_IR_VERSION)
    nodes = [*network.nodes, *network.prepared.values()]
    if opset <= NEWEST_OPSET or network.functions or any(_has_subgraph(node) for node in nodes):
        return replace(network, ir_version=ir_version)
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            continue
        try:
            schema = onnx.defs.get_schema(node.op_type, NEWEST_OPSET, "")
        except onnx.defs.SchemaError:
            return replace(network, ir_version=ir_version)
        # operators have since got types, inputs and attributes; what uses none of those means what it meant
        known = {attribute.name for attribute in node.attribute} <= set(schema.attributes)
        if not known or len(node.input) > schema.max_input:
            return replace(network, ir_version=ir_version)
    others = [entry for entry in network.opsets if entry.domain not in ("", "ai.onnx")]
    return replace(network, opsets=[helper.make_opsetid("", NEWEST_OPSET), *others], ir_version=ir_version)


def _check(model: onnx.ModelProto, source: str, precision: str) -> None:
    """Raise an `InputError` if the types or shapes of a model do not fit each other."""
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise InputError(f"{source}: cannot be written in {precision} for a board: {first}") from None


def _type(name: str, nodes: Sequence[onnx.NodeProto]) -> str | None:
    return next((str(node.op_type) for node in nodes if node.name == name), None)


def _sums(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: sum(fact[key] for fact in facts) for key in ("macs", "weight_bytes", "activation_bytes")}


def _described(
    fact: Mapping[str, Any],
    first: int,
    last: int,
    model: onnx.ModelProto,
    names: Sequence[str],
    owners: Mapping[str, str],
) -> dict[str, Any]:
    """Return the entry of one model in board.json; its borders are fp32 (4 bytes a value), whatever is between."""
    nodes = [node.name for node in model.graph.node]
    own = set(names)

    def size(shapes: Mapping[str, Sequence[int]]) -> int:
        return sum(4 * int(np.prod(shape)) for shape in shapes.values())

    return {
        "file": fact["file"],
        "first_layer": first,
        "last_layer": last,
        "layers": [name for name in nodes if name in own],
        "extras": {name: owners[name] for name in nodes if name in owners},
        "inputs": fact["inputs"],
        "outputs": fact["outputs"],
        "macs": fact["macs"],
        "weight_bytes": fact["weight_bytes"],
        "activation_bytes": fact["activation_bytes"],
        "input_bytes": size(fact["inputs"]),
        "output_bytes": size(fact["outputs"]),
    }


def _move(fresh: Path, out: Path) -> None:
    """Replace the models in `out` by those in `fresh`; without board.json in between, which says that all is there."""
    (out / BOARD).unlink(missing_ok=True)
    for pattern in ("group_*.onnx", "segment_*.onnx"):
        for stale in out.glob(pattern):
            stale.unlink()
    for path in fresh.iterdir():
        path.replace(out / path.name)
