"""Cuts, parameters, MACs and groups against independent definitions."""

import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from multidnn.errors import InputError
from multidnn.networks import choose_groups, load
from tests.networks.helpers import INPUT, ZOO, load_text


def save(path, nodes, inputs, outputs, constants=(), opset=17):
    """Write an ONNX model; inputs and outputs are {name: shape}, fp32."""

    def values(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    initializers = [numpy_helper.from_array(array, name) for name, array in dict(constants).items()]
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


@st.composite
def dags(draw):
    """A random graph of sums as [[reads] per node], with one or two inputs; tensor -1 and -2 are the inputs."""
    inputs = draw(st.integers(1, 2))
    nodes = []
    for index in range(draw(st.integers(1, 10))):
        # near tensors are likelier, so that there are cuts to find
        near = st.integers(max(-inputs, index - 2), index - 1) if index else st.integers(-inputs, -1)
        anything = st.integers(-inputs, index - 1) if index else near
        nodes.append(draw(st.lists(st.one_of(near, near, anything), min_size=1, max_size=3, unique=True)))
    read = {tensor for reads in nodes for tensor in reads}
    nodes[-1] += [tensor for tensor in range(-inputs, 0) if tensor not in read and tensor not in nodes[-1]]
    ends = [index for index in range(len(nodes)) if index not in read]
    more = draw(st.lists(st.integers(0, len(nodes) - 1), max_size=1))
    return inputs, nodes, sorted({*ends, *more})


def needed_from(first, nodes, outputs):
    """Walk back from the outputs and return the tensors that nodes first.. cannot make themselves."""
    frontier, pending, seen = set(), list(outputs), set()
    while pending:
        tensor = pending.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor < first:
            frontier.add(tensor)
        else:
            pending.extend(nodes[tensor])
    return frontier


@settings(max_examples=150, deadline=None)
@given(dag=dags(), with_constant=st.booleans())
def test_cuts_are_where_one_tensor_makes_all_the_rest(tmp_path_factory, dag, with_constant):
    inputs, nodes, outputs = dag
    shape = (1, 3)
    made = []
    for index, reads in enumerate(nodes):
        names = [f"t{tensor}" for tensor in reads]
        if with_constant:
            # a constant read everywhere, and one that a node makes of it, cut nothing
            names += ["c", "c2"]
        made.append(helper.make_node("Sum", names, [f"t{index}"], name=f"n{index}"))
    if with_constant:
        made.insert(0, helper.make_node("Neg", ["c"], ["c2"]))
    path = save(
        tmp_path_factory.getbasetemp() / "dag.onnx",
        made,
        {f"t{-i}": shape for i in range(1, inputs + 1)},
        {f"t{i}": shape for i in outputs},
        {"c": np.ones(shape, np.float32)} if with_constant else {},
    )
    network = load(path)
    assert [layer.name for layer in network.layers] == [f"n{i}" for i in range(len(nodes))]
    expected = [k for k in range(1, len(nodes)) if len(needed_from(k, nodes, outputs)) == 1]
    assert network.cuts == expected
    for cut, tensor in network.cut_tensors.items():
        assert {tensor} == {f"t{t}" for t in needed_from(cut, nodes, outputs)}


def test_nodes_out_of_order_are_sorted(tmp_path):
    nodes = [helper.make_node("Relu", ["b"], ["c"], name="2"), helper.make_node("Relu", ["a"], ["b"], name="1")]
    network = load(save(tmp_path / "x.onnx", nodes, {"a": (1, 2)}, {"c": (1, 2)}))
    assert [layer.name for layer in network.layers] == ["1", "2"]


def test_macs_and_parameters_of_an_onnx_file(tmp_path):
    constants = {
        "w": np.zeros((6, 2, 3, 3), np.float32),
        "b": np.zeros(6, np.float32),
        "d": np.zeros((6, 5, 2, 2), np.float32),
        "g": np.zeros((80, 7), np.float32),
        "gt": np.zeros((9, 7), np.float32),
        "m": np.zeros((9, 11), np.float32),
        "left": np.zeros((4, 1), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["1"], group=2, pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["1", "d"], ["2"], strides=[2, 2]),
        helper.make_node("AveragePool", ["2"], ["3"], kernel_shape=[2, 4], strides=[2, 4]),
        helper.make_node("Flatten", ["3"], ["4"]),
        helper.make_node("Gemm", ["4", "g"], ["5"]),
        helper.make_node("Gemm", ["5", "gt"], ["6"], transB=1),
        helper.make_node("MatMul", ["6", "m"], ["7"]),
        helper.make_node("MatMul", ["left", "7"], ["8"]),
        helper.make_node("Transpose", ["8"], ["9"]),
        helper.make_node("MatMul", ["8", "9"], ["10"]),
    ]
    network = load(save(tmp_path / "x.onnx", nodes, {"x": (1, 4, 4, 8)}, {"10": (4, 4)}, constants))
    macs = [layer.macs for layer in network.layers]
    assert macs == [6 * 4 * 8 * 2 * 9, 6 * 4 * 8 * 5 * 4, 0, 0, 80 * 7, 7 * 9, 9 * 11, 4 * 11, 0, 0]
    assert network.params == sum(array.size for array in constants.values())


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("weight", "bias", "counted"),
    [
        ((4, 6), (6,), True),
        ((4, 6), (1, 1, 6), True),
        # not one value per output: a constant added to the product is no bias
        ((4, 6), (1,), False),
        ((4, 6), (3, 6), False),
        ((4, 6), (3, 1), False),
        ((5, 3), (5, 1), True),
        ((5, 3), (4,), False),
    ],
)
def test_biases_added_to_matrix_products_are_parameters(tmp_path, weight, bias, counted, swapped):
    is_left = weight == (5, 3)
    nodes = [
        helper.make_node("MatMul", ["w", "x"] if is_left else ["x", "w"], ["p"]),
        helper.make_node("Add", ["b", "p"] if swapped else ["p", "b"], ["q"]),
        # neither a constant added later nor one added to a product of activations is one
        helper.make_node("Add", ["q", "b2"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["r", "t"], ["s"]),
        helper.make_node("Add", ["s", "b3"], ["y"]),
    ]
    rows, columns = (5, 4) if is_left else (3, 6)
    constants = {"w": weight, "b": bias, "b2": (columns,), "b3": (rows,)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in constants.items()}
    network = load(save(tmp_path / "x.onnx", nodes, {"x": (2, 3, 4)}, {"y": (2, rows, rows)}, arrays))
    assert network.params == math.prod(weight) + (math.prod(bias) if counted else 0)


SIZES = {
    # published sizes of the zoo (parameters in M, GMAC)
    "alexnet": (60.965, 0.724), "densenet": (7.895, 3.063), "googlenet": (6.999, 1.583), "inc-res-v2": (55.783, 13.156),
    "inception": (42.617, 12.254), "mobilenet": (4.210, 0.569), "resnet18": (11.684, 1.827), "resnet50": (25.504, 3.858),
    "resnet101": (44.444, 7.570), "resnet152": (60.041, 11.282), "vgg16": (138.358, 15.470), "vgg19": (20.854, 19.509),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_the_zoo_has_its_published_size_and_about_ten_groups(name):
    network = load(ZOO / f"{name}.prototxt")
    assert (round(network.params / 1e6, 3), round(network.macs / 1e9, 3)) == SIZES[name]
    groups = choose_groups(network)
    assert 7 <= len(groups) <= 10
    assert [first for first, _ in groups[1:]] == [last + 1 for _, last in groups[:-1]]
    assert (groups[0][0], groups[-1][1]) == (0, len(network.layers) - 1)
    assert {first for first, _ in groups[1:]} <= set(network.cuts)


def test_googlenet_has_the_papers_groups_under_any_name(tmp_path):
    copy = tmp_path / "mine.prototxt"
    copy.write_text((ZOO / "googlenet.prototxt").read_text())
    network = load(copy)
    paper = [(0, 9), (10, 23), (24, 37), (38, 52), (53, 66), (67, 80), (81, 94), (95, 109), (110, 123), (124, 140)]
    assert choose_groups(network) == choose_groups(network, 10) == paper
    assert len(choose_groups(network, 5)) == 5


def chain(length, channels=8):
    body = ""
    for index in range(length):
        body += (
            f'layer {{ name: "c{index}" type: "Convolution" bottom: "{f"c{index - 1}" if index else "data"}" top: "c{index}"'
            f" convolution_param {{ num_output: {channels} kernel_size: 3 pad: 1 }} }}\n"
        )
    return body


def test_equal_layers_are_split_evenly(tmp_path):
    network = load_text(tmp_path, chain(12), (1, 8, 16, 16))
    assert choose_groups(network, 4) == [(0, 2), (3, 5), (6, 8), (9, 11)]
    assert choose_groups(network, 1) == [(0, 11)]
    assert len(choose_groups(network, 100)) == 12


def test_no_group_begins_with_an_activation_that_its_convolution_takes_in():
    network = load(ZOO / "vgg19.prototxt")
    for first, _ in choose_groups(network)[1:]:
        assert not (network.layers[first].type == "Relu" and network.layers[first - 1].type in ("Conv", "Gemm"))


def test_chosen_starts(tmp_path):
    network = load_text(tmp_path, chain(6), (1, 8, 4, 4))
    assert choose_groups(network, starts=[0, 2, 5]) == choose_groups(network, starts=[2, 5]) == [(0, 1), (2, 4), (5, 5)]
    assert choose_groups(network, starts=[]) == [(0, 5)]
    for starts in ([3, 2], [2, 2], ["2"], [True]):
        with pytest.raises(InputError, match="not ascending layer indices"):
            choose_groups(network, starts=starts)
    with pytest.raises(InputError, match=r"cannot start at layer 6.*cuts near it: 1, 2, 3, 4, 5"):
        choose_groups(network, starts=[6])
    with pytest.raises(InputError, match="found 0 groups"):
        choose_groups(network, 0)


def test_a_network_without_cuts_is_one_group(tmp_path):
    body = (
        'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }\n'
        'layer { name: "b" type: "Eltwise" bottom: "data" bottom: "a" top: "b" }\n'
    )
    assert choose_groups(load_text(tmp_path, body)) == [(0, 1)]


@settings(max_examples=30, deadline=None)
@given(widths=st.lists(st.integers(1, 12), min_size=3, max_size=7), count=st.integers(2, 4))
def test_groups_are_the_best_of_all_ways_to_cut(tmp_path_factory, widths, count):
    """Against trying every set of cuts, with the cost written out as the module's docstring has it."""
    import itertools

    directory = tmp_path_factory.getbasetemp()
    body = ""
    for index, width in enumerate(widths):
        bottom = f"c{index - 1}" if index else "data"
        body += (
            f'layer {{ name: "c{index}" type: "Convolution" bottom: "{bottom}" top: "c{index}" '
            f"convolution_param {{ num_output: {width} kernel_size: 1 }} }}\n"
        )
    path = directory / "widths.prototxt"
    path.write_text(INPUT.format("dim: 1 dim: 4 dim: 9 dim: 9") + body)
    network = load(path)
    channels = [4, *widths]
    times = []
    for before, after in itertools.pairwise(channels):
        moved = 4 * (81 * (before + after) + before * after + after)
        times.append(max(81 * before * after / (512 * 1.377e9), moved / 136.5e9))

    def total(starts):
        edges = [*starts, len(widths)]
        spent = 0.0
        for first, end in itertools.pairwise(edges):
            span = sum(times[first:end])
            if len(starts) > 1 and span < sum(times) / len(starts) / 4:
                return math.inf
            spent += (span + (2 * 4 * 81 * widths[end - 1] / 136.5e9 if end < len(widths) else 0)) ** 2
        return spent

    found = choose_groups(network, count)
    for number in range(min(count, len(widths)), 0, -1):
        best = min(total((0, *rest)) for rest in itertools.combinations(range(1, len(widths)), number - 1))
        if best < math.inf:
            assert len(found) == number
            assert total([first for first, _ in found]) == pytest.approx(best)
            break
