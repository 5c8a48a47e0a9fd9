"""Every Caffe layer, converted and run in both runtimes, equals the plain numpy reference."""

import tempfile

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.networks import caffe_reference as caffe
from tests.networks.helpers import check_both, load_text, values

SHAPE = (1, 4, 7, 6)
few = settings(max_examples=25, deadline=None)
pairs = st.tuples


def one_layer(type_, extra="", bottoms=("data",)):
    links = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "x" type: "{type_}" {links} top: "x" {extra} }}\n'


def check(body, reference, shape=SHAPE):
    """Compare the converted network with reference(input, weights by role)."""
    with tempfile.TemporaryDirectory() as directory:
        network = load_text(directory, body, shape)
        data = values(5, shape)
        weights = {name.split("/", 1)[1]: weight.array() for name, weight in network.weights.items()}
        check_both(network, directory, {"data": data}, reference(data, weights))
        return network


@few
@given(
    sides=pairs(st.integers(1, 9), st.integers(1, 9)),
    kernel=pairs(st.integers(1, 4), st.integers(1, 4)),
    stride=pairs(st.integers(1, 3), st.integers(1, 3)),
    pad=pairs(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.integers(1, 2),
    group=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_convolution(sides, kernel, stride, pad, dilation, group, bias):
    extents = [dilation * (k - 1) + 1 for k in kernel]
    assume(all(size + 2 * p >= extent for size, p, extent in zip(sides, pad, extents, strict=True)))
    body = one_layer(
        "Convolution",
        f"convolution_param {{ num_output: 8 kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} "
        f"stride_w: {stride[1]} pad: {pad[0]} pad: {pad[1]} dilation: {dilation} group: {group} "
        f"bias_term: {str(bias).lower()} }}",
    )
    check(
        body,
        lambda x, w: caffe.convolution(x, w["weight"], w.get("bias"), stride, pad, (dilation, dilation), group),
        (1, 4, *sides),
    )


@few
@given(
    sides=pairs(st.integers(1, 5), st.integers(1, 5)),
    kernel=pairs(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    pad=st.integers(0, 1),
    dilation=st.integers(1, 2),
    group=st.sampled_from([1, 2]),
    bias=st.booleans(),
)
def test_deconvolution(sides, kernel, stride, pad, dilation, group, bias):
    sizes = [stride * (size - 1) + dilation * (k - 1) + 1 - 2 * pad for size, k in zip(sides, kernel, strict=True)]
    assume(min(sizes) >= 1)
    body = one_layer(
        "Deconvolution",
        f"convolution_param {{ num_output: 6 kernel_size: {kernel[0]} kernel_size: {kernel[1]} stride: {stride} "
        f"pad: {pad} dilation: {dilation} group: {group} bias_term: {str(bias).lower()} }}",
    )
    both = (stride, stride), (pad, pad), (dilation, dilation)
    check(body, lambda x, w: caffe.deconvolution(x, w["weight"], w.get("bias"), *both, group), (1, 4, *sides))


@settings(max_examples=80, deadline=None)
@given(
    sides=pairs(st.integers(1, 9), st.integers(1, 9)),
    kernel=pairs(st.integers(1, 5), st.integers(1, 5)),
    stride=pairs(st.integers(1, 4), st.integers(1, 4)),
    pad=pairs(st.integers(0, 3), st.integers(0, 3)),
    kind=st.sampled_from(["MAX", "AVE"]),
    floor=st.booleans(),
)
def test_pooling(sides, kernel, stride, pad, kind, floor):
    assume(all(p < k for p, k in zip(pad, kernel, strict=True)))
    counts = [caffe.pooled_size(*axis, floor) for axis in zip(sides, kernel, stride, pad, strict=True)]
    assume(min(counts) >= 1)
    body = one_layer(
        "Pooling",
        f"pooling_param {{ pool: {kind} kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} "
        f"stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} round_mode: {'FLOOR' if floor else 'CEIL'} }}",
    )
    network = check(body, lambda x, _: caffe.pooling(x, kind, kernel, stride, pad, floor), (1, 2, *sides))
    for node in network.nodes:
        assert not any(attribute.name == "ceil_mode" and attribute.i for attribute in node.attribute)


@pytest.mark.parametrize("kind", ["MAX", "AVE"])
def test_global_pooling(kind):
    body = one_layer("Pooling", f"pooling_param {{ pool: {kind} global_pooling: true }}")
    check(body, lambda x, _: caffe.pooling(x, kind, (7, 6), (1, 1), (0, 0)))


def test_average_before_inner_product_needs_no_flatten_between():
    body = one_layer("Pooling", "pooling_param { pool: AVE kernel_h: 7 kernel_w: 6 }") + (
        'layer { name: "drop" type: "Dropout" bottom: "x" top: "drop" }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "drop" top: "fc" inner_product_param { num_output: 3 } }\n'
    )
    network = check(body, lambda x, w: x.mean(axis=(2, 3)) @ w["weight"].T + w["bias"])
    assert [layer.type for layer in network.layers] == ["ReduceMean", "Gemm"]


@few
@given(
    size=st.sampled_from([1, 3, 5, 7]),
    alpha=st.floats(0.01, 2),
    beta=st.floats(0.25, 1),
    k=st.floats(1, 3),
    channels=st.integers(1, 9),
)
def test_lrn(size, alpha, beta, k, channels):
    body = one_layer("LRN", f"lrn_param {{ local_size: {size} alpha: {alpha!r} beta: {beta!r} k: {k!r} }}")
    check(body, lambda x, _: caffe.lrn(x, size, alpha, beta, k), (1, channels, 3, 2))


@pytest.mark.parametrize(("k", "nodes"), [(1, ["LRN"]), (2, ["LRN"]), (0.5, ["LRN", "Mul"]), (2.5, ["LRN", "Mul"])])
def test_lrn_is_one_node_where_both_runtimes_keep_its_k(k, nodes):
    body = one_layer("LRN", f"lrn_param {{ local_size: 5 alpha: 0.3 k: {k} }}")
    network = check(body, lambda x, _: caffe.lrn(x, 5, 0.3, 0.75, k))
    assert [layer.type for layer in network.layers] == nodes


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 4, 3, 2), axis) for axis in (0, 1, 2, -1)] + [((3, 5), axis) for axis in (0, 1, -1)]
)
@pytest.mark.parametrize("transpose", [False, True])
def test_inner_product(axis, transpose, shape):
    position = axis % len(shape)

    def reference(x, w):
        kernel = w["weight"] if transpose else w["weight"].T
        return x.reshape(*shape[:position], -1) @ kernel + w["bias"]

    extra = f"inner_product_param {{ num_output: 5 axis: {axis} transpose: {str(transpose).lower()} }}"
    check(one_layer("InnerProduct", extra), reference, shape)


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_relu(slope):
    body = one_layer("ReLU", f"relu_param {{ negative_slope: {slope} }}")
    check(body, lambda x, _: np.where(x > 0, x, slope * x))


@pytest.mark.parametrize("shared", [False, True])
def test_prelu(shared):
    body = one_layer("PReLU", f"prelu_param {{ channel_shared: {str(shared).lower()} }}")
    check(body, lambda x, w: np.where(x > 0, x, w["slope"] * x))


@pytest.mark.parametrize("shape", [SHAPE, (2, 5)])
def test_batch_norm_and_scale_are_one_layer(shape):
    body = one_layer("BatchNorm") + (
        'layer { name: "s" type: "Scale" bottom: "x" top: "x" scale_param { bias_term: true } }\n'
    )
    wide = (1, shape[1], *[1] * (len(shape) - 2))

    def reference(x, w):
        mean, variance, factor, bias = (w[role].reshape(wide) for role in ("mean", "variance", "scale", "bias"))
        return (x - mean) / np.sqrt(variance + 1e-5) * factor + bias

    network = check(body, reference, shape)
    assert [layer.type for layer in network.layers] == ["BatchNormalization"]


def test_batch_norm_read_twice_keeps_its_own_values():
    body = one_layer("BatchNorm") + (
        'layer { name: "s" type: "Scale" bottom: "x" top: "s" }\n'
        'layer { name: "sum" type: "Eltwise" bottom: "x" bottom: "s" top: "sum" }\n'
    )
    with tempfile.TemporaryDirectory() as directory:
        network = load_text(directory, body)
        w = {name: weight.array()[None, :, None, None] for name, weight in network.weights.items()}
        data = values(5, SHAPE)
        normal = (data - w["x/mean"]) / np.sqrt(w["x/variance"] + 1e-5)
        check_both(network, directory, {"data": data}, normal * (1 + w["s/scale"]))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("axis", "num_axes"), [(1, 1), (0, 1), (1, 2), (2, -1), (1, 0), (0, -1), (-1, 1)])
def test_scale(axis, num_axes, bias):
    extra = f"scale_param {{ axis: {axis} num_axes: {num_axes} bias_term: {str(bias).lower()} }}"
    first = axis % 4
    count = 4 - first if num_axes == -1 else num_axes

    def reference(x, w):
        wide = (*SHAPE[first : first + count], *[1] * (4 - first - count))
        return x * w["scale"].reshape(wide) + (w["bias"].reshape(wide) if bias else 0)

    check(one_layer("Scale", extra), reference)


def test_scale_by_a_written_constant():
    check(one_layer("Scale", "scale_param { filler { value: 0.125 } }"), lambda x, _: x * 0.125)


@pytest.mark.parametrize("after", ["Convolution", "InnerProduct", "BatchNorm", "Deconvolution", "LRN", "PReLU"])
def test_layers_after_one_that_makes_zeros(after):
    param = {
        "Convolution": "convolution_param { num_output: 2 kernel_size: 1 bias_term: false }",
        "Deconvolution": "convolution_param { num_output: 2 kernel_size: 1 bias_term: false }",
        "InnerProduct": "inner_product_param { num_output: 2 bias_term: false }",
    }.get(after, "")
    body = one_layer("Scale", "scale_param { filler { value: 0 } }") + (
        f'layer {{ name: "y" type: "{after}" bottom: "x" top: "y" {param} }}\n'
        'layer { name: "z" type: "InnerProduct" bottom: "y" top: "z" inner_product_param { num_output: 3 } }\n'
    )
    with tempfile.TemporaryDirectory() as directory:
        network = load_text(directory, body)
        weights = {name: weight.array() for name, weight in network.weights.items()}
        assert all(np.isfinite(weight).all() for weight in weights.values())
        hidden = np.zeros((1, weights["z/weight"].shape[1]))
        if after == "BatchNorm":
            normal = -weights["y/mean"] / np.sqrt(weights["y/variance"] + 1e-5)
            hidden = np.repeat(normal, hidden.size // normal.size)[None]
        expected = hidden @ weights["z/weight"].T + weights["z/bias"]
        check_both(network, directory, {"data": values(5, SHAPE)}, expected)


def test_scale_by_a_second_bottom():
    body = one_layer("Pooling", "pooling_param { global_pooling: true }") + (
        'layer { name: "f" type: "Reshape" bottom: "x" top: "f" reshape_param { shape { dim: 1 dim: 4 } } }\n'
        'layer { name: "y" type: "Scale" bottom: "data" bottom: "f" top: "y" scale_param { axis: 0 } }\n'
    )
    check(body, lambda x, _: x * x.max(axis=(2, 3), keepdims=True))


@pytest.mark.parametrize(
    ("operation", "reference"),
    [
        ("operation: SUM", lambda a, b, c: a + b + c),
        ("operation: SUM coeff: 1 coeff: -0.5 coeff: 2", lambda a, b, c: a - 0.5 * b + 2 * c),
        ("operation: PROD", lambda a, b, c: a * b * c),
        ("operation: MAX", lambda a, b, c: np.maximum(np.maximum(a, b), c)),
    ],
)
def test_eltwise(operation, reference):
    body = (
        'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }\n'
        'layer { name: "b" type: "Softmax" bottom: "data" top: "b" }\n'
        + one_layer("Eltwise", f"eltwise_param {{ {operation} }}", ("data", "a", "b"))
    )
    check(body, lambda x, _: reference(x, np.maximum(x, 0), caffe.softmax(x, 1)))


@pytest.mark.parametrize("field", ["axis: 1", "axis: -1", "concat_dim: 2", ""])
def test_concat(field):
    axis = {"axis: 1": 1, "axis: -1": 3, "concat_dim: 2": 2, "": 1}[field]
    body = 'layer { name: "a" type: "ReLU" bottom: "data" top: "a" }\n' + one_layer(
        "Concat", f"concat_param {{ {field} }}", ("data", "a", "data")
    )
    check(body, lambda x, _: np.concatenate([x, np.maximum(x, 0), x], axis=axis))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_softmax(axis):
    check(one_layer("Softmax", f"softmax_param {{ axis: {axis} }}"), lambda x, _: caffe.softmax(x, axis))


@pytest.mark.parametrize(
    ("extra", "shape"),
    [
        ("", (2, 4 * 3 * 2)),
        ("flatten_param { axis: 2 }", (2, 4, 6)),
        ("flatten_param { axis: 0 end_axis: 1 }", (8, 3, 2)),
        ("flatten_param { axis: -3 end_axis: -2 }", (2, 12, 2)),
    ],
)
def test_flatten(extra, shape):
    check(one_layer("Flatten", extra), lambda x, _: x.reshape(shape), (2, 4, 3, 2))


@pytest.mark.parametrize(
    ("extra", "shape"),
    [
        ("shape { dim: 0 dim: -1 }", (2, 24)),
        ("shape { dim: 0 dim: 0 dim: 6 }", (2, 4, 6)),
        ("axis: 1 shape { dim: 3 dim: 8 }", (2, 3, 8)),
        ("axis: 1 num_axes: 1 shape { dim: 2 dim: -1 }", (2, 2, 2, 3, 2)),
        ("axis: 0 num_axes: 0 shape { dim: 1 }", (1, 2, 4, 3, 2)),
        ("axis: -1 shape { dim: 1 }", (2, 4, 3, 2, 1)),
    ],
)
def test_reshape(extra, shape):
    body = one_layer("Reshape", f"reshape_param {{ {extra} }}")
    check(body, lambda x, _: x.reshape(shape), (2, 4, 3, 2))


def test_dropout_vanishes_in_place_and_apart():
    body = (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
        'layer { name: "d1" type: "Dropout" bottom: "r" top: "r" }\n'
        'layer { name: "d2" type: "Dropout" bottom: "r" top: "d2" }\n'
        'layer { name: "s" type: "Softmax" bottom: "d2" top: "s" }\n'
    )
    network = check(body, lambda x, _: caffe.softmax(np.maximum(x, 0), 1))
    assert [layer.name for layer in network.layers] == ["r", "s"]


def test_dropout_at_the_end_keeps_the_output_name():
    body = (
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n'
        'layer { name: "d" type: "Dropout" bottom: "r" top: "d" }\n'
    )
    network = check(body, lambda x, _: np.maximum(x, 0))
    assert list(network.outputs) == ["d"]


def test_in_place_layers_overwrite_their_blob():
    body = one_layer("Convolution", "convolution_param { num_output: 4 kernel_size: 1 }") + (
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }\n'
        'layer { name: "s" type: "Softmax" bottom: "x" top: "x" }\n'
    )

    def reference(x, w):
        linear = caffe.convolution(x, w["weight"], w["bias"], (1, 1), (0, 0), (1, 1), 1)
        return caffe.softmax(np.maximum(linear, 0), 1)

    network = check(body, reference)
    assert list(network.outputs) == ["x"]
