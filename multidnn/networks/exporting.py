"""Writes a network out: its description, its whole model, and one ONNX model per group around one shared weight file."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, numpy_helper

from multidnn.errors import InputError
from multidnn.files import FORMAT, replacing, write_json
from multidnn.networks.exported import DESCRIPTION, MODELS
from multidnn.networks.graph import Network
from multidnn.networks.weights import Weight

WHOLE = "whole.onnx"
WEIGHTS = "weights.bin"

# runtimes map the weight file into memory, which wants page-aligned offsets
PAGE = 4096
# constants below this size stay in the model: shape inference reads shapes and pads from there
INLINE_BYTES = 1024
# protobuf refuses messages of 2 GiB; some room is left for the nodes
LARGEST_MODEL = 2**31 - 2**24

Location = tuple[str, int]


def describe(network: Network, groups: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return the description of `network` with these groups, as ``python -m multidnn.networks describe`` prints it."""
    return {
        "format": FORMAT,
        "name": network.name,
        "source": network.source,
        "seed": network.seed,
        "inputs": _listed(network.inputs),
        "outputs": _listed(network.outputs),
        "layers": [{"index": layer.index, "name": layer.name, "type": layer.type} for layer in network.layers],
        "params": network.params,
        "macs": network.macs,
        "cuts": network.cuts,
        "groups": [list(group) for group in groups],
    }


def export(network: Network, groups: Sequence[tuple[int, int]], directory: Path) -> None:
    """Write ``network.json``, ``models/whole.onnx``, ``models/group_NN.onnx`` and ``models/weights.bin``.

    A group's inputs and outputs keep their tensor names; its outputs are what it makes and later groups or the user
    read. An existing export is replaced; network.json is written last.

    Raises:
        InputError: the directory cannot be written, or the file the network was read from no longer holds its weights.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / DESCRIPTION).unlink(missing_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{MODELS}.", dir=directory))
        try:
            fresh.chmod(0o755)
            locations = _write_weights(network, fresh / WEIGHTS)
            _save(_model(network, 0, len(network.layers) - 1, locations), fresh / WHOLE)
            described = []
            for index, (first, last) in enumerate(groups):
                file = f"group_{index:02d}.onnx"
                model = _model(network, first, last, locations)
                _save(model, fresh / file)
                described.append({"file": file, **_group_facts(network, first, last, model)})
            shutil.rmtree(directory / MODELS, ignore_errors=True)
            fresh.rename(directory / MODELS)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        write_json(
            directory / DESCRIPTION, {**describe(network, groups), "group_models": described, "whole_model": WHOLE}
        )
    except OSError as error:
        raise InputError(
            f"{directory}: the network {network.name} cannot be written here: {error.strerror or error}"
        ) from None


def convert(network: Network, path: Path) -> None:
    """Write the network as one ONNX file at `path`; weights of 2 GiB and more go to ``<name>.data`` beside it.

    Raises:
        InputError: `path` cannot be written.
    """
    size = sum(weight.nbytes for weight in network.weights.values())
    try:
        if size < LARGEST_MODEL:
            with replacing(path) as temporary:
                _save(_model(network, 0, len(network.layers) - 1, {}), temporary)
            return
        data = path.with_name(f"{path.name}.data")
        with replacing(path) as temporary, replacing(data) as temporary_data:
            locations = _write_weights(network, temporary_data)
            named = {name: (data.name, offset) for name, (_, offset) in locations.items()}
            _save(_model(network, 0, len(network.layers) - 1, named), temporary)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _listed(shapes: Any) -> dict[str, list[int]]:
    return {name: list(shape) for name, shape in shapes.items()}


def _save(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))


def _write_weights(network: Network, path: Path) -> dict[str, Location]:
    """Write every weight that does not stay inline once, at page boundaries, and return (file name, offset) of each."""
    locations: dict[str, Location] = {}
    with path.open("wb") as file:
        for weight in network.weights.values():
            # other kinds (bfloat16, 4-bit, text) are stored otherwise than numpy holds them
            if weight.nbytes < INLINE_BYTES or weight.dtype.kind not in "fiub":
                continue
            file.write(b"\0" * (-file.tell() % PAGE))
            locations[weight.name] = (path.name, file.tell())
            file.write(weight.array().data)
    return locations


def _initializer(weight: Weight, location: Location | None) -> onnx.TensorProto:
    if location is None:
        return numpy_helper.from_array(weight.array(), weight.name)
    tensor = onnx.TensorProto(
        name=weight.name,
        dims=weight.shape,
        data_type=helper.np_dtype_to_tensor_dtype(weight.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    file, offset = location
    for key, value in (("location", file), ("offset", str(offset)), ("length", str(weight.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _borders(network: Network, first: int, last: int) -> tuple[list[str], list[str]]:
    """Return the activations layers first..last read from outside and those they make for outside."""
    layers = network.layers[first : last + 1]
    made = dict.fromkeys(name for layer in layers for name in layer.outputs)
    inputs = dict.fromkeys(name for layer in layers for name in layer.inputs if name not in made)
    return list(inputs), [name for name in made if network.last_uses[name] > last]


def _value(network: Network, tensor: str) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(network.dtypes[tensor])
    return helper.make_tensor_value_info(tensor, kind, network.shapes[tensor])


def _model(network: Network, first: int, last: int, locations: dict[str, Location]) -> onnx.ModelProto:
    """Return layers first..last as an ONNX model, its large weights at `locations` (inline where there is none)."""
    nodes = network.nodes[first : last + 1]
    inputs, outputs = _borders(network, first, last)
    if (first, last) == (0, len(network.layers) - 1):
        # the whole network keeps the declared order
        inputs, outputs = list(network.inputs), list(network.outputs)
    preparing, used = network.constants(nodes)
    inner = [name for node in nodes for name in node.output if name in network.shapes and name not in outputs]
    graph = helper.make_graph(
        [*preparing, *nodes],
        network.name,
        [_value(network, name) for name in inputs],
        [_value(network, name) for name in outputs],
        [_initializer(network.weights[name], locations.get(name)) for name in used],
        value_info=[_value(network, name) for name in inner],
    )
    return helper.make_model(
        graph,
        opset_imports=network.opsets,
        ir_version=network.ir_version,
        functions=network.functions,
        producer_name="multidnn",
    )


def _group_facts(network: Network, first: int, last: int, model: onnx.ModelProto) -> dict[str, Any]:
    def shapes(values: Iterable[onnx.ValueInfoProto]) -> dict[str, list[int]]:
        return {value.name: list(network.shapes[value.name]) for value in values}

    layers = network.layers[first : last + 1]
    weights = {name for layer in layers for name in layer.weights}
    return {
        "inputs": shapes(model.graph.input),
        "outputs": shapes(model.graph.output),
        "macs": sum(layer.macs for layer in layers),
        "weight_bytes": sum(network.weights[name].nbytes for name in weights),
        "activation_bytes": sum(layer.activation_bytes for layer in layers),
        "input_bytes": sum(network.nbytes(value.name) for value in model.graph.input),
        "output_bytes": sum(network.nbytes(value.name) for value in model.graph.output),
    }
