"""The executor against ONNX Runtime: every network of prototxt/, and small graphs of the operators that those lack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from multidnn import networks
from multidnn.errors import InputError
from multidnn.targets.cuda.executor import Program, WeightStore
from multidnn.targets.cuda.precision import Precision

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnxruntime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(7)


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


def test_every_network_is_known() -> None:
    assert len(list(Path("prototxt").glob("*.prototxt"))) == 12


@pytest.mark.parametrize("path", sorted(Path("prototxt").glob("*.prototxt")), ids=lambda path: path.stem)
def test_a_network_of_prototxt(path: Path, tmp_path: Path) -> None:
    network = networks.load(path, seed=3)
    networks.export(network, networks.choose_groups(network), tmp_path)
    whole = tmp_path / "models" / "whole.onnx"
    inputs = {name: RNG.standard_normal(shape, dtype=np.float32) for name, shape in network.inputs.items()}
    reference = expected(whole, inputs)
    found = run(whole, inputs)
    store, precision = WeightStore("cpu"), Precision("fp32")
    values: dict[str, Any] = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with precision.applied():
        for group in sorted((tmp_path / "models").glob("group_*.onnx")):
            values |= Program(group, precision, 1, store).run(values)
    for name, value in reference.items():
        largest = np.abs(value).max()
        assert np.abs(found[name] - value).max() < 1e-4 * largest
        assert np.abs(values[name].numpy() - value).max() < 1e-4 * largest


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


IMAGE = [1, 4, 9, 10]
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


def residual(tmp_path: Path, rename: Callable[[str], str] = lambda op: op) -> Path:
    """Two convolutions with normalisation that are added and rectified, and one whose bias comes from a Constant."""
    normal = {f"{name}{i}": np.abs(f32(6)) for i in (1, 2) for name in "sbmv"}
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(f32(6))),
        helper.make_node("Conv", ["x", "w1"], ["p1"]),
        helper.make_node("BatchNormalization", ["p1", "s1", "b1", "m1", "v1"], ["n1"]),
        helper.make_node("Conv", ["x", "w2"], ["p2"]),
        helper.make_node("BatchNormalization", ["p2", "s2", "b2", "m2", "v2"], ["n2"]),
        helper.make_node("Add", ["n1", "n2"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node(rename("Conv"), ["r", "w3", "c"], ["q"], "last"),
        helper.make_node("Relu", ["q"], ["z"]),
        helper.make_node("Add", ["z", "r"], ["y"]),
    ]
    constants = {"w1": f32(6, 4, 1, 1), "w2": f32(6, 4, 1, 1), "w3": f32(6, 6, 1, 1), **normal}
    return model(tmp_path / "residual.onnx", nodes, IMAGE, constants, 17)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp64", 1e-5), ("bf16", 5e-2)])
def test_joined_nodes_compute_the_same(precision: str, tolerance: float, tmp_path: Path) -> None:
    path = residual(tmp_path)
    inputs = {"x": f32(*IMAGE)}
    reference = expected(path, inputs)["y"]
    assert np.abs(run(path, inputs, precision)["y"] - reference).max() < tolerance * np.abs(reference).max()
    program = Program(path, Precision("fp32"), 1, WeightStore("cpu"))
    assert [node.op for node in program._model.nodes] == ["FusedConv", "FusedConv", "FusedConv", "Add"]


def test_a_batch(tmp_path: Path) -> None:
    path = residual(tmp_path)
    inputs = [f32(*IMAGE) for _ in range(3)]
    found = run(path, {"x": np.concatenate(inputs)}, batch=3)["y"]
    for number, value in enumerate(inputs):
        np.testing.assert_allclose(found[number : number + 1], expected(path, {"x": value})["y"], rtol=1e-4, atol=1e-5)


def test_a_reshape_that_names_the_batch_follows_it(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    path = model(tmp_path / "m.onnx", [node], IMAGE, {"shape": np.array([1, -1])}, 17)
    assert run(path, {"x": f32(5, *IMAGE[1:])}, batch=5)["y"].shape == (5, 360)


@pytest.mark.parametrize(
    ("op", "attributes", "constants"),
    [
        ("Softmax", {"axis": 0}, {}),
        ("Transpose", {"perm": [1, 0, 2, 3]}, {}),
        ("Reshape", {}, {"shape": np.array([4, -1])}),
        ("ReduceMean", {"axes": [0]}, {}),
    ],
)
def test_what_mixes_the_inputs_of_a_batch_is_refused(
    op: str, attributes: dict[str, Any], constants: dict[str, Any], tmp_path: Path
) -> None:
    path = model(
        tmp_path / "m.onnx", [helper.make_node(op, ["x", *constants], ["y"], **attributes)], IMAGE, constants, 17
    )
    with pytest.raises(InputError, match="batch"):
        run(path, {"x": f32(2, *IMAGE[1:])}, batch=2)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [helper.make_node("Celu", ["x"], ["y"], "odd")], IMAGE, {}, 17)
    with pytest.raises(InputError, match=r"node Celu .odd.: the operator Celu is not supported by the cuda target"):
        run(path, {"x": f32(*IMAGE)})
