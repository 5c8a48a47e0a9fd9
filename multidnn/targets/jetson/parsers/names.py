"""What TensorRT's name of a profile entry says: which layers it is made of, and whether it only moves data."""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["layer", "reformat", "foreign"]

# entries that change a format, copy between memories or wait for that; the group is the layer (or tensor) they serve.
# 7.1 to 8.x with a DLA: "data to nvm", "data copy finish", "X from nvm", "X output to be reformatted 0 finish"
_REFORMATS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(.+) (?:input|output) reformatter \d+",
        r"(.+) (?:reformatted input|output to be reformatted) \d+(?: finish)?",
        r"Reformatting CopyNode for (?:Input|Output) Tensor \d+ to (.+)",
        r"Reformatting CopyNode for Network (?:Input|Output) (.+)",
        r"(.+) (?:to|from) nvm",
        r"(.+) copy finish",
        r"(.+) finish",
    )
)
# of those, the ones that a block on the DLA is waited for in: the block's own entry may be over once it is submitted
_WAITS = re.compile(r".+ (?:from nvm|finish)")
_FOREIGN = re.compile(r"\{ForeignNode\[(.*)\]\}")
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True)
class EntryName:
    """What a name says. `parts`: names of layers, in the name's order; for a reformat entry of what it serves.

    `complete` is false where a block gives only its first and last layer (``{ForeignNode[a...b]}``) or none.
    """

    parts: tuple[str, ...]
    kind: Kind
    complete: bool


def split_at(text: str, *separators: str) -> list[str]:
    """Split `text` at the separators outside of brackets; brackets that do not match are taken as letters."""
    pieces, depth, begin, position = [], 0, 0, 0
    balanced = all(text.count(a) == text.count(b) for a, b in zip(_OPEN, _CLOSE, strict=True))
    while position < len(text):
        if balanced and text[position] in _OPEN:
            depth += 1
        elif balanced and text[position] in _CLOSE:
            depth -= 1
        separator = next((s for s in separators if depth <= 0 and text.startswith(s, position)), None)
        if separator:
            pieces.append(text[begin:position])
            position += len(separator)
            begin = position
        else:
            position += 1
    return [*pieces, text[begin:]]


def fused(name: str) -> tuple[str, ...]:
    """Return the layers that are joined in `name`: fused (`` + ``), side by side (`` || ``), pointwise (``PWN(a, b)``)."""
    parts: list[str] = []
    for piece in split_at(name, " + ", " || "):
        inner = piece.strip()
        if inner.startswith("PWN(") and inner.endswith(")"):
            for argument in split_at(inner[4:-1], ", "):
                parts.extend(fused(argument))
        elif inner:
            parts.append(inner)
    return tuple(parts)


def block(name: str) -> EntryName | None:
    """Return the layers of ``{a,b,...}`` (a DLA block in 7.1) or ``{ForeignNode[a...b]}`` (8.x: DLA or Myelin), or None."""
    foreign = _FOREIGN.fullmatch(name)
    if foreign:
        ends = foreign[1].split("...")
        return EntryName(tuple(part for end in ends for part in fused(end)), "foreign", len(ends) == 1)
    if name.startswith("{") and name.endswith("}"):
        return EntryName(tuple(part for part in split_at(name[1:-1], ",") if part), "foreign", True)
    # TensorRT 10 may report Myelin's kernels one by one, under names of its own
    return EntryName((), "foreign", False) if name.startswith("__my") else None


def is_wait(name: str) -> bool:
    """Return whether the entry waits for the DLA (``X from nvm``, ``X copy finish``), so that the DLA's time is in it."""
    return _WAITS.fullmatch(name) is not None


def split_name(name: str) -> EntryName:
    """Return what the name of a profile entry says.

    ``X copy``, which puts X's output into the buffer of a concatenation, is a layer: it is how a concatenation is
    computed. Whether a foreign block ran on the DLA is not in the name: ask the build log or the inspector.
    """
    for pattern in _REFORMATS:
        if found := pattern.fullmatch(name):
            served = block(found[1])
            parts, complete = (served.parts, served.complete) if served else (fused(found[1]), True)
            return EntryName(parts, "reformat", complete)
    if whole := block(name):
        return whole
    return EntryName(fused(name.removesuffix(" copy")), "layer", True)
