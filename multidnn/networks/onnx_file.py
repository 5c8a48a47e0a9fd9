"""Reads a user's own ONNX file: checked, static, sorted, its layers apart from what only prepares constants."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from multidnn.errors import InputError
from multidnn.networks.graph import Network, Shape, label, read_by
from multidnn.networks.rewriting import without_dropout, without_fractional_bias
from multidnn.networks.weights import Weight, constant

# constants at least this large are kept out of the protobuf that the checker and shape inference copy
LARGE_BYTES = 1024

# these make new values from constants, so they are layers
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)

CONSTANT_TYPES = {
    "value": onnx.AttributeProto.TENSOR,
    "value_float": onnx.AttributeProto.FLOAT,
    "value_floats": onnx.AttributeProto.FLOATS,
    "value_int": onnx.AttributeProto.INT,
    "value_ints": onnx.AttributeProto.INTS,
}

FIX_SHAPES = "fix it, for example with `python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name {} --input_shape 1,3,224,224 IN OUT`"


def load(path: Path, name: str, source: str) -> Network:
    """Return the network in the ONNX file at `path`.

    Constant nodes become weights; Shape and Size nodes too, since shapes are static. Nodes fed by constants alone
    (and what comes from them) prepare constants and are no layers. Nodes that reach no output are dropped. All other
    nodes are layers, in the file's order if that is an execution order, else in the nearest one that is; a Dropout
    appears as the Identity it is, an LRN whose bias is no integer as two layers (see `rewriting`).

    Raises:
        InputError: not ONNX or truncated, invalid by the ONNX checker, a cycle or a tensor nobody makes, missing
            external data, inputs or outputs that are not fp32, shapes that are not static.
    """
    model = _parse(path, source)
    graph = model.graph
    weights = _weights(graph.initializer, path, source)
    nodes = _take_constants(graph.node, weights, path, source)
    nodes = without_dropout(nodes, {value.name for value in graph.output})
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    nodes = _sorted(nodes, {*inputs, *weights}, source)
    shapes = {value.name: _static(value, source) for value in inputs.values()}
    inferred = _inferred(model, nodes, weights, list(inputs.values()), source)
    nodes = _take_shapes(nodes, inferred, weights)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    nodes = without_fractional_bias(nodes, model.functions, inferred, weights, opset, source)
    layers, prepared = _split(nodes, {*inputs}, {value.name for value in graph.output})
    outputs = {value.name: value for value in graph.output}
    made = {tensor for node in layers for tensor in node.output}
    for tensor in outputs:
        if tensor not in made:
            raise InputError(f"{source}: output {tensor!r} is an input or a constant; expected the output of a layer")
    dtypes: dict[str, np.dtype[np.generic]] = dict.fromkeys(shapes, np.dtype(np.float32))
    read = set(outputs).union(*(read_by(node) for node in layers))
    for node in layers:
        for tensor in node.output:
            if tensor in read:
                shapes[tensor], dtypes[tensor] = _activation(tensor, node, inferred, source)
    for tensor in outputs:
        if dtypes[tensor] != np.float32:
            raise InputError(f"{source}: output {tensor!r} is {dtypes[tensor]}, expected float32")
    constants = {tensor: _known(inferred[tensor]) for tensor in prepared if tensor in inferred}
    return Network(
        name=name,
        source=source,
        seed=None,
        inputs={tensor: shapes[tensor] for tensor in inputs},
        outputs={tensor: shapes[tensor] for tensor in outputs},
        nodes=layers,
        weights=weights,
        shapes=shapes,
        dtypes=dtypes,
        opsets=list(model.opset_import),
        # before version 4 initializers had to be listed as inputs
        ir_version=max(model.ir_version, 4),
        functions=list(model.functions),
        prepared=prepared,
        prepared_shapes={tensor: shape for tensor, shape in constants.items() if shape is not None},
    )


def _parse(path: Path, source: str) -> onnx.ModelProto:
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None
    except DecodeError:
        raise InputError(f"{source}: not an ONNX model, or a truncated one (its protobuf does not parse)") from None
    if not model.graph.node or not model.opset_import:
        raise InputError(f"{source}: not an ONNX model, or an empty one (no graph with nodes and an operator set)")
    if model.graph.sparse_initializer:
        raise InputError(f"{source}: sparse initializers are not supported; store them dense")
    return model


def _weights(tensors: Iterable[TensorProto], path: Path, source: str) -> dict[str, Weight]:
    return {tensor.name: _weight(tensor.name, tensor, path, source) for tensor in tensors}


def _weight(name: str, tensor: TensorProto, path: Path, source: str) -> Weight:
    """Return a stored constant, checked against its declared size without reading its values."""
    shape = tuple(tensor.dims)
    if not external_data_helper.uses_external_data(tensor):
        try:
            onnx.checker.check_tensor(tensor)
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
            if tensor.raw_data and dtype.kind in "fiub" and len(tensor.raw_data) != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{len(tensor.raw_data)} bytes do not hold {list(shape)} of {dtype}")
        except (onnx.checker.ValidationError, KeyError, ValueError) as error:
            raise InputError(f"{source}: constant {name!r} is broken: {_first_line(error)}") from None
        return Weight(name, shape, dtype, lambda: np.asarray(numpy_helper.to_array(tensor)))
    facts = {entry.key: entry.value for entry in tensor.external_data}
    file = path.parent / facts.get("location", "")
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise InputError(f"{source}: the external data of constant {name!r} lies outside the model's directory: {file}")
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except KeyError:
        raise InputError(f"{source}: constant {name!r} is broken: unknown data type {tensor.data_type}") from None
    size = math.prod(shape) * dtype.itemsize
    offset = _count(facts, "offset", 0, name, source)
    length = _count(facts, "length", size, name, source)
    if dtype.kind in "fiub" and length != size:
        raise InputError(
            f"{source}: constant {name!r} is broken: {length} bytes of external data do not hold {list(shape)} of {dtype}"
        )
    if not file.is_file():
        raise InputError(f"{source}: the external data of constant {name!r} is missing: no file {file}")
    if file.stat().st_size < offset + length:
        raise InputError(
            f"{source}: the external data of constant {name!r} is truncated: {file} has {file.stat().st_size} bytes, "
            f"expected at least {offset + length}"
        )

    def read() -> np.ndarray:
        copy = TensorProto()
        copy.CopyFrom(tensor)
        external_data_helper.load_external_data_for_tensor(copy, str(path.parent))
        return np.asarray(numpy_helper.to_array(copy))

    return Weight(name, shape, dtype, read)


def _count(facts: Mapping[str, str], key: str, default: int, name: str, source: str) -> int:
    """Return a number of bytes that the external data of constant `name` declares."""
    text = facts.get(key, str(default))
    if not (text.isascii() and text.isdigit()):
        raise InputError(
            f"{source}: constant {name!r} is broken: the {key} of its external data is {text!r}, expected a number of bytes"
        )
    return int(text)


def _take_constants(
    nodes: Iterable[onnx.NodeProto], weights: dict[str, Weight], path: Path, source: str
) -> list[onnx.NodeProto]:
    """Move the values of Constant nodes to `weights` and return the other nodes."""
    kept = []
    for node in nodes:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            kept.append(node)
            continue
        name = "/".join(node.output)
        if len(node.output) != 1 or len(node.attribute) != 1:
            raise InputError(
                f"{source}: Constant {name or node.name!r} has {len(node.output)} outputs and {len(node.attribute)} "
                "attributes, expected one of each"
            )
        attribute = node.attribute[0]
        if attribute.type != CONSTANT_TYPES.get(attribute.name, attribute.type):
            raise InputError(f"{source}: Constant {name!r} is broken: {attribute.name} holds another type")
        if attribute.name == "value":
            weights[name] = _weight(name, attribute.t, path, source)
        elif attribute.name in ("value_float", "value_floats"):
            weights[name] = constant(name, np.array(helper.get_attribute_value(attribute), dtype=np.float32))
        elif attribute.name in ("value_int", "value_ints"):
            weights[name] = constant(name, np.array(helper.get_attribute_value(attribute), dtype=np.int64))
        else:
            raise InputError(f"{source}: Constant {name!r} holds {attribute.name}; allowed: a dense number or tensor")
    return kept


def _sorted(nodes: Sequence[onnx.NodeProto], given: set[str], source: str) -> list[onnx.NodeProto]:
    """Return the nodes so that each stands after those it reads, moving as few as the file's order allows."""
    producers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for tensor in filter(None, node.output):
            if tensor in producers or tensor in given:
                raise InputError(f"{source}: broken graph: tensor {tensor!r} is made twice, again by {label(node)}")
            producers[tensor] = index
    for node in nodes:
        for tensor in read_by(node):
            if tensor not in producers and tensor not in given:
                raise InputError(f"{source}: broken graph: {label(node)} reads {tensor!r}, which nothing makes")
    order: list[int] = []
    state = [0] * len(nodes)
    for root in range(len(nodes)):
        stack = [root]
        while stack:
            index = stack[-1]
            if state[index] == 2:
                stack.pop()
                continue
            waiting = [producers[t] for t in read_by(nodes[index]) if t in producers and state[producers[t]] != 2]
            if not waiting:
                state[index] = 2
                order.append(stack.pop())
            elif state[index] == 1:
                raise InputError(f"{source}: broken graph: a cycle runs through {label(nodes[index])}")
            else:
                state[index] = 1
                stack.extend(reversed(waiting))
    return [nodes[index] for index in order]


def _static(value: onnx.ValueInfoProto, source: str) -> Shape:
    """Return the shape of a network input, which must be fp32 and static."""
    fix = FIX_SHAPES.format(value.name)
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type) if value.type.HasField("tensor_type") else "no tensor"
        raise InputError(f"{source}: input {value.name!r} is {kind}, expected FLOAT (fp32)")
    if not tensor.HasField("shape"):
        raise InputError(f"{source}: input {value.name!r} has no shape; {fix}")
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.dim_value < 1:
            found = (
                repr(dim.dim_param) if dim.dim_param else str(dim.dim_value) if dim.HasField("dim_value") else "unset"
            )
            raise InputError(
                f"{source}: input {value.name!r} has a dynamic shape (axis {axis} is {found}), expected a fixed size; {fix}"
            )
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _inferred(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Weight],
    inputs: Sequence[onnx.ValueInfoProto],
    source: str,
) -> dict[str, onnx.TypeProto]:
    """Check the graph and infer the type of every tensor, large constants standing in as inputs."""
    large = [weight for weight in weights.values() if weight.nbytes >= LARGE_BYTES]
    stand_ins = [
        helper.make_tensor_value_info(weight.name, helper.np_dtype_to_tensor_dtype(weight.dtype), weight.shape)
        for weight in large
    ]
    small = [numpy_helper.from_array(w.array(), w.name) for w in weights.values() if w.nbytes < LARGE_BYTES]
    graph = helper.make_graph(
        nodes,
        model.graph.name or "graph",
        [*inputs, *stand_ins],
        model.graph.output,
        small,
        value_info=model.graph.value_info,
    )
    skeleton = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 4), functions=model.functions
    )
    try:
        onnx.checker.check_model(skeleton)
        skeleton = onnx.shape_inference.infer_shapes(skeleton, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputError(f"{source}: not a valid ONNX model: {_first_line(error)}") from None
    known = (*skeleton.graph.input, *skeleton.graph.value_info, *skeleton.graph.output)
    return {value.name: value.type for value in known}


def _known(kind: onnx.TypeProto) -> Shape | None:
    dims = kind.tensor_type.shape.dim
    if not kind.tensor_type.HasField("shape") or any(not dim.HasField("dim_value") for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def _take_shapes(
    nodes: Sequence[onnx.NodeProto], inferred: dict[str, onnx.TypeProto], weights: dict[str, Weight]
) -> list[onnx.NodeProto]:
    """Turn Shape and Size of tensors with a static shape into constants and return the other nodes."""
    kept = []
    for node in nodes:
        is_shape = node.op_type in ("Shape", "Size") and node.domain in ("", "ai.onnx")
        weight = weights.get(node.input[0]) if is_shape else None
        shape = (
            weight.shape
            if weight
            else _known(inferred[node.input[0]])
            if is_shape and node.input[0] in inferred
            else None
        )
        if shape is None:
            kept.append(node)
            continue
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        values = (
            math.prod(shape)
            if node.op_type == "Size"
            else shape[bounds.get("start", 0) : bounds.get("end", len(shape))]
        )
        weights[node.output[0]] = constant(node.output[0], np.array(values, dtype=np.int64))
    return kept


def _split(
    nodes: Sequence[onnx.NodeProto], inputs: set[str], outputs: set[str]
) -> tuple[list[onnx.NodeProto], dict[str, onnx.NodeProto]]:
    """Return the layers, and the nodes that only prepare constants by the tensors they make; dead nodes in neither."""
    moving = set(inputs)
    for node in nodes:
        if node.op_type in RANDOM or any(tensor in moving for tensor in read_by(node)):
            moving.update(filter(None, node.output))
    needed = set(outputs)
    alive = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(read_by(node))
            alive.append(node)
    alive.reverse()
    layers = [node for node in alive if moving.intersection(node.output)]
    prepared = {tensor: node for node in alive for tensor in node.output if tensor and tensor not in moving}
    return layers, prepared


def _activation(
    tensor: str, node: onnx.NodeProto, inferred: dict[str, onnx.TypeProto], source: str
) -> tuple[Shape, np.dtype[np.generic]]:
    kind = inferred.get(tensor, onnx.TypeProto())
    shape = _known(kind)
    if shape is None or not kind.tensor_type.elem_type:
        raise InputError(
            f"{source}: the shape of {tensor!r}, made by {label(node)}, is not static or cannot be inferred; expected "
            "standard ONNX operators whose output shapes follow from the input shapes"
        )
    return shape, np.dtype(helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
