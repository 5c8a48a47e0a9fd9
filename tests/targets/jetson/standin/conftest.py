"""Boards, models and programs for the tests of the stand-in."""

import itertools
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import standin
from onnx import TensorProto, helper

from multidnn.networks import export
from multidnn.networks.board_models import write_board_models
from multidnn.networks.loading import load

REPOSITORY = Path(__file__).resolve().parents[4]

# what every program on the board begins with: a context, a logger that keeps its lines, and building in one line
PRELUDE = """
import json, sys
import numpy as np
import pycuda.driver as cuda
import tensorrt as trt

cuda.init()
CONTEXT = cuda.Device(0).make_context()

class Log(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
        self.lines = []
    def log(self, severity, msg):
        self.lines.append(f"{severity.name}: {msg}")

LOG = Log()
NEEDS_FLAG = trt.__version__ < "9" and not trt.__version__.startswith("1")

def parse(path, flags=None):
    builder = trt.Builder(LOG)
    network = builder.create_network((1 if NEEDS_FLAG else 0) if flags is None else flags)
    parser = trt.OnnxParser(network, LOG)
    assert parser.parse_from_file(path), LOG.lines
    return builder, network, builder.create_builder_config()

def layers(network):
    return [network.get_layer(i) for i in range(network.num_layers)]

def build(path, dla=False, fallback=True, mark=None, switch=None, fp16=True):
    builder, network, config = parse(path)
    if fp16 and hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if dla or switch:
        config.DLA_core = 0
    if fallback:
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    on_dla = dla
    for layer in layers(network):
        if layer.name == switch:
            on_dla = not on_dla
        config.set_device_type(layer, trt.DeviceType.DLA if on_dla else trt.DeviceType.GPU)
        if layer.name == mark:
            network.mark_output(layer.get_output(0))
    plan = builder.build_serialized_network(network, config)
    return None if plan is None else bytes(memoryview(plan))

def load(plan, core=None):
    runtime = trt.Runtime(LOG)
    if core is not None:
        runtime.DLA_core = core
    return runtime.deserialize_cuda_engine(plan)

class Bound:
    def __init__(self, engine):
        self.engine, self.context, self.stream = engine, engine.create_execution_context(), cuda.Stream()
        self.memory = {}
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            host = np.random.default_rng(0).random(tuple(engine.get_tensor_shape(name)), dtype=np.float32)
            self.memory[name] = cuda.mem_alloc(host.nbytes)
            cuda.memcpy_htod(self.memory[name], host)
            self.context.set_tensor_address(name, int(self.memory[name]))
    def ms(self, repeats=1):
        begin, end = cuda.Event(), cuda.Event()
        begin.record(self.stream)
        for _ in range(repeats):
            assert self.context.execute_async_v3(self.stream.handle)
        end.record(self.stream)
        end.synchronize()
        return end.time_since(begin) / repeats

def answer(value):
    print("ANSWER " + json.dumps(value))
"""


@dataclass(frozen=True)
class StandIn:
    """One board; programs get `PRELUDE` in front and give their result with ``answer(...)``."""

    bin: Path

    def start(self, program: str, *arguments: Any) -> "subprocess.Popen[str]":
        command = [str(self.bin / "board-python"), "-c", PRELUDE + program, *map(str, arguments)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, program: str, *arguments: Any) -> Any:
        process = self.start(program, *arguments)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        (line,) = [line for line in output.splitlines() if line.startswith("ANSWER ")]
        return json.loads(line.removeprefix("ANSWER "))

    def tool(self, *command: Any, check: bool = True) -> "subprocess.CompletedProcess[str]":
        argv = [str(self.bin / command[0]), *map(str, command[1:])]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done


@pytest.fixture
def board(tmp_path):
    """Return a function that makes a board with settings."""
    return lambda **settings: StandIn(
        standin.install(tmp_path / "-".join(["board", *map(str, settings.values())]), **settings)
    )


def one_layer(
    path: Path, op: str, shape: tuple[int, ...] = (1, 64, 32, 32), half: bool = False, **attributes: Any
) -> Path:
    """Write a model of one operator named ``layer``; of a convolution with `kernel` (default 3) and `channels` outputs."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    inputs, weights = ["data"], []
    if op in ("Conv", "ConvTranspose"):
        kernel, channels = attributes.pop("kernel", 3), attributes.pop("channels", 8)
        dims = (channels, shape[1], kernel, kernel) if op == "Conv" else (shape[1], channels, kernel, kernel)
        weights = [helper.make_tensor("w", kind, dims, np.zeros(dims, np.float16 if half else np.float32))]
        inputs.append("w")
    node = helper.make_node(op, inputs, ["out"], name="layer", **attributes)
    source = helper.make_tensor_value_info("data", kind, shape)
    graph = helper.make_graph([node], "one", [source], [helper.make_tensor_value_info("out", kind, None)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())
    return path


def export_board_models(name: str, starts: list[int], directory: Path) -> Path:
    network = load(REPOSITORY / "prototxt" / f"{name}.prototxt", seed=2024, name=Path(name).name)
    bounds = [*starts, len(network.layers)]
    export(network, [(first, end - 1) for first, end in itertools.pairwise(bounds)], directory)
    write_board_models(directory, directory / "board", "fp32")
    return directory / "board"


def _recorded(name: str) -> dict[str, Any]:
    networks: dict[str, dict[str, Any]] = json.loads((standin.SITE / "standin_board" / "networks.json").read_text())
    return networks[name]


def recorded_starts(name: str) -> list[int]:
    return list(_recorded(name)["starts"])


def recorded_layers(name: str) -> list[str]:
    return [layer for layer, _, _ in _recorded(name)["layers"]]


@pytest.fixture(scope="session")
def googlenet(tmp_path_factory):
    """Return the directory with GoogleNet's board models, in the recorded groups."""
    return export_board_models("googlenet", recorded_starts("googlenet"), tmp_path_factory.mktemp("googlenet"))


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory):
    """Return the directory with AlexNet's board models, in the recorded groups."""
    return export_board_models("alexnet", recorded_starts("alexnet"), tmp_path_factory.mktemp("alexnet"))


@pytest.fixture(scope="session")
def convolution(tmp_path_factory):
    """Return the directory with the board model of conv3_kernel3."""
    return export_board_models("convolution/conv3_kernel3", [0], tmp_path_factory.mktemp("convolution"))
