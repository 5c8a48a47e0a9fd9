"""Writes an exported network once more, so that TensorRT can run all of it on a GPU or a DLA.

`dla_layers` says what becomes of each layer.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.networks import export, onnx_file
from multidnn.networks.constant_folding import folded
from multidnn.networks.dla_layers import rewrite
from multidnn.networks.draft import free_name
from multidnn.networks.exported import DESCRIPTION, MODELS, ExportedNetwork
from multidnn.networks.exporting import WEIGHTS, WHOLE
from multidnn.networks.graph import Network
from multidnn.networks.half_precision import halved, with_float_borders
from multidnn.networks.operator_set import lowered

BOARD = "board.json"
PRECISIONS = ("fp32", "fp16")


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
    rewritten = rewrite(folded(original), names, groups)
    board = rewritten.finished()
    if precision == "fp16":
        board = halved(board)
    board = lowered(_needed(board))
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
            "cuts": {str(cut): rewritten.places[tensor].name for cut, tensor in original.cut_tensors.items()},
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
            name = free_name(f"{name}_{index}", taken)
            taken.add(name)
        seen.add(name)
        result.append(name)
    return result


def _needed(network: Network) -> Network:
    """Return the network without constants that nothing reads any more."""
    _, used = network.constants(network.nodes)
    return replace(network, weights={name: network.weights[name] for name in used})


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
