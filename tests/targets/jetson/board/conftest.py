"""A stand-in board, and networks on it as the pipeline sends them."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import standin

import multidnn.targets.jetson.board as package
from multidnn.networks.board_models import write_board_models
from multidnn.networks.segments import segment_name, write_segment

VERSIONS = ("8.4.1", "8.5.2", "8.6.2", "10.3.0", "10.7.0", "11.4.1")


@dataclass
class Board:
    """A directory with the board's folder, models and a Python that believes it is on a Jetson."""

    directory: Path
    python: Path
    networks: dict[str, Path]
    precision: str

    def run(self, command: str, request: dict[str, Any], **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run one command; its answer lies in answer.json."""
        (self.directory / "answer.json").unlink(missing_ok=True)
        return subprocess.run(
            self.argv(command, request),
            cwd=self.directory / "code",
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    def argv(self, command: str, request: dict[str, Any]) -> list[str]:
        """Write the request and return what runs it."""
        (self.directory / "request.json").write_text(json.dumps(request))
        files = [str(self.directory / name) for name in ("request.json", "answer.json")]
        return [str(self.python), "-m", "board", command, *files]

    def call(self, command: str, request: dict[str, Any]) -> dict[str, Any]:
        """Run one command that works and return its answer."""
        done = self.run(command, request)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads((self.directory / "answer.json").read_text())
        assert answer["format"] == 1
        return answer

    def fails(self, command: str, request: dict[str, Any]) -> str:
        """Run one command that does not work and return its error line."""
        done = self.run(command, request)
        assert done.returncode == 1, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("error: ")
        assert "Traceback" not in done.stderr, done.stderr
        assert not (self.directory / "answer.json").exists()
        return last

    def description(self, network: str) -> dict[str, Any]:
        """Return board.json of a network."""
        content: dict[str, Any] = json.loads((self.networks[network] / "board.json").read_text())
        return content

    def build(self, network: str, model: str, engine: str, **changes: Any) -> dict[str, Any]:
        """Return one entry of a build request: whole.onnx or group_NN.onnx of `network`, on the GPU unless changed."""
        described = self.description(network)
        parts = [described["whole"], *described["groups"]]
        layers = next((part["layers"] for part in parts if part["file"] == model), None)
        entry = {
            "model": str(self.networks[network] / model),
            "engine": str(self.engine(engine)),
            "layers": layers,
            "devices": {"start": "gpu", "transition": None},
            "gpu_only": ["prob"],
            "precision": "fp16",
            "workspace_mb": 64,
        }
        return entry | changes

    def segment(self, network: str, first: int, last: int, engine: str, **changes: Any) -> dict[str, Any]:
        """Return one entry of a build request for groups `first` to `last` of `network`."""
        out = self.networks[network] / segment_name(first, last)
        write_segment(self.networks[network], range(first, last + 1), out)
        groups = self.description(network)["groups"][first : last + 1]
        layers = [name for group in groups for name in group["layers"]]
        return self.build(network, out.name, engine, layers=layers) | changes

    def engine(self, name: str) -> Path:
        """Return where an engine lies."""
        return self.directory / "engines" / f"{name}.engine"


@pytest.fixture(scope="session")
def board_models(tiny_networks: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of the tiny networks as a board gets them, by precision."""
    made = {}
    for precision in ("fp32", "fp16"):
        made[precision] = tmp_path_factory.mktemp(precision)
        for name, exported in tiny_networks.items():
            write_board_models(exported, made[precision] / name, precision)
    return made


@pytest.fixture
def make_board(tmp_path: Path, board_models: dict[str, Path]) -> Callable[..., Board]:
    """Make a board with a version of TensorRT and other settings of the stand-in."""

    def make(tensorrt: str = "8.5.2", **settings: Any) -> Board:
        directory = tmp_path / "board"
        shutil.copytree(
            Path(package.__file__).parent, directory / "code" / "board", ignore=shutil.ignore_patterns("__pycache__")
        )
        precision = "fp16" if tensorrt.startswith("11") else "fp32"
        shutil.copytree(board_models[precision], directory / "models")
        networks = {path.name: path for path in (directory / "models").iterdir()}
        programs = standin.install(tmp_path / "standin", tensorrt=tensorrt, **settings)
        return Board(directory, programs / "board-python", networks, precision)

    return make


@pytest.fixture
def board(make_board: Callable[..., Board]) -> Board:
    """An Orin with TensorRT 8.5.2."""
    return make_board()
