"""Which layers TensorRT put on the DLA and which on the GPU: read from a build log, or from the engine inspector.

Runs on the board too: Python 3.8, standard library only.

What the logs look like, by version:
- 7.x: ``--------------- Layers running on DLA:``, then one line ``{a,b}, {c}, ``; the same for the GPU with
  ``a + b, c, ``; an empty line where there is none.
- 8.0 and later: ``---------- Layers Running on DLA ----------`` (in between: the older header), then lines
  ``[DlaLayer] {ForeignNode[a...b]}`` and ``[GpuLayer] TYPE: name`` (at first without the type; at first with a comma
  behind). Newer versions print them only when they are verbose.
- falling back: ``Default DLA is enabled but layer X is not supported on DLA, falling back to GPU.`` (7.x, 8.0),
  ``Layer 'X' (TYPE): Unsupported on DLA. Switching this layer's device type to GPU.`` (8.x, 10.x), and others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# trtexec: "[date] [I] [TRT] "; Python's logger: "[date] [TRT] [I] " or "[TensorRT] INFO: "
_PREFIX = re.compile(
    r"(?:\s*(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\]|\[[IWVEF]\]|\[TRT\]:?|\[TensorRT\]|(?:VERBOSE|INFO|WARNING|ERROR):))*\s?"
)
_HEADER = re.compile(r"-{5,} *Layers running on (DLA|GPU)\b", re.IGNORECASE)
_PLACED = re.compile(r"\[(Dla|Gpu)Layer\] (.*)")
_TYPE = re.compile(r"[A-Z][A-Z0-9_]*: ")
_FALLBACK = (
    re.compile(r"Default DLA is enabled but layer (?P<name>.+) is not supported on DLA, falling back to GPU"),
    re.compile(r"Layer '(?P<name>.+)' \([A-Z0-9_]+\): Unsupported on DLA\. Switching"),
    re.compile(r"[Ll]ayer '(?P<name>.+)' is not supported on DLA, (?:falling back|switching)"),
    re.compile(r"[Ll]ayer (?P<name>.+) is not supported on DLA, (?:falling back|switching)"),
    re.compile(r"DLA only supports FP16 and Int8 precision type\. Switching (?P<name>.+) device type to GPU"),
    re.compile(r"Validation failed for DLA layer:? (?P<name>.+?)\. Switching"),
    re.compile(r"[Ii]nternal DLA error for layer (?P<name>.+?)\. Switching"),
)
# a sentence that tells of falling back, in words that none of the above knows
_TELLS = re.compile(r"falling back to GPU|device type to GPU|[Ss]witching to GPU fallback")


def parse_placement(lines: Iterable[str]) -> dict[str, Any]:
    """Return where the layers are, from the lines of a build log, each name once and in the log's order.

    ``dla``: the blocks on the DLA as printed; ``dla_layers``: one list per block with the layers that its name gives:
    all of them for ``{a,b}`` and ``{ForeignNode[a]}``, None for ``{ForeignNode[a...b]}``, which gives only the ends.
    ``gpu``: layers on the GPU as printed, without the type. ``fallback``: layers that were asked to be on the DLA and
    went to the GPU. ``unread``: messages about falling back in unknown words, so that nothing is lost in silence.
    """
    placed: dict[str, list[str]] = {"Dla": [], "Gpu": []}
    fallback: list[str] = []
    unread: list[str] = []
    section: str | None = None
    for line in lines:
        match = _PREFIX.match(line)
        message = line[match.end() :].strip() if match else line.strip()
        header = _HEADER.search(message)
        if header:
            section = "Dla" if header.group(1).upper() == "DLA" else "Gpu"
            continue
        one = _PLACED.search(message)
        if one:
            name = one.group(2).strip()
            name = name[:-1] if name.endswith(",") else name
            if one.group(1) == "Gpu":
                name = _TYPE.sub("", name, count=1) if _TYPE.match(name) else name
            placed[one.group(1)].append(name)
            continue
        if section and message:
            # the older header is followed by one line, of which every name ends with a comma
            if message.endswith(","):
                placed[section].extend(part for part in _split(message[:-1], ", ") if part)
            section = None
        known = next((found for found in (pattern.search(message) for pattern in _FALLBACK) if found), None)
        if known:
            fallback.append(known.group("name"))
        elif _TELLS.search(message):
            unread.append(message)
    dla = _once(placed["Dla"])
    return {
        "dla": dla,
        "dla_layers": [block_layers(name) for name in dla],
        "gpu": _once(placed["Gpu"]),
        "fallback": _once(fallback),
        "unread": _once(unread),
    }


def placement_from_layer_info(layer_info: dict[str, Any]) -> dict[str, Any]:
    """Return the same from the JSON of the engine inspector (`get_engine_information`) or of --exportLayerInfo.

    A layer of the type "DLA" is a block on the DLA, every other is on the GPU; `fallback` is empty, because an engine
    no longer knows what was asked for. Raises ValueError if the layers are mere names (the engine was not built with
    detailed profiling verbosity) or have no type.
    """
    layers = layer_info.get("Layers")
    if not isinstance(layers, list) or not layers:
        raise ValueError("the inspector's JSON has no 'Layers'")
    dla: list[str] = []
    gpu: list[str] = []
    for layer in layers:
        if isinstance(layer, str):
            raise ValueError(
                "the inspector gives names only, so nothing says where a layer runs; build the engine with detailed "
                "profiling verbosity (--profilingVerbosity=detailed, before 8.5 --nvtxMode=verbose)"
            )
        if not isinstance(layer, dict) or not layer.get("Name") or not layer.get("LayerType"):
            raise ValueError(f"found {layer!r}, expected a layer with 'Name' and 'LayerType'")
        (dla if str(layer["LayerType"]).upper() == "DLA" else gpu).append(str(layer["Name"]))
    return {
        "dla": _once(dla),
        "dla_layers": [block_layers(name) for name in _once(dla)],
        "gpu": _once(gpu),
        "fallback": [],
        "unread": [],
    }


def block_layers(name: str) -> list[str] | None:
    """Return the layers of a block by its name, or None if the name gives only the first and the last one."""
    foreign = re.match(r"\{ForeignNode\[(.*)\]\}$", name)
    if foreign:
        return None if "..." in foreign.group(1) else _split(foreign.group(1), " + ")
    if name.startswith("{") and name.endswith("}"):
        return [part for part in _split(name[1:-1], ",") if part]
    return _split(name, " + ")


def _split(text: str, separator: str) -> list[str]:
    """Split `text` at `separator` outside of brackets; brackets that do not match are taken as letters."""
    balanced = all(text.count(opening) == text.count(closing) for opening, closing in ("()", "[]", "{}"))
    pieces = [""]
    depth = 0
    position = 0
    while position < len(text):
        if depth <= 0 and text.startswith(separator, position):
            pieces.append("")
            position += len(separator)
            continue
        if balanced:
            depth += (text[position] in "([{") - (text[position] in ")]}")
        pieces[-1] += text[position]
        position += 1
    return [piece.strip() for piece in pieces]


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
