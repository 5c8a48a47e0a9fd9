"""Writing whole files or none, and saying which path cannot be written."""

import os
from pathlib import Path

import pytest

from multidnn.errors import InputError
from multidnn.files import read_yaml, require_writable, write_json, write_text


def test_missing_directories_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    require_writable(path)
    assert list(tmp_path.iterdir()) == []
    write_json(path, {"x": 1})
    assert [entry.name for entry in path.parent.iterdir()] == ["c.json"]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "file" / "x", tmp_path / "file" / "x" / "y", tmp_path / "loose" / "x"):
        for attempt in (require_writable, lambda path: write_text(path, "new")):
            with pytest.raises(InputError) as caught:
                attempt(path)
            assert str(caught.value).startswith(f"{path}: cannot be written: ")
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        write_text(tmp_path / ("n" * 300), "new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "loose"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_directory_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for path in (closed / "x", closed / "y" / "x"):
        with pytest.raises(InputError, match=f"{path}: cannot be written: no permission to write in {closed}"):
            write_text(path, "new")


def test_keys_of_different_kinds_are_different(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1: a\n'1': b\n")
    assert read_yaml(path) == {1: "a", "1": "b"}
