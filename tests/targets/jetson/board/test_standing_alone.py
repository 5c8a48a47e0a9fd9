"""The folder runs on a board: nothing but what is there, and Python 3.8."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import multidnn.targets.jetson.board as package

FOLDER = Path(package.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
ALLOWED = {"numpy", "tensorrt", "pycuda"}
# what a board offers before anything is installed on it
WITHOUT_LIBRARIES = [
    "versions",
    "placement",
    "devices",
    "gate",
    "errors",
    "fields",
    "files",
    "log",
    "residency",
    "sampler",
]


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name.split(".")[0], 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(((node.module or "").split(".")[0], node.level))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports_nothing_else(path: Path) -> None:
    for name, level in imports(ast.parse(path.read_text())):
        assert level < 2, f"{path.name} imports from outside of its folder"
        assert level == 1 or name in ALLOWED or name in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_grammar_of_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_version_is_asked_for_in_one_place(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    if path.stem != "api":
        assert "versions" not in names
        assert "__version__" not in attributes or path.stem == "facts"  # of numpy


def interpreters() -> list[Path]:
    """Return a Python 3.8 and a 3.10 where there are any; neither is ours."""
    found = []
    for version in ("3.8", "3.10"):
        root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        candidates = [Path(path) for path in [shutil.which(f"python{version}")] if path]
        candidates += sorted(root.glob(f"versions/{version}.*/bin/python{version}"))
        for candidate in candidates:
            # a launcher may be there for a version that is not
            if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
                found.append(candidate)
                break
    return found


INTERPRETERS = interpreters()
needs_old_python = pytest.mark.skipif(not INTERPRETERS, reason="no Python 3.8 or 3.10 on this machine")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The folder alone, as it lies on a board."""
    shutil.copytree(FOLDER, tmp_path / "board", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@needs_old_python
@pytest.mark.parametrize("python", INTERPRETERS, ids=lambda path: path.name)
def test_compiles_and_imports(python: Path, copied: Path) -> None:
    subprocess.run([python, "-m", "compileall", "-q", "board"], cwd=copied, check=True)
    code = "; ".join(f"import board.{name}" for name in WITHOUT_LIBRARIES)
    code += "; import sys; assert not {'numpy', 'tensorrt', 'pycuda'} & set(sys.modules)"
    subprocess.run([python, "-c", code], cwd=copied, check=True)


@needs_old_python
@pytest.mark.parametrize("python", INTERPRETERS, ids=lambda path: path.name)
def test_missing_packages_are_one_line(python: Path, copied: Path) -> None:
    (copied / "request.json").write_text(json.dumps({"directory": str(copied)}))
    # without site: no package of any kind
    done = subprocess.run(
        [python, "-S", "-m", "board", "facts", "request.json", "answer.json"],
        cwd=copied,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "cannot import numpy" in done.stderr
    assert "apt install python3-numpy" in done.stderr
    assert not (copied / "answer.json").exists()


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "request must be an object"),
        ("{}", "request lacks 'workers'"),
        ('{"workers": {}}', "workers is empty"),
    ],
)
def test_bad_requests_are_one_line(copied: Path, request_text: str, message: str) -> None:
    (copied / "request.json").write_text(request_text)
    done = subprocess.run(
        [sys.executable, "-m", "board", "run", "request.json", "answer.json"],
        cwd=copied,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (copied / "answer.json").exists()
