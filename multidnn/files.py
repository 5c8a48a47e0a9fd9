"""Reading and writing the project's JSON and YAML files: checked on the way in, whole or absent on the way out."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from multidnn.errors import InputError

FORMAT = 1


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` when the block ends well and vanishes otherwise.

    Missing directories are made; a path that cannot be written is an `InputError`.
    """
    path = Path(path)
    require_writable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; results are meant to be read by others
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        try:
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Raise an `InputError` if a file cannot be written at `path`; makes and changes nothing."""
    path = Path(path)
    # os.path takes a path that may not be looked at for one that is not there, where pathlib raises
    if os.path.isdir(path):
        raise InputError(f"{path}: cannot be written: it is a directory, expected the name of a file")
    parent = path.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not os.path.isdir(parent):
        raise InputError(f"{path}: cannot be written: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written: no permission to write in {parent}")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON with ``"format": 1`` in front, atomically. NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps({"format": FORMAT, **value}, indent=1, allow_nan=False) + "\n")


def read_text(path: Path) -> str:
    """Return the text of `path`; a missing or unreadable file is an `InputError`."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. A truncated file or another format number is an `InputError`."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: not valid JSON ({error.msg}); a truncated result is rebuilt once it is deleted"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: found a JSON {type(value).__name__}, expected an object")
    if value.get("format", FORMAT) != FORMAT:
        raise InputError(f"{path}: format {value['format']!r} is unknown, this version reads format {FORMAT}")
    return value


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader to which a key given twice is a mistake, where YAML's own would drop the first."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # here, before `<<` merges keys that may be overridden
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key {key.value!r} is already in line {seen[key.tag, key.value]}"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            seen[key.tag, key.value] = key.start_mark.line + 1
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the YAML mapping in `path`; anything else, also a repeated key, is an `InputError` with the line."""
    try:
        value = yaml.load(read_text(path), Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else f"{path}"
        raise InputError(f"{place}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: found {type(value).__name__}, expected a mapping of keys to values")
    return value
