"""Loads prototxt text and runs networks in both runtimes, in fp32."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino

from multidnn.networks import load
from multidnn.networks.exporting import convert

INPUT = 'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {} }} }} }}\n'
ZOO = Path(__file__).parents[2] / "prototxt"


def prototxt(directory, body, shape=(1, 4, 7, 6), name="net"):
    """Write a prototxt with one input called data and return its path."""
    path = Path(directory) / f"{name}.prototxt"
    path.write_text(INPUT.format(" ".join(f"dim: {size}" for size in shape)) + body)
    return path


def load_text(directory, body, shape=(1, 4, 7, 6)):
    """Load a prototxt with one input called data."""
    return load(prototxt(directory, body, shape))


def load_onnxruntime(path):
    """Load a model file in ONNX Runtime on one thread; return a function from feeds to outputs, both by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    needed = [value.name for value in session.get_inputs()]
    return lambda feeds: dict(zip(names, session.run(names, {name: feeds[name] for name in needed}), strict=True))


def run_onnxruntime(path, feeds):
    """Run a model file in ONNX Runtime on one thread and return its outputs by name."""
    return load_onnxruntime(path)(feeds)


def load_openvino(path):
    """Load a model file in OpenVINO on one thread, in fp32; return a function from feeds to outputs, both by name."""
    core = openvino.Core()
    model = core.read_model(str(path))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(model, "CPU", settings)

    def run(feeds):
        result = compiled({port.get_any_name(): feeds[port.get_any_name()] for port in compiled.inputs})
        return {name: np.array(result[port]) for port in compiled.outputs for name in port.get_names()}

    return run


def run_openvino(path, feeds):
    """Run a model file in OpenVINO on one thread, in fp32, and return its outputs by name."""
    return load_openvino(path)(feeds)


def check_both(network, directory, feeds, expected, tolerance=2e-5):
    """Convert, check strictly, and compare the only output in both runtimes with `expected`."""
    path = Path(directory) / "converted.onnx"
    convert(network, path)
    onnx.checker.check_model(str(path), full_check=True)
    (name, shape), *others = network.outputs.items()
    assert not others
    assert shape == expected.shape
    for run in (run_onnxruntime, run_openvino):
        found = run(path, feeds)[name]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * max(1.0, np.abs(expected).max()))


def values(seed, shape):
    """Return standard normal fp32 values."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
