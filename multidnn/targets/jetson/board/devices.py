"""Which device kind each layer belongs to, by names alone: from a request to layers, and from layers to what TensorRT made of them.

A *layer* is a node of the ONNX model, known by name and by its index in execution order; TensorRT's own network has layers
of its own, of which one or more come from each ONNX node, and some (constants, shuffles, broadcasts) from none by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, Sequence

from .errors import BoardError
from .fields import Fields

KINDS = ("gpu", "dla")
# what TensorRT appends when one ONNX node becomes several layers: "conv_1", "fc [Shuffle]", "lrn/2"
_SUFFIX = re.compile(r"[_:/ .(\[]")
_PART_OF_NAME = r"[A-Za-z0-9_./:-]"


def other(kind: str) -> str:
    """Return the device kind that `kind` is not."""
    return "dla" if kind == "gpu" else "gpu"


def from_switch(layers: Sequence[str], start: str, transition: int | None) -> dict[str, str]:
    """Return the device kind of each layer of an engine that begins on `start` and moves to the other at `transition`."""
    if transition is not None and not 0 < transition < len(layers):
        raise BoardError(
            f"transition {transition} is no cut of a model of {len(layers)} layers; allowed: 1 to {len(layers) - 1}"
        )
    cut = len(layers) if transition is None else transition
    return {name: start if index < cut else other(start) for index, name in enumerate(layers)}


def requested(layers: Sequence[str], devices: Fields) -> dict[str, str]:
    """Return the device kind of each layer, from either form of a build request."""
    if len(set(layers)) != len(layers):
        twice = sorted({name for name in layers if layers.count(name) > 1})
        raise BoardError(f"layer names must be unique; more than once: {', '.join(twice[:5])}")
    if "start" in devices:
        return from_switch(layers, devices.choice("start", KINDS), devices.optional("transition", int))
    default = devices.choice("default", KINDS)
    named = devices.object("layers")
    unknown = [name for name in named.names() if name not in set(layers)]
    if unknown:
        raise BoardError(f"devices name layers that the model does not have: {', '.join(unknown[:5])}")
    return {name: named.choice(name, KINDS) if name in named else default for name in layers}


@dataclass(frozen=True)
class TensorRTLayer:
    """One layer of TensorRT's network: its name and the names of the tensors it reads and writes."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def named_owner(name: str, layers: Mapping[str, int]) -> int | None:
    """Return the index of the ONNX layer whose name `name` carries, exactly or with a suffix; None if there is none.

    The longest name counts, so that "conv1_1" is no suffix of "conv1" where both are layers.
    """
    if name in layers:
        return layers[name]
    for length in range(len(name) - 1, 0, -1):
        if name[:length] in layers and _SUFFIX.match(name[length]):
            return layers[name[:length]]
    return None


def owners(network: Sequence[TensorRTLayer], layers: Sequence[str]) -> list[int | None]:
    """Return, per layer of TensorRT's network, the index of the ONNX layer it belongs to.

    A layer without a known name follows its neighbours: the first layer that reads it (the parser puts constants and
    shuffles before the layer that they serve), else the last that it reads; None if it has no neighbour.
    """
    index = {name: i for i, name in enumerate(layers)}
    found = [named_owner(layer.name, index) for layer in network]
    producer = {tensor: i for i, layer in enumerate(network) for tensor in layer.outputs}
    readers: dict[str, list[int]] = {}
    for i, layer in enumerate(network):
        for tensor in layer.inputs:
            readers.setdefault(tensor, []).append(i)
    # chains of unnamed layers: from the back for readers, then from the front for producers
    for i in reversed(range(len(network))):
        if found[i] is None:
            after = [found[j] for tensor in network[i].outputs for j in readers.get(tensor, [])]
            known = [owner for owner in after if owner is not None]
            found[i] = min(known) if known else None
    for i, layer in enumerate(network):
        if found[i] is None:
            before = [found[producer[tensor]] for tensor in layer.inputs if tensor in producer]
            known = [owner for owner in before if owner is not None]
            found[i] = max(known) if known else None
    return found


def alive_before(network: Sequence[TensorRTLayer], owner: Sequence[int | None], cut: int) -> list[str]:
    """Return the tensors that layers before index `cut` make and layers from `cut` on read, in the order they are made."""
    made = [tensor for layer, of in zip(network, owner) if of is not None and of < cut for tensor in layer.outputs]
    read = {tensor for layer, of in zip(network, owner) if of is not None and of >= cut for tensor in layer.inputs}
    return [tensor for tensor in made if tensor in read]


def mentioned(text: str, layers: Sequence[str]) -> list[str]:
    """Return the ONNX layers whose names stand in `text`, such as "conv1 + relu1" or "PWN(sigmoid, mul)", as whole words."""
    return [
        name
        for name in layers
        if name in text and re.search(f"(?<!{_PART_OF_NAME}){re.escape(name)}(?!{_PART_OF_NAME})", text)
    ]
