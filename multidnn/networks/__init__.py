"""Networks: prototxt and ONNX files in, layers, cuts, groups and their models out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# onnx is imported on the first call: reading an exported network and parsing the Snakefile need none of it
if TYPE_CHECKING:
    from multidnn.networks.graph import Network

SEED = 2024
GROUP_COUNT = 10


def load(path: str | Path, *, seed: int = SEED, name: str | None = None) -> Network:
    """Return the network in `path`, a Caffe ``.prototxt`` or an ``.onnx`` file.

    Args:
        path: the file; its suffix says what it is.
        seed: seeds the random weights of a prototxt network (a prototxt carries none); an ONNX file keeps its own.
        name: the network's name, by default the file's stem.

    Raises:
        InputError: the file is missing, malformed, or asks for something that is not supported; with the line for
            a prototxt and the node or tensor for an ONNX file.
    """
    from multidnn.networks import loading

    return loading.load(path, seed=seed, name=name)


def choose_groups(
    network: Network, count: int | None = None, starts: Sequence[int] | None = None
) -> list[tuple[int, int]]:
    """Return the groups of `network` as (first, last) layer indices, inclusive: see `multidnn.networks.groups`."""
    from multidnn.networks import groups

    return groups.choose_groups(network, count, starts)


def describe(network: Network, groups: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return what ``python -m multidnn.networks describe`` prints (JSON-ready), `groups` included."""
    from multidnn.networks import exporting

    return exporting.describe(network, groups)


def export(network: Network, groups: Sequence[tuple[int, int]], directory: str | Path) -> None:
    """Write ``network.json`` and ``models/`` of `network` into `directory`: see `multidnn.networks.exporting`."""
    from multidnn.networks import exporting

    exporting.export(network, groups, Path(directory))
