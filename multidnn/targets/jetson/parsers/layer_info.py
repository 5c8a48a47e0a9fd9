"""What the engine inspector says of an engine: --exportLayerInfo and get_engine_information, TensorRT 8.2 to 11."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers.text import json_items, read_log

_ORIGIN = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


@dataclass(frozen=True)
class Tensor:
    """One input or output of a layer, as printed; `dimensions` in elements."""

    name: str
    dimensions: tuple[int, ...] | None
    format: str | None


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine; `type` is None, and there are no tensors, where the inspector gives names only.

    A `type` of "DLA" is the one sure sign that a block runs on the DLA.
    """

    name: str
    type: str | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class LayerInfo:
    """An engine's layers in execution order and the names of its inputs and outputs."""

    detailed: bool
    layers: tuple[EngineLayer, ...]
    bindings: tuple[str, ...]
    place: str = field(compare=False, repr=False)

    def require_detailed(self) -> None:
        """Raise an `InputError` that says how to build the engine, if it gives only names."""
        if not self.detailed:
            raise InputError(
                f"{self.place}:1: the layers are names only; build the engine with detailed profiling verbosity "
                "(--profilingVerbosity=detailed, before 8.5 --nvtxMode=verbose; "
                "config.profiling_verbosity = ProfilingVerbosity.DETAILED in Python) and export again"
            )


def read(path: Path) -> LayerInfo:
    """Return what the JSON file at `path` says of an engine."""
    return parse(read_log(path), str(path))


def parse(text: str, place: str) -> LayerInfo:
    """Return what the inspector's JSON says.

    Raises:
        InputError: not JSON (or truncated), no list 'Layers', or a layer without a name.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        cut = not text[error.pos :].strip() or "Unterminated" in error.msg
        raise InputError(
            f"{place}:{error.lineno}: not valid JSON ({error.msg})" + ("; it is truncated" if cut else "")
        ) from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{place}:1: JSON that no tool here writes ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("Layers"), list):
        found = f"the keys {', '.join(map(repr, document))}" if isinstance(document, dict) else type(document).__name__
        raise InputError(f"{place}:1: found {found}, expected an object with a list 'Layers', as of --exportLayerInfo")
    if not document["Layers"]:
        raise InputError(f"{place}:1: the list 'Layers' is empty, expected the layers of an engine")
    layers: list[EngineLayer] = []
    detailed = True
    # once more, element by element, for the lines
    begin = re.search(r'"Layers"\s*:\s*(?=\[)', text)
    for line, item in json_items(text, place, begin.end() if begin else 0):
        at = f"{place}:{line}"
        detailed = detailed and not isinstance(item, str)
        layers.append(EngineLayer(item, None, (), ()) if isinstance(item, str) and item else _layer(item, at))
    # 11 has another name for them
    bindings = document.get("Bindings", document.get("I/O Tensors", []))
    if not isinstance(bindings, list):
        raise InputError(f"{place}:1: 'Bindings' is a JSON {type(bindings).__name__}, expected a list of names")
    names = tuple(str(entry.get("Name") if isinstance(entry, Mapping) else entry) for entry in bindings)
    return LayerInfo(detailed, tuple(layers), names, place)


def _layer(item: Any, at: str) -> EngineLayer:
    if not isinstance(item, dict) or not isinstance(item.get("Name"), str) or not item["Name"]:
        raise InputError(f"{at}: found {json.dumps(item)[:60]}, expected a layer's name or an object with 'Name'")
    if not isinstance(item.get("LayerType"), str):
        raise InputError(
            f"{at}: layer {item['Name']!r} has no 'LayerType'; expected one, as in detailed layer information"
        )
    return EngineLayer(item["Name"], item["LayerType"], _tensors(item, "Inputs", at), _tensors(item, "Outputs", at))


def _tensors(layer: Mapping[str, Any], key: str, at: str) -> tuple[Tensor, ...]:
    entries = layer.get(key, [])
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and isinstance(e.get("Name"), str) for e in entries
    ):
        raise InputError(f"{at}: {key!r} of layer {layer['Name']!r} is not a list of objects with 'Name'")
    tensors = []
    for entry in entries:
        dimensions, layout = entry.get("Dimensions"), entry.get("Format/Datatype")
        whole = isinstance(dimensions, list) and all(isinstance(size, int) for size in dimensions)
        tensors.append(Tensor(entry["Name"], tuple(dimensions) if whole else None, layout and str(layout)))
    return tuple(tensors)


def origins(document: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """Return the ONNX nodes that each layer was made from, by the layer's name, from an inspector's answer already read.

    TensorRT's parser writes them into `Metadata` from 8.6 on (``[ONNX Layer: a]``, in 10 also ``[ONNX Layer: a | ...]``);
    a layer without them is left out, and so is everything of an engine that gives names only.
    """
    found: dict[str, list[str]] = {}
    layers = (document or {}).get("Layers")
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict) and isinstance(layer.get("Metadata"), str):
            names = [name.split(" | ")[0].strip() for name in _ORIGIN.findall(layer["Metadata"])]
            if names:
                found.setdefault(str(layer.get("Name")), []).extend(names)
    return found
