"""Files that are whole or absent, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .errors import BoardError

_CHUNK = 1 << 20
# weights are shared by all models of a network: hash each file once per call
_hashes: dict[tuple[str, int, int], str] = {}


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(str(temporary), str(path))
    except BaseException:
        if temporary.exists():
            temporary.unlink()
        raise


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON, whole or not at all; NaN and infinity are a ValueError."""
    write_bytes(path, (json.dumps(content, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return what the JSON file `path` holds."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise BoardError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BoardError(f"{path} is not JSON: {error}") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, computed once per path, size and time of change."""
    try:
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in _hashes:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                for chunk in iter(lambda: file.read(_CHUNK), b""):
                    digest.update(chunk)
            _hashes[key] = digest.hexdigest()
    except OSError as error:
        raise BoardError(f"{path} cannot be read: {error.strerror}") from None
    return _hashes[key]


def external_data(model: Path) -> dict[str, str]:
    """Return name and SHA-256 of the files beside `model` that it names as the place of its weights.

    An ONNX file holds the name of its external data as plain text, so no ONNX reader is needed to find it.
    """
    content = model.read_bytes()
    return {
        path.name: sha256(path)
        for path in sorted(model.parent.iterdir())
        if path != model and path.is_file() and path.suffix != ".onnx" and path.name.encode() in content
    }
