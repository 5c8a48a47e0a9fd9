"""Files that are whole or absent, and what makes a model the same."""

from pathlib import Path

import pytest

from multidnn.targets.jetson.board import files
from multidnn.targets.jetson.board.errors import BoardError
from multidnn.targets.jetson.board.fields import Fields


def test_json_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "answer.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": 1}
    assert [one.name for one in path.parent.iterdir()] == ["answer.json"]


def test_unreadable_json(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="cannot be read: No such file"):
        files.read_json(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(BoardError, match="is not JSON"):
        files.read_json(tmp_path / "bad.json")


def test_external_data_counts(tmp_path: Path) -> None:
    model = tmp_path / "segment.onnx"
    model.write_bytes(b"\x08\x09 location weights.bin offset 0")
    (tmp_path / "weights.bin").write_bytes(b"1234")
    (tmp_path / "whole.onnx").write_bytes(b"weights.bin")
    (tmp_path / "other.bin").write_bytes(b"5")
    before = files.external_data(model)
    assert list(before) == ["weights.bin"]
    (tmp_path / "weights.bin").write_bytes(b"12345")
    assert files.external_data(model) != before


def test_fields_name_the_place() -> None:
    fields = Fields({"list": [{"n": True}]}, "request")
    with pytest.raises(BoardError, match=r"request: list\[0\]: 'n' must be a whole number, not True"):
        fields.objects("list")[0].value("n", int)
    with pytest.raises(BoardError, match=r"request must be an object, not \[\]"):
        Fields([], "request")
    assert Fields({"x": 1}, "request").value("x", float) == 1
