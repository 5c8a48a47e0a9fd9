"""A user's own ONNX file is a network, or one clear message."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from multidnn.errors import InputError
from multidnn.networks import choose_groups, export, load
from multidnn.networks.exported import ExportedNetwork
from tests.networks import caffe_reference as caffe
from tests.networks.helpers import check_both, run_onnxruntime, run_openvino, values


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs=None, outputs=None, constants=(), opset=17):
    """Return an ONNX model that reads x and makes y unless told otherwise."""
    initializers = [numpy_helper.from_array(array, name) for name, array in dict(constants).items()]
    graph = helper.make_graph(nodes, "g", inputs or [value("x", (1, 4))], outputs or [value("y", (1, 4))], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def relu(source="x", result="y", **more):
    return helper.make_node("Relu", [source], [result], **more)


def failure(tmp_path, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_model(tmp_path):
    whole = model([relu(f"t{i}" if i else "x", f"t{i + 1}" if i < 20 else "y", name=f"node{i}") for i in range(21)])
    data = whole.SerializeToString()
    for content in (b"", b"hello world", bytes(range(256)), data[: len(data) // 2], data[:40]):
        assert "not an ONNX model" in failure(tmp_path, content)
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "missing.onnx")
    (tmp_path / "d.onnx").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "d.onnx")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("batch", 4), r"input 'x' has a dynamic shape \(axis 0 is 'batch'\), expected a fixed size; fix it"),
        ((1, None), r"axis 1 is unset"),
        ((1, 0), r"axis 1 is 0"),
        (None, "input 'x' has no shape"),
    ],
)
def test_dynamic_shapes(tmp_path, shape, expected):
    message = failure(tmp_path, model([relu()], [value("x", shape)], [value("y", shape)]))
    assert re.search(expected, message), message
    assert "--input_name x" in message


def test_a_shape_that_depends_on_values(tmp_path):
    nodes = [helper.make_node("NonZero", ["x"], ["n"]), helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT)]
    assert "is not static" in failure(tmp_path, model(nodes, outputs=[value("y", (2, None))]))


def test_operators_nobody_knows(tmp_path):
    assert "not a valid ONNX model" in failure(tmp_path, model([helper.make_node("Relou", ["x"], ["y"])]))
    custom = model([helper.make_node("Own", ["x"], ["t"], domain="mine", name="own"), relu("t")])
    custom.opset_import.append(helper.make_opsetid("mine", 1))
    assert "made by node 'own' (Own), is not static or cannot be inferred" in failure(tmp_path, custom)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([relu("missing")], "reads 'missing', which nothing makes"),
        ([relu(), relu()], "tensor 'y' is made twice"),
        ([relu("a", "b"), relu("b", "a"), helper.make_node("Add", ["x", "a"], ["y"])], "a cycle runs through"),
        ([helper.make_node("Conv", ["x", "x"], ["y"])], "not a valid ONNX model"),
        ([helper.make_node("Relu", ["x"], ["t"])], "Graph output 'y' is not an output of any node"),
    ],
)
def test_broken_graphs(tmp_path, nodes, expected):
    message = failure(tmp_path, model(nodes))
    assert expected in message


def test_other_types_than_fp32(tmp_path):
    half = TensorProto.FLOAT16
    message = failure(tmp_path, model([relu()], [value("x", (1, 4), half)], [value("y", (1, 4), half)]))
    assert "input 'x' is FLOAT16, expected FLOAT (fp32)" in message
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)
    message = failure(tmp_path, model([cast], outputs=[value("y", (1, 4), TensorProto.INT64)]))
    assert "output 'y' is int64, expected float32" in message


def matrix_model():
    weight = values(2, (4, 400))
    return weight, model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")],
        outputs=[value("y", (1, 400))],
        constants={"w": weight},
    )


def test_external_data(tmp_path):
    weight, original = matrix_model()
    path = tmp_path / "m.onnx"
    onnx.save(original, path, save_as_external_data=True, location="m.data", size_threshold=0)
    x = values(1, (1, 4))
    export(load(path), [(0, 0)], tmp_path / "out")
    found = run_onnxruntime(tmp_path / "out" / "models" / "whole.onnx", {"x": x})["y"]
    np.testing.assert_allclose(found, x @ weight, rtol=1e-5)
    (tmp_path / "m.data").write_bytes((tmp_path / "m.data").read_bytes()[:-1])
    assert "external data of constant 'w' is truncated" in failure(tmp_path, path.read_bytes())
    (tmp_path / "m.data").unlink()
    assert "external data of constant 'w' is missing" in failure(tmp_path, path.read_bytes())


def test_external_data_outside_the_models_directory_is_refused(tmp_path):
    _, original = matrix_model()
    (tmp_path / "inner").mkdir()
    onnx.save(original, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    tensor = (broken := onnx.load(tmp_path / "m.onnx", load_external_data=False)).graph.initializer[0]
    for place in ("../m.data", str(tmp_path / "m.data")):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
        assert "outside the model's directory" in failure(tmp_path / "inner", broken)


def test_a_constant_of_the_wrong_size(tmp_path):
    _, broken = matrix_model()
    broken.graph.initializer[0].raw_data = broken.graph.initializer[0].raw_data[:-4]
    assert "constant 'w' is broken" in failure(tmp_path, broken)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("offset", "zz", "constant 'w' is broken: the offset of its external data is 'zz', expected a number of bytes"),
        ("offset", "-4", "the offset of its external data is '-4'"),
        ("length", "1e3", "the length of its external data is '1e3'"),
        ("length", "4", r"constant 'w' is broken: 4 bytes of external data do not hold [4, 400] of float32"),
    ],
)
def test_external_data_that_is_declared_wrongly(tmp_path, key, text, expected):
    _, original = matrix_model()
    onnx.save(original, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    broken = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    entries = broken.graph.initializer[0].external_data
    kept = [entry for entry in entries if entry.key != key]
    del entries[:]
    entries.extend([*kept, onnx.StringStringEntryProto(key=key, value=text)])
    assert expected in failure(tmp_path, broken)


def test_constants_of_an_unknown_type(tmp_path):
    _, original = matrix_model()
    onnx.save(original, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    broken = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    broken.graph.initializer[0].data_type = 99
    assert "constant 'w' is broken: unknown data type 99" in failure(tmp_path, broken)


def test_broken_constant_nodes(tmp_path):
    for node, expected in (
        (helper.make_node("Constant", [], ["c"]), "Constant 'c' has 1 outputs and 0 attributes, expected one of each"),
        (helper.make_node("Constant", [], [], name="n", value_int=1), "Constant 'n' has 0 outputs and 1 attributes"),
        (
            helper.make_node("Constant", [], ["c"], value_float=1),
            "Constant 'c' is broken: value_float holds another type",
        ),
        (helper.make_node("Constant", [], ["c"], value=1.5), "Constant 'c' is broken: value holds another type"),
    ):
        assert expected in failure(tmp_path, model([node, helper.make_node("Add", ["x", "c"], ["y"])]))


@pytest.mark.parametrize("opset", [7, 13, 17])
@pytest.mark.parametrize("settings", [{"bias": 2.5, "alpha": 0.3, "beta": 0.6}, {"bias": 0.5}])
def test_the_fractional_bias_of_an_lrn_is_divided_out(tmp_path, settings, opset):
    """OpenVINO cuts the bias off to an integer, so the file itself would give two different networks."""
    nodes = [helper.make_node("LRN", ["x"], ["n"], size=3, name="norm", **settings), relu("n", "y", name="relu")]
    shape = (1, 6, 3, 2)
    path = tmp_path / "m.onnx"
    # a tensor already has the name that the new one would get
    nodes.insert(0, helper.make_node("Neg", ["x"], ["norm/ratio"]))
    nodes[1].input[0] = "norm/ratio"
    onnx.save(model(nodes, [value("x", shape)], [value("y", shape)], opset=opset), path)
    network = load(path)
    assert [layer.type for layer in network.layers] == ["Neg", "LRN", "Mul", "Relu"]
    assert network.cuts == [1, 2, 3]
    x = 3 * values(1, shape)
    expected = caffe.lrn(x, 3, settings.get("alpha", 1e-4), settings.get("beta", 0.75), settings["bias"])
    check_both(network, tmp_path, {"x": -x}, np.maximum(expected, 0))


def test_an_lrn_of_an_integer_bias_stays_as_it_is(tmp_path):
    shape = (1, 6, 3, 2)
    x = 3 * values(1, shape)
    for settings in ({}, {"bias": 1.0}, {"bias": 2.0, "alpha": 0.3}):
        onnx.save(
            model(
                [helper.make_node("LRN", ["x"], ["y"], size=3, **settings)], [value("x", shape)], [value("y", shape)]
            ),
            tmp_path / "m.onnx",
        )
        network = load(tmp_path / "m.onnx")
        assert [layer.type for layer in network.layers] == ["LRN"]
        expected = caffe.lrn(x, 3, settings.get("alpha", 1e-4), 0.75, settings.get("bias", 1.0))
        check_both(network, tmp_path, {"x": x}, expected)


def test_biases_that_cannot_be_divided_out(tmp_path):
    shape = (1, 6, 3, 2)
    borders = [value("x", shape)], [value("y", shape)]
    for settings in ({"bias": float("nan")}, {"bias": -0.5}, {"bias": 1e-4, "beta": 100.0}):
        node = helper.make_node("LRN", ["x"], ["y"], size=3, name="norm", **settings)
        assert re.search(
            r"node 'norm' \(LRN\) has bias .*expected an integer or a positive bias",
            failure(tmp_path, model([node], *borders)),
        )
    node = helper.make_node("LRN", ["x"], ["y"], size=3, name="norm", bias=2.5)
    assert "expected operator set 7 or later" in failure(tmp_path, model([node], *borders, opset=6))
    inner = helper.make_graph([helper.make_node("LRN", ["x"], ["z"], size=3, bias=2.5)], "b", [], [value("z", shape)])
    flag = helper.make_node("Constant", [], ["flag"], value=numpy_helper.from_array(np.array(True)))
    branch = helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)
    assert "node 'z' (LRN), inside a subgraph or a function, has bias 2.5" in failure(
        tmp_path, model([flag, branch], *borders)
    )


def test_what_exporters_write_around_a_network_is_no_layer(tmp_path):
    """Constant nodes, shapes computed from a static shape, and weights prepared from constants cut nothing."""
    weight = values(4, (6, 12))
    nodes = [
        helper.make_node("Constant", [], ["minus"], value=numpy_helper.from_array(np.array([-1]))),
        helper.make_node("Constant", [], ["zero"], value_int=0),
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        relu("x", "r", name="relu"),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["batch1"]),
        helper.make_node("Concat", ["batch1", "minus"], ["flat"], axis=0),
        helper.make_node("Reshape", ["r", "flat"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "wt"], ["m"], name="matrix"),
        helper.make_node("Dropout", ["m"], ["d", "mask"], name="drop"),
        helper.make_node("Identity", ["r"], ["dead"], name="dead"),
        helper.make_node("Softmax", ["d"], ["y"], name="prob"),
    ]
    original = model(nodes, [value("x", (2, 3, 2, 2))], [value("y", (2, 6))], {"w": weight, "axis": np.array([0])})
    path = tmp_path / "m.onnx"
    onnx.save(original, path)
    network = load(path)
    assert [layer.name for layer in network.layers] == ["relu", "flatten", "matrix", "drop", "prob"]
    assert network.cuts == [1, 2, 3, 4]
    assert network.macs == 2 * 6 * 12
    assert network.params == 72
    assert network.seed is None
    x = values(1, (2, 3, 2, 2))
    expected = run_onnxruntime(path, {"x": x})["y"]
    export(network, [(i, i) for i in range(5)], tmp_path / "out")
    exported = ExportedNetwork.read(tmp_path / "out")
    for run in (run_onnxruntime, run_openvino):
        tensors = {"x": x}
        for group in exported.groups:
            onnx.checker.check_model(str(group.path), full_check=True)
            tensors.update(run(group.path, tensors))
        np.testing.assert_allclose(tensors["y"], expected, rtol=1e-5)


def test_a_branch_that_reads_the_outer_graph_keeps_its_tensors_alive(tmp_path):
    """A subgraph reads `r` without listing it as an input; no cut may lose it."""
    then = helper.make_graph([helper.make_node("Neg", ["r"], ["t1"])], "then", [], [value("t1", (1, 4))])
    other = helper.make_graph([helper.make_node("Abs", ["q"], ["t2"])], "else", [], [value("t2", (1, 4))])
    nodes = [
        relu("x", "r", name="1"),
        helper.make_node("Exp", ["r"], ["q"], name="2"),
        helper.make_node("ReduceSum", ["q"], ["sum"], keepdims=0, name="3"),
        helper.make_node("Cast", ["sum"], ["flag"], to=TensorProto.BOOL, name="4"),
        helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other, name="5"),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(model(nodes), path)
    network = load(path)
    assert network.cuts == [1]
    x = values(1, (1, 4))
    export(network, [(0, 0), (1, 4)], tmp_path / "out")
    exported = ExportedNetwork.read(tmp_path / "out")
    tensors = {"x": x}
    for group in exported.groups:
        tensors.update(run_onnxruntime(group.path, tensors))
    np.testing.assert_allclose(tensors["y"], -np.maximum(x, 0), rtol=1e-6)


def test_groups_hand_over_fp32_only(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32, name="to_int"),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT, name="back"),
        relu("f", "y", name="relu"),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(model(nodes), path)
    network = load(path)
    assert network.cuts == [1, 2]
    with pytest.raises(InputError, match="cuts near it: 2"):
        choose_groups(network, starts=[1])
    assert choose_groups(network, starts=[2]) == [(0, 1), (2, 2)]


def test_initializers_listed_as_inputs_are_no_inputs(tmp_path):
    _, original = matrix_model()
    original.graph.input.append(value("w", (4, 400)))
    original.ir_version = 3
    path = tmp_path / "m.onnx"
    onnx.save(original, path)
    assert load(path).inputs == {"x": (1, 4)}
