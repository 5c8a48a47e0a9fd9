"""Operators against ONNX Runtime, each in a model of its own."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("torch", reason="PyTorch is not installed")

from multidnn.targets.cuda import operators
from tests.targets.cuda.onnx_models import IMAGE, expected, f32, model, run

ONE: list[tuple[str, dict[str, Any], dict[str, Any], list[int], int]] = [
    ("Conv", {"pads": [0, 1, 2, 1], "strides": [2, 1]}, {"w": f32(6, 4, 3, 3), "b": f32(6)}, IMAGE, 17),
    ("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, {"w": f32(6, 4, 3, 3)}, IMAGE, 17),
    ("Conv", {"group": 2, "dilations": [2, 2]}, {"w": f32(6, 2, 3, 3), "b": f32(6)}, IMAGE, 17),
    ("Conv", {"pads": [1, 1]}, {"w": f32(6, 4, 3)}, [1, 4, 9], 17),
    ("ConvTranspose", {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]}, {"w": f32(4, 5, 3, 3)}, IMAGE, 17),
    ("LRN", {"size": 3, "alpha": 0.3, "beta": 0.6, "bias": 2.0}, {}, IMAGE, 17),
    ("LRN", {"size": 5, "alpha": 0.3}, {}, IMAGE, 17),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [2, 0, 0, 1]}, {}, IMAGE, 17),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, {}, IMAGE, 17),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}, {}, IMAGE, 17),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [2, 0, 0, 1]}, {}, IMAGE, 17),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [2, 0, 0, 1], "count_include_pad": 1}, {}, IMAGE, 17),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, {}, IMAGE, 17),
    ("GlobalAveragePool", {}, {}, IMAGE, 17),
    ("GlobalMaxPool", {}, {}, IMAGE, 17),
    ("BatchNormalization", {"epsilon": 1e-3}, {"s": f32(4), "o": f32(4), "m": f32(4), "v": np.abs(f32(4))}, IMAGE, 17),
    ("InstanceNormalization", {}, {"s": f32(4), "o": f32(4)}, IMAGE, 17),
    ("LayerNormalization", {"axis": -1}, {"s": f32(10), "o": f32(10)}, IMAGE, 17),
    ("Gemm", {"alpha": 0.5, "beta": 2.0, "transA": 1}, {"w": f32(3, 5), "b": f32(6, 5)}, [3, 6], 17),
    ("Gemm", {"transB": 1}, {"w": f32(5, 6), "b": f32(5)}, [3, 6], 17),
    ("MatMul", {}, {"w": f32(10, 7)}, IMAGE, 17),
    ("Clip", {}, {"low": np.float32(-0.5), "high": np.float32(0.7)}, IMAGE, 17),
    ("PRelu", {}, {"slope": f32(4, 1, 1)}, IMAGE, 17),
    ("LeakyRelu", {"alpha": 0.2}, {}, IMAGE, 17),
    ("Elu", {"alpha": 0.7}, {}, IMAGE, 17),
    ("Selu", {}, {}, IMAGE, 17),
    ("Sigmoid", {}, {}, IMAGE, 17),
    ("HardSigmoid", {"alpha": 0.3}, {}, IMAGE, 17),
    ("HardSwish", {}, {}, IMAGE, 17),
    ("Softplus", {}, {}, IMAGE, 17),
    ("Tanh", {}, {}, IMAGE, 17),
    ("Erf", {}, {}, IMAGE, 17),
    ("Sub", {}, {"w": f32(4, 1, 1)}, IMAGE, 17),
    ("Div", {}, {"w": 2 + np.abs(f32(10))}, IMAGE, 17),
    ("Pow", {}, {"w": np.float32(2)}, IMAGE, 17),
    ("Sum", {}, {"w": f32(10), "v": f32(9, 1)}, IMAGE, 17),
    ("Max", {}, {"w": f32(10)}, IMAGE, 17),
    ("Softmax", {"axis": 1}, {}, IMAGE, 17),
    ("Softmax", {"axis": 1}, {}, IMAGE, 11),
    ("LogSoftmax", {"axis": -1}, {}, IMAGE, 17),
    ("Flatten", {"axis": 2}, {}, IMAGE, 17),
    ("Reshape", {}, {"shape": np.array([0, 2, -1])}, IMAGE, 17),
    ("Squeeze", {}, {"axes": np.array([0])}, IMAGE, 17),
    ("Unsqueeze", {}, {"axes": np.array([0, -1])}, IMAGE, 17),
    ("Transpose", {"perm": [0, 2, 3, 1]}, {}, IMAGE, 17),
    ("Slice", {}, {"s": np.array([1, -8]), "e": np.array([3, 9]), "a": np.array([1, 3]), "t": np.array([1, 2])}, IMAGE, 17),
    ("Pad", {}, {"pads": np.array([0, 0, 1, 2, 0, 1, 0, 3]), "value": np.float32(0.5)}, IMAGE, 17),
    ("Pad", {"mode": "reflect"}, {"pads": np.array([0, 0, 1, 2, 0, 0, 0, 3])}, IMAGE, 17),
    ("ReduceMean", {"axes": [2, 3], "keepdims": 0}, {}, IMAGE, 17),
    ("ReduceMean", {}, {"axes": np.array([-1])}, IMAGE, 18),
    ("ReduceMax", {"axes": [1]}, {}, IMAGE, 17),
    ("Gather", {"axis": 1}, {"i": np.int64(2)}, IMAGE, 17),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, {}, [1, 8, 3, 4], 17),
    ("DepthToSpace", {"blocksize": 2}, {}, [1, 8, 3, 4], 17),
    ("Dropout", {}, {}, IMAGE, 17),
    ("Identity", {}, {}, IMAGE, 17),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes", "constants", "shape", "opset"), ONE, ids=lambda value: str(value)[:30])
def test_an_operator(
    op: str, attributes: dict[str, Any], constants: dict[str, Any], shape: list[int], opset: int, tmp_path: Path
) -> None:
    node = helper.make_node(op, ["x", *constants], ["y"], op.lower(), **attributes)
    path = model(tmp_path / "one.onnx", [node], shape, constants, opset)
    inputs = {"x": f32(*shape)}
    np.testing.assert_allclose(run(path, inputs)["y"], expected(path, inputs)["y"], rtol=1e-4, atol=1e-5)


def test_every_operator_is_of_one_family_and_none_is_left_out() -> None:
    modules = [
        importlib.import_module(f"{operators.__name__}.{found.name}")
        for found in pkgutil.iter_modules(operators.__path__)
    ]
    listed = [name for module in modules for name in getattr(module, "OPERATORS", ())]
    assert sorted(listed) == sorted(operators.OPERATORS)
