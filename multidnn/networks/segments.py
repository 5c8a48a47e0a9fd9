"""Joins consecutive groups of a network's board models to one model, so that a segment is one engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from multidnn.errors import InputError
from multidnn.files import read_json, replacing
from multidnn.networks.board_models import BOARD


def segment_name(first: int, last: int) -> str:
    """Return the file name of groups `first` to `last`, inclusive."""
    return f"segment_{first:02d}_{last:02d}.onnx"


def write_segment(models_dir: Path, groups: range, out: Path) -> None:
    """Write the consecutive `groups` of the board models in `models_dir` as one ONNX model to `out`.

    Its inputs are what the groups read from outside, its outputs what later groups or the user read. Nodes keep their
    names; the weights stay in the weights.bin of `models_dir`, which must lie beside `out` when the model is read. In
    fp16 the Casts to fp32 and back between two groups fall away, which changes no value.

    Raises:
        InputError: the models or their board.json are missing or damaged, a group does not exist, `out` cannot be
            written.
    """
    place = models_dir / BOARD
    board = read_json(place)
    try:
        described: list[dict[str, Any]] = board["groups"]
        if groups.step != 1 or not groups or groups.start < 0 or groups.stop > len(described):
            raise InputError(
                f"{place}: there is no segment of groups {list(groups)}; allowed: consecutive ones of 0 to "
                f"{len(described) - 1}"
            )
        models = [_read(models_dir / described[index]["file"]) for index in groups]
        later = {name for group in described[groups.stop :] for name in group["inputs"]} | set(board["outputs"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{place}: not a description of board models ({type(error).__name__}: {error})") from None
    model = _joined(models, later)
    with replacing(out) as temporary:
        try:
            temporary.write_bytes(model.SerializeToString(deterministic=True))
        except OSError as error:
            raise InputError(f"{out}: cannot be written: {error.strerror}") from None


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise InputError(f"{path}: cannot be read as a model ({error}); write the board models again") from None


def _joined(models: Sequence[onnx.ModelProto], later: set[str]) -> onnx.ModelProto:
    """Return the models one after another; `later` names what is read after the last one."""
    joined = onnx.ModelProto()
    joined.CopyFrom(models[0])
    graph = joined.graph
    for repeated in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        del repeated[:]
    initializers: dict[str, onnx.TensorProto] = {}
    values: dict[str, onnx.ValueInfoProto] = {}
    inputs: dict[str, onnx.ValueInfoProto] = {}
    outputs: dict[str, onnx.ValueInfoProto] = {}
    nodes: dict[str, onnx.NodeProto] = {}
    for model in models:
        # nodes that only prepare constants are in every group that reads them
        nodes.update({"\0".join(node.output): node for node in model.graph.node})
        initializers.update({tensor.name: tensor for tensor in model.graph.initializer})
        values.update({value.name: value for value in (*model.graph.value_info, *model.graph.output)})
        inputs.update({value.name: value for value in model.graph.input if value.name not in outputs})
        outputs.update({value.name: value for value in model.graph.output})
    kept = {name: value for name, value in outputs.items() if name in later}
    chosen = _without_casts_between(list(nodes.values()), outputs, kept)
    made = {name for node in chosen for name in node.output}
    graph.node.extend(chosen)
    graph.initializer.extend(initializers.values())
    graph.input.extend(inputs.values())
    graph.output.extend(kept.values())
    graph.value_info.extend(value for name, value in values.items() if name in made and name not in kept)
    return joined


def _without_casts_between(
    nodes: Sequence[onnx.NodeProto], crossing: Mapping[str, Any], kept: Mapping[str, Any]
) -> list[onnx.NodeProto]:
    """Return the nodes without a Cast of a crossing tensor from half to fp32 that a next group only casts back."""
    to_float = {
        node.output[0]: node for node in nodes if _casts(node, TensorProto.FLOAT) and node.output[0] in crossing
    }
    back = [node for node in nodes if _casts(node, TensorProto.FLOAT16) and node.input[0] in to_float]
    # what the second Cast made is what the first one read
    same = {node.output[0]: to_float[node.input[0]].input[0] for node in back}
    dropped = {id(node) for node in back}
    result = []
    for node in nodes:
        if id(node) in dropped:
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(node.input):
            copy.input[position] = same.get(name, name)
        result.append(copy)
    read = {name for node in result for name in node.input}
    return [
        node
        for node in result
        if not (
            node.output and node.output[0] in to_float and node.output[0] not in read and node.output[0] not in kept
        )
    ]


def _casts(node: onnx.NodeProto, to: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == to for a in node.attribute)
