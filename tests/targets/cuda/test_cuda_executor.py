"""The executor against ONNX Runtime: every network of prototxt/, and graphs whose nodes are joined or have a batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

pytest.importorskip("torch", reason="PyTorch is not installed")

import torch

from multidnn import networks
from multidnn.errors import InputError
from multidnn.targets.cuda.constants import with_constants_evaluated
from multidnn.targets.cuda.executor import Program, WeightStore
from multidnn.targets.cuda.fusion import fuse
from multidnn.targets.cuda.model import read_model
from multidnn.targets.cuda.precision import Precision
from tests.targets.cuda.onnx_models import IMAGE, RNG, expected, f32, model, run


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
    nodes = fuse(with_constants_evaluated(read_model(path))).nodes
    assert [node.op for node in nodes] == ["FusedConv", "FusedConv", "FusedConv", "Add"]


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
