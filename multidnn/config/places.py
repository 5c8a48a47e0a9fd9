"""Where a key of the configuration stands: the file and the line that a user finds it in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

COMMAND_LINE = "--config"

KeyPath = tuple[str | int, ...]
"""The keys and list indices that lead to a place in the configuration."""


def place_of(config: Any, path: KeyPath, files: Sequence[Path]) -> str:
    """``file:line: a.b.c: `` of the first of `files` that holds the key with the value found, or --config if none does.

    A key that is nowhere (it is missing) is placed where the nearest key above it stands.
    """
    key = f"{'.'.join(map(str, path))}: " if path else ""
    present, value = _look_up(config, path)
    for depth in range(len(path), 0, -1):
        for file in files:
            found = _line(file, path[:depth], value if depth == len(path) else None)
            if found is not None:
                return f"{file}:{found}: {key}"
        if present:
            return f"{COMMAND_LINE}: {key}"
    return f"{files[0]}: {key}" if files else key


def _look_up(value: Any, path: KeyPath) -> tuple[bool, Any]:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return False, None
    return True, value


def _line(file: Path, path: KeyPath, value: Any) -> int | None:
    """The line of the key at `path` in a YAML or JSON `file`; None if it is not there or holds another plain value."""
    with Path(file).open(encoding="utf-8") as stream:
        node = yaml.compose(stream, yaml.SafeLoader)
    line = 1
    for part in path:
        found: tuple[yaml.Node, yaml.Node] | None = None
        if isinstance(node, yaml.MappingNode):
            found = next(((key, entry) for key, entry in node.value if key.value == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    if isinstance(node, yaml.ScalarNode) and isinstance(value, (str, int, float)):
        return line if yaml.safe_load(yaml.serialize(node)) == value else None
    return line
