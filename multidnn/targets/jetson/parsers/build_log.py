"""The log of building an engine: which layers went to the DLA, which to the GPU, and which had to fall back."""

import re
from dataclasses import dataclass
from pathlib import Path

from multidnn.errors import InputError
from multidnn.targets.jetson.board.placement import parse_placement
from multidnn.targets.jetson.parsers.text import log_lines, read_log

_HEADER = re.compile(r"-{5,} *Layers running on (DLA|GPU)\b", re.IGNORECASE)


@dataclass(frozen=True)
class DlaBlock:
    """Layers that run on the DLA as one; `layers` is None where the log names only the first and the last."""

    name: str
    layers: tuple[str, ...] | None


@dataclass(frozen=True)
class Placement:
    """Where the layers of an engine are. `fallback`: meant for the DLA, put on the GPU. `errors`: lines of level E.

    `unread`: messages about falling back whose words this version does not know.
    """

    dla: tuple[DlaBlock, ...]
    gpu: tuple[str, ...]
    fallback: tuple[str, ...]
    unread: tuple[str, ...]
    errors: tuple[str, ...]


def read(path: Path) -> Placement:
    """Return the placement in the build log at `path`."""
    return parse(read_log(path), str(path))


def parse(text: str, place: str) -> Placement:
    """Return the placement in a build log, 7.1 to 11; `board.placement` has the forms.

    Raises:
        InputError: the log says nothing of a placement and holds no error either, or it is truncated.
    """
    lines = log_lines(text)
    found = parse_placement(line.message for line in lines)
    last = max(line.number for line in lines if line.message.strip())
    errors = tuple(line.message for line in lines if line.severity in ("E", "F") and line.message)
    if not (found["dla"] or found["gpu"] or found["fallback"] or found["unread"] or errors):
        raise InputError(
            f"{place}:{last}: found no line about placement ('[DlaLayer] ...', 'Layers running on DLA', '... falling back "
            "to GPU'); expected the log of a build with a DLA core (--useDLACore), with --verbose where it needs that"
        )
    headers = {header[1].upper() for line in lines if (header := _HEADER.search(line.message))}
    began = any("&&&& RUNNING" in line.message for line in lines)
    ended = any("&&&& PASSED" in line.message or "&&&& FAILED" in line.message for line in lines)
    if headers == {"DLA"} or (began and not ended):
        what = "trtexec's line PASSED or FAILED" if began and not ended else "the layers running on the GPU"
        raise InputError(f"{place}:{last}: the log ends without {what}; it is truncated, or the build was ended")
    blocks = zip(found["dla"], found["dla_layers"], strict=True)
    return Placement(
        tuple(DlaBlock(name, None if layers is None else tuple(layers)) for name, layers in blocks),
        tuple(found["gpu"]),
        tuple(found["fallback"]),
        tuple(found["unread"]),
        errors,
    )
