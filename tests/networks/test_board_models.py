"""Board models compute what the network computes, with every inner product as a convolution; groups fit together."""

import json
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from multidnn.errors import InputError
from multidnn.networks import choose_groups, export, load
from multidnn.networks.board_models import write_board_models
from multidnn.networks.exported import ExportedNetwork
from tests.networks.helpers import ZOO, load_text, run_onnxruntime, values

# inner products, reductions and global poolings have no support on a DLA through TensorRT
NOT_ON_A_DLA = {"Gemm", "MatMul", "ReduceMean", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Identity"}

HEAD = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 6 kernel_size: 3 } }
layer { name: "fc6" type: "InnerProduct" bottom: "conv" top: "fc6" inner_product_param { num_output: 20 } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7" inner_product_param { num_output: 15 transpose: true } }
layer { name: "fc8" type: "InnerProduct" bottom: "fc7" top: "fc8" inner_product_param { num_output: 10 bias_term: false } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""


class Boards:
    """A network, exported and written for a board, and both run on the same input."""

    def __init__(self, network, directory, precision="fp32", groups=None):
        self.groups = choose_groups(network) if groups is None else groups
        export(network, self.groups, directory / "network")
        self.exported = ExportedNetwork.read(directory / "network")
        self.out = directory / precision
        write_board_models(directory / "network", self.out, precision)
        self.board = json.loads((self.out / "board.json").read_text())
        self.feeds = {name: values(5, shape) for name, shape in self.exported.inputs.items()}
        self.expected = run_onnxruntime(self.exported.whole_path, self.feeds)
        self.whole = run_onnxruntime(self.out / "whole.onnx", self.feeds)

    def model(self, file="whole.onnx"):
        return onnx.load(str(self.out / file), load_external_data=False)

    def nodes(self):
        return {node.name: node for node in self.model().graph.node}

    def check(self, tolerance=1e-5):
        assert {name: found.shape for name, found in self.whole.items()} == self.exported.outputs
        self.near(self.whole, tolerance)
        tensors = dict(self.feeds)
        for group in self.board["groups"]:
            found = run_onnxruntime(self.out / group["file"], {name: tensors[name] for name in group["inputs"]})
            assert {name: list(value.shape) for name, value in found.items()} == group["outputs"]
            tensors.update(found)
        self.near(tensors, tolerance)
        self.check_description()

    def near(self, found, tolerance):
        for name, expected in self.expected.items():
            np.testing.assert_allclose(found[name], expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())

    def check_description(self):
        board = self.board
        described = json.loads((self.exported.directory / "network.json").read_text())
        assert [layer["index"] for layer in board["layers"]] == list(range(len(described["layers"])))
        kinds = {layer["name"]: layer["type"] for layer in board["layers"]}
        assert len(kinds) == len(board["layers"])
        assert list(map(int, board["cuts"])) == described["cuts"]
        shapes = {}
        seen = []
        for group, (first, last) in zip(board["groups"], self.groups, strict=True):
            assert (group["first_layer"], group["last_layer"]) == (first, last)
            seen += group["layers"]
            for name, shape in (*group["inputs"].items(), *group["outputs"].items()):
                assert shapes.setdefault(name, shape) == shape
            assert group["output_bytes"] == 4 * sum(math.prod(shape) for shape in group["outputs"].values())
        assert seen == [name for name, kind in kinds.items() if kind is not None]
        for entry in (*board["groups"], board["whole"]):
            model = self.model(entry["file"])
            onnx.checker.check_model(str(self.out / entry["file"]), full_check=True)
            assert model.ir_version <= 8
            assert model.opset_import[0].version == board["opset"] <= 17
            names = [node.name for node in model.graph.node]
            assert len(set(names)) == len(names)
            assert [name for name in names if name not in entry["extras"]] == entry["layers"]
            for extra, layer in entry["extras"].items():
                assert extra.startswith(f"{layer}/")
                assert layer in kinds
            for values_, shapes_ in ((model.graph.input, entry["inputs"]), (model.graph.output, entry["outputs"])):
                for value in values_:
                    assert value.type.tensor_type.elem_type == TensorProto.FLOAT
                    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == shapes_[value.name]
            for tensor in model.graph.initializer:
                facts = {entry.key: entry.value for entry in tensor.external_data}
                assert facts.get("location", "weights.bin") == "weights.bin"
                assert int(facts.get("offset", 0)) % 4096 == 0


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet18", "mobilenet", "vgg19"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-3)])
def test_zoo(tmp_path, name, precision, tolerance):
    network = load(ZOO / f"{name}.prototxt")
    boards = Boards(network, tmp_path, precision)
    boards.check(tolerance)
    kinds = {node.op_type for node in boards.model().graph.node}
    assert not kinds & NOT_ON_A_DLA
    assert [layer["name"] for layer in boards.board["layers"]] == [layer.name for layer in network.layers]
    # every weight is there once
    size = sum(weight.nbytes for weight in network.weights.values()) // (2 if precision == "fp16" else 1)
    assert size - 1024 * len(network.weights) <= boards.board["weights"]["bytes"] <= size + 4096 * len(network.weights)


def test_a_chain_of_inner_products_stays_on_four_axes(tmp_path):
    network = load_text(tmp_path, HEAD)
    # conv, fc6/flatten, fc6, relu6, fc7, fc8, prob: groups begin at the product, its activation and the softmax
    boards = Boards(network, tmp_path, groups=[(0, 1), (2, 2), (3, 5), (6, 6)])
    boards.check()
    assert [group["outputs"] for group in boards.board["groups"]] == [
        {"conv": [1, 6, 5, 4]},
        {"fc6": [1, 20, 1, 1]}
        if "fc6" in boards.board["groups"][1]["outputs"]
        else boards.board["groups"][1]["outputs"],
        {"fc8": [1, 10, 1, 1]},
        {"prob": [1, 10]},
    ]
    nodes = boards.nodes()
    assert [node.op_type for node in nodes.values()] == ["Conv", "Conv", "Relu", "Conv", "Conv", "Softmax", "Reshape"]
    assert boards.board["layers"][1] == {"index": 1, "name": "fc6/flatten", "type": None}
    assert boards.board["cuts"]["1"] == boards.board["cuts"]["2"] == "conv"
    # the same bytes, seen as a kernel that covers the map
    whole = onnx.load(str(boards.out / "whole.onnx"))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in whole.graph.initializer}
    kernel = weights[nodes["fc6"].input[1]]
    assert kernel.shape == (20, 6, 5, 4)
    assert (kernel.reshape(20, -1) == network.weights["fc6/weight"].array()).all()
    assert (weights[nodes["fc7"].input[1]].reshape(15, 20) == network.weights["fc7/weight"].array().T).all()


def test_a_group_of_vanished_layers_alone_is_an_identity(tmp_path):
    boards = Boards(load_text(tmp_path, HEAD), tmp_path, groups=[(0, 0), (1, 1), (2, 6)])
    boards.check()
    assert [node.op_type for node in boards.model("group_01.onnx").graph.node] == ["Identity"]
    assert boards.board["groups"][1]["layers"] == ["fc6/flatten"]
    assert list(boards.board["groups"][1]["outputs"].values()) == [[1, 6, 5, 4]]


def user_model(path, nodes, constants, inputs, outputs, opset=17, ir_version=8):
    """Write an ONNX file as a user has it."""
    graph = helper.make_graph(
        nodes,
        "user",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.save(model, str(path))
    return load(path)


def node(kind, inputs, output, name=None, **attributes):
    return helper.make_node(kind, inputs, [output], name=output if name is None else name, **attributes)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 5e-3)])
@pytest.mark.parametrize("opset", [13, 17, 20])
def test_a_matrix_product_with_a_bias_of_a_users_file(tmp_path, precision, tolerance, opset):
    network = user_model(
        tmp_path / "user.onnx",
        [
            node("Conv", ["x", "k"], "c", kernel_shape=[3, 3]),
            node("Relu", ["c"], "r"),
            node("Reshape", ["r", "shape"], "flat"),
            node("MatMul", ["flat", "w1"], "m1"),
            node("Add", ["b1", "m1"], "a1"),
            node("Clip", ["a1", "low", "high"], "clip"),
            node("Dropout", ["clip"], "drop"),
            node("Transpose", ["w2t"], "w2", perm=[1, 0]),
            node("MatMul", ["drop", "w2"], "m2"),
            node("Mul", ["m2", "scale"], "s2"),
            node("Gemm", ["s2", "w3", "b3"], "g3", alpha=0.5, beta=2.0, transB=1),
            node("Softmax", ["g3"], "y", axis=-1),
        ],
        {
            "k": values(1, (4, 3, 3, 3)),
            "shape": np.array([0, -1]),
            "w1": values(2, (4 * 6 * 5, 12)) / 10,
            "b1": values(3, (12,)),
            "low": np.float32(-1.0),
            "high": np.float32(3e38),
            "w2t": values(4, (8, 12)),
            "scale": values(6, (8,)),
            "w3": values(7, (5, 8)),
            "b3": values(8, (1, 5)),
        },
        {"x": [1, 3, 8, 7]},
        {"y": [1, 5]},
        opset,
        9 if opset > 17 else 8,
    )
    boards = Boards(network, tmp_path, precision, [(0, 4), (5, 10)])
    boards.check(tolerance)
    types = {layer["name"]: layer["type"] for layer in boards.board["layers"]}
    assert types["m1"] == types["m2"] == types["g3"] == "Conv"
    assert types["a1"] is types["flat"] is types["drop"] is None
    assert not {found.op_type for found in boards.model().graph.node} & (NOT_ON_A_DLA | {"Transpose", "Add"})


def test_what_cannot_follow_gets_its_shape_back(tmp_path):
    network = user_model(
        tmp_path / "user.onnx",
        [
            node("Flatten", ["x"], "flat"),
            node("Gemm", ["flat", "w1"], "a"),
            node("Gemm", ["flat", "w2"], "b"),
            node("Add", ["a", "b"], "sum"),
            # a product of two activations and an axis that only the flat form has
            node("Transpose", ["sum"], "column", perm=[1, 0]),
            node("MatMul", ["sum", "column"], "dot"),
            node("Gemm", ["a", "w3"], "z"),
            node("Concat", ["a", "b"], "both", axis=-1),
            node("Gemm", ["both", "w4"], "y"),
        ],
        {
            "w1": values(1, (2 * 40 * 3, 6)),
            "w2": values(2, (2 * 40 * 3, 6)),
            "w3": values(3, (6, 4)),
            "w4": values(4, (12, 3)),
        },
        {"x": [2, 2, 40, 3]},
        {"dot": [2, 2], "z": [2, 4], "y": [2, 3]},
    )
    boards = Boards(network, tmp_path, groups=[(0, len(network.layers) - 1)])
    boards.check()
    nodes = boards.nodes()
    assert [nodes[name].op_type for name in ("a", "b", "z", "y")] == ["Conv"] * 4
    assert nodes["sum/shape"].op_type == "Reshape"
    # the map is larger than any kernel of a DLA, so the product reads it as channels
    assert nodes["a/image"].op_type == "Reshape"


def test_reductions_of_operator_set_18_and_squeezes_of_a_users_file(tmp_path):
    network = user_model(
        tmp_path / "user.onnx",
        [
            node("Relu", ["x"], "r"),
            node("ReduceMean", ["r", "axes"], "mean", keepdims=1),
            node("Squeeze", ["mean", "axes"], "flat"),
            node("BatchNormalization", ["flat", "s", "b", "m", "v"], "bn"),
            node("Gemm", ["bn", "w"], "y"),
        ],
        {
            "axes": np.array([-1, -2]),
            "s": values(1, (5,)),
            "b": values(2, (5,)),
            "m": values(3, (5,)),
            "v": np.float32([1e-9, 1, 2, 3, 4]),
            "w": values(4, (5, 3)),
        },
        {"x": [1, 5, 7, 7]},
        {"y": [1, 3]},
        18,
    )
    for precision, tolerance in (("fp32", 1e-5), ("fp16", 5e-3)):
        boards = Boards(network, tmp_path / precision, precision)
        boards.check(tolerance)
        assert [found.op_type for found in boards.model().graph.node if found.op_type != "Cast"] == [
            "Relu",
            "AveragePool",
            "BatchNormalization",
            "Conv",
            "Reshape",
        ]


def test_names_that_come_twice_are_told_apart(tmp_path):
    network = user_model(
        tmp_path / "user.onnx",
        [node("Relu", ["x"], "a", "act"), node("Sigmoid", ["a"], "b", "act"), node("Tanh", ["b"], "y", "")],
        {},
        {"x": [1, 3, 4, 4]},
        {"y": [1, 3, 4, 4]},
    )
    export(network, [(0, 2)], tmp_path / "network")
    # ONNX Runtime refuses the file as it is
    write_board_models(tmp_path / "network", tmp_path / "out")
    board = json.loads((tmp_path / "out" / "board.json").read_text())
    assert [layer["name"] for layer in board["layers"]] == board["whole"]["layers"] == ["act", "act_1", "y"]
    x = values(1, (1, 3, 4, 4))
    found = run_onnxruntime(tmp_path / "out" / "whole.onnx", {"x": x})["y"]
    np.testing.assert_allclose(found, np.tanh(1 / (1 + np.exp(-np.maximum(x, 0)))), rtol=1e-5)


def test_a_bias_in_another_group_stays_an_addition(tmp_path):
    nodes = [node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"], "y")]
    constants = {"w": values(1, (6, 4)), "b": values(2, (1, 4))}
    network = user_model(tmp_path / "user.onnx", nodes, constants, {"x": [1, 6]}, {"y": [1, 4]})
    boards = Boards(network, tmp_path, groups=[(0, 0), (1, 1)])
    boards.check()
    assert boards.board["groups"][1]["inputs"] == {"m": [1, 4, 1, 1]}
    assert [found.op_type for found in boards.model().graph.node] == ["Reshape", "Conv", "Add", "Reshape"]


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    network = user_model(
        tmp_path / "user.onnx",
        [node("Mul", ["x", "huge"], "y")],
        {"huge": np.full((1, 3, 1, 1), 1e6, np.float32)},
        {"x": [1, 3, 4, 4]},
        {"y": [1, 3, 4, 4]},
    )
    export(network, [(0, 0)], tmp_path / "network")
    with pytest.raises(InputError, match=r"constant 'huge' reaches 1e\+06, beyond what fp16 holds"):
        write_board_models(tmp_path / "network", tmp_path / "out", "fp16")
    assert not (tmp_path / "out" / "board.json").exists()
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(InputError, match="precision 'int4' is unknown"):
        write_board_models(tmp_path / "network", tmp_path / "out", "int4")


def test_board_models_are_replaced_and_the_same_every_time(tmp_path):
    boards = Boards(load_text(tmp_path, HEAD), tmp_path, groups=[(0, 2), (3, 6)])
    before = {path.name: path.read_bytes() for path in boards.out.iterdir()}
    (boards.out / "group_07.onnx").write_bytes(b"stale")
    write_board_models(tmp_path / "network", boards.out)
    assert {path.name: path.read_bytes() for path in boards.out.iterdir()} == before
