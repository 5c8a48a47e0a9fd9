"""Small ONNX models, and what the executor and ONNX Runtime make of them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

from multidnn.targets.cuda.executor import Program, WeightStore
from multidnn.targets.cuda.precision import Precision

RNG = np.random.default_rng(7)
IMAGE = [1, 4, 9, 10]


def run(path: Path, inputs: dict[str, np.ndarray], precision: str = "fp32", batch: int = 1) -> dict[str, np.ndarray]:
    """Return what the executor gives on the CPU."""
    chosen = Precision(precision)
    with chosen.applied():
        program = Program(path, chosen, batch, WeightStore("cpu"))
        found = program.run({name: torch.from_numpy(value) for name, value in inputs.items()})
    return {name: value.float().numpy() for name, value in found.items()}


def expected(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what ONNX Runtime gives."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def model(path: Path, nodes: list[onnx.NodeProto], shape: list[int], constants: dict[str, Any], opset: int) -> Path:
    """Write a model from "x" of `shape` to "y"."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    made = onnx.shape_inference.infer_shapes(made)
    onnx.save(made, str(path))
    return path


def f32(*shape: int) -> np.ndarray:
    """Return noise."""
    return RNG.standard_normal(shape, dtype=np.float32)
