"""Reads a user's own ONNX file: checked, shapes static, sorted, constants folded."""

from pathlib import Path

from multidnn.errors import InputError
from multidnn.networks.graph import Network


def load(path: Path, name: str, source: str) -> Network:
    raise InputError("soon")
