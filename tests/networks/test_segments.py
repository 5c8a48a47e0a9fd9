"""Consecutive groups joined to one model compute what they compute one after another."""

import json
import shutil

import numpy as np
import onnx
import pytest

from multidnn.errors import InputError
from multidnn.networks import choose_groups, export, load
from multidnn.networks.board_models import write_board_models
from multidnn.networks.segments import segment_name, write_segment
from tests.networks.helpers import ZOO, load_text, run_onnxruntime, values

BRANCHES = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "a" type: "Convolution" bottom: "c" top: "a" convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "s" type: "Eltwise" bottom: "c" bottom: "a" top: "s" }
layer { name: "f" type: "InnerProduct" bottom: "s" top: "f" inner_product_param { num_output: 50 } }
layer { name: "g" type: "InnerProduct" bottom: "f" top: "g" inner_product_param { num_output: 20 } }
layer { name: "prob" type: "Softmax" bottom: "g" top: "prob" }
"""


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def googlenet(request, tmp_path_factory):
    """The directory of GoogleNet's board models."""
    folder = tmp_path_factory.mktemp("googlenet")
    network = load(ZOO / "googlenet.prototxt")
    export(network, choose_groups(network), folder / "network")
    write_board_models(folder / "network", folder / "models", request.param)
    return folder / "models"


def in_turn(models, groups, feeds):
    tensors = dict(feeds)
    for group in groups:
        tensors.update(run_onnxruntime(models / group["file"], {name: tensors[name] for name in group["inputs"]}))
    return tensors


def test_every_segment_of_googlenet_is_its_groups(googlenet):
    board = json.loads((googlenet / "board.json").read_text())
    groups = board["groups"]
    for first in range(len(groups)):
        for last in range(first, len(groups)):
            out = googlenet / segment_name(first, last)
            write_segment(googlenet, range(first, last + 1), out)
            model = onnx.load(str(out), load_external_data=False)
            onnx.checker.check_model(str(out))
            names = [node.name for node in model.graph.node]
            assert len(set(names)) == len(names)
            layers = [name for group in groups[first : last + 1] for name in group["layers"]]
            assert [name for name in names if name in set(layers)] == layers
            # of the casts between groups none is left
            casts = [node for node in model.graph.node if node.op_type == "Cast"]
            assert len(casts) == (2 if board["precision"] == "fp16" else 0)
            assert [value.name for value in model.graph.input] == list(groups[first]["inputs"])
            assert [value.name for value in model.graph.output] == list(groups[last]["outputs"])
            for value in (*model.graph.input, *model.graph.output):
                shape = {**groups[first]["inputs"], **groups[last]["outputs"]}[value.name]
                assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == shape
                assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize(("first", "last"), [(0, 9), (0, 0), (2, 4), (7, 9)])
def test_segments_of_googlenet_compute_what_their_groups_compute(googlenet, first, last):
    groups = json.loads((googlenet / "board.json").read_text())["groups"][first : last + 1]
    feeds = {name: np.abs(values(3, shape)) for name, shape in groups[0]["inputs"].items()}
    write_segment(googlenet, range(first, last + 1), googlenet / "x.onnx")
    found = run_onnxruntime(googlenet / "x.onnx", feeds)
    expected = in_turn(googlenet, groups, feeds)
    assert list(found) == list(groups[-1]["outputs"])
    # ONNX Runtime may choose other kernels where it sees more of the network; in half that is a last bit here and there
    tolerance = (
        1e-5 if "half" not in str(onnx.load(googlenet / "x.onnx", load_external_data=False).graph.node) else 4e-3
    )
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=tolerance, atol=tolerance * np.abs(expected[name]).max())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_segment_lies_beside_the_weights_it_reads(tmp_path, precision):
    network = load_text(tmp_path, BRANCHES)
    export(network, [(0, 1), (2, 3), (4, 5), (6, 6), (7, 7)], tmp_path / "network")
    models = tmp_path / "models"
    write_board_models(tmp_path / "network", models, precision)
    board = json.loads((models / "board.json").read_text())
    feeds = {"data": values(1, (1, 4, 7, 6))}
    for first, last in [(0, 4), (1, 3), (2, 4), (3, 3)]:
        elsewhere = tmp_path / "elsewhere" / segment_name(first, last)
        write_segment(models, range(first, last + 1), elsewhere)
        shutil.copy(models / "weights.bin", elsewhere.parent)
        reached = in_turn(models, board["groups"][:first], feeds)
        inputs = {name: reached[name] for name in board["groups"][first]["inputs"]}
        found = run_onnxruntime(elsewhere, inputs)
        expected = in_turn(models, board["groups"][first : last + 1], inputs)
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], rtol=2e-3, atol=1e-6)


def test_segments_that_do_not_exist_are_refused(tmp_path, tiny_networks):
    write_board_models(tiny_networks["alpha"], tmp_path)
    for groups in (range(0), range(3, 5), range(0, 4, 2), range(-1, 2)):
        with pytest.raises(InputError, match="there is no segment of groups"):
            write_segment(tmp_path, groups, tmp_path / "x.onnx")
    (tmp_path / "group_01.onnx").write_bytes(b"truncated")
    with pytest.raises(InputError, match=r"group_01.onnx: cannot be read as a model"):
        write_segment(tmp_path, range(3), tmp_path / "x.onnx")
    (tmp_path / "board.json").unlink()
    with pytest.raises(InputError, match="no such file"):
        write_segment(tmp_path, range(2), tmp_path / "x.onnx")
