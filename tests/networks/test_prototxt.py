"""Mistakes in a prototxt are found at their line; what is right is read as Caffe reads it."""

import contextlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from multidnn.errors import InputError
from multidnn.networks import caffe_pb2, load
from multidnn.networks.prototxt import read
from tests.networks.helpers import load_text, prototxt

ROOT = Path(__file__).parents[2]

CONVOLUTION = """layer {
  name: "c"
  type: "Convolution"
  bottom: "data"
  top: "c"
  convolution_param {
    num_output: 8
    kernel_size: 3
  }
}
"""


def failure(path):
    with pytest.raises(InputError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("num_output: 8", "num_ouput: 8", 8, r"no field named .num_ouput.*did you mean 'num_output'"),
        ("kernel_size: 3", "kernel_size: x", 9, r"integer|expected"),
        (
            'type: "Convolution"',
            'type: "Convolutoin"',
            4,
            r"not supported \(did you mean 'Convolution'\?\); allowed: Input,",
        ),
        (
            'type: "Convolution"',
            'type: "LSTM"',
            4,
            r"layer 'c' \(LSTM\): type is not supported; allowed: Input, BatchNorm",
        ),
        ('type: "Convolution"', "", 2, "has no type"),
        ('name: "c"', "", 2, "has no name"),
        ('bottom: "data"', 'bottom: "dato"', 5, "bottom 'dato' is produced by no earlier layer; did you mean 'data'"),
        ('bottom: "data"', "", 2, "found 0 bottoms, expected 1"),
        ('top: "c"', 'top: "c" top: "d"', 6, "found 2 tops, expected 1"),
        ("num_output: 8", "", 7, "has no num_output"),
        ("kernel_size: 3", "", 7, "has no kernel_size"),
        ("kernel_size: 3", "kernel_size: 3\nkernel_h: 3", 10, "found both kernel_size and kernel_h"),
        ("kernel_size: 3", "kernel_h: 3", 9, "found kernel_h alone"),
        ("kernel_size: 3", "kernel_size: [1, 2, 3]", 9, "found 3 values of kernel_size"),
        ("kernel_size: 3", "kernel_size: 0", 7, "found kernel 0, expected at least 1"),
        ("kernel_size: 3", "kernel_size: 9", 7, "a kernel of 9 .* does not fit into 7 values"),
        ("num_output: 8", "num_output: 8 group: 3", 8, "group 3 does not divide the 4 input and 8 output channels"),
        ("num_output: 8", "num_output: 8 axis: 2", 8, "axis 2 is not supported"),
        ("\n}\n", "\n", 10, "expected|Expected"),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path, old, new, line, expected):
    path = prototxt(tmp_path, CONVOLUTION.replace(old, new))
    message = failure(path)
    assert re.search(expected, message), message
    assert int(re.search(rf"{re.escape(str(path))}:(\d+)", message)[1]) == line, message


@pytest.mark.parametrize(
    ("body", "line", "expected"),
    [
        (CONVOLUTION + CONVOLUTION, 13, "the name is already used by the layer of line 2"),
        (
            CONVOLUTION + CONVOLUTION.replace('name: "c"', 'name: "d"'),
            16,
            "top 'c' is already produced by the layer of line 2",
        ),
        (CONVOLUTION.replace('top: "c"', 'top: "data"').replace('bottom: "data"', ""), 6, "already produced by"),
        ('layers {\n name: "old"\n}', 2, "format of before 2014"),
        (
            'layer { name: "p" type: "Pooling" bottom: "data" top: "p"\npooling_param { pool: AVG } }',
            3,
            "no value named .?AVG.*did you mean 'AVE'",
        ),
        (
            'layer { name: "p" type: "Pooling" bottom: "data" top: "p"\n pooling_param {\n pool: STOCHASTIC kernel_size: 2 } }',
            4,
            "STOCHASTIC is not supported",
        ),
        ('layer { name: "p" type: "Pooling" bottom: "data" top: "p" }', 2, "has no kernel_size"),
        (
            'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 pad: 2 } }',
            2,
            "pad 2, expected less than the kernel's 2",
        ),
        (
            'layer { name: "p" type: "LRN" bottom: "data" top: "p" lrn_param { local_size: 4 } }',
            2,
            "expected an odd number",
        ),
        (
            'layer { name: "p" type: "LRN" bottom: "data" top: "p" lrn_param { k: 0.0001\nalpha: -1 } }',
            3,
            "found alpha -1, expected 0 or a positive number",
        ),
        (
            'layer { name: "p" type: "LRN" bottom: "data" top: "p" lrn_param { k: 0.0001\nbeta: 100 } }',
            3,
            "found beta 100, expected one for which k\\^-beta fits into fp32",
        ),
        (
            'layer { name: "p" type: "LRN" bottom: "data" top: "p" lrn_param { norm_region: WITHIN_CHANNEL } }',
            2,
            "WITHIN_CHANNEL is not supported",
        ),
        (
            'layer { name: "p" type: "Reshape" bottom: "data" top: "p" reshape_param { shape { dim: 5 dim: -1 } } }',
            2,
            "cannot infer -1",
        ),
        (
            'layer { name: "p" type: "Softmax" bottom: "data" top: "p" softmax_param { axis: 4 } }',
            2,
            "axis 4 does not exist in a blob with 4 axes",
        ),
        (
            'layer { name: "p" type: "BatchNorm" bottom: "data" top: "p" batch_norm_param { use_global_stats: false } }',
            2,
            "stored statistics",
        ),
        (
            CONVOLUTION + 'layer { name: "e" type: "Eltwise"\nbottom: "c"\nbottom: "data" top: "e" }',
            14,
            "expected equal ones",
        ),
        (
            CONVOLUTION + 'layer { name: "e" type: "Concat"\nbottom: "c"\nbottom: "data" top: "e" }',
            14,
            "equal except on axis 1",
        ),
        (
            'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 0 } } }' + CONVOLUTION,
            2,
            "expected positive sizes",
        ),
        (
            'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }\n' + CONVOLUTION,
            2,
            "input 'x' is used by no layer",
        ),
    ],
)
def test_a_mistake_between_layers_is_reported_with_its_line(tmp_path, body, line, expected):
    path = prototxt(tmp_path, body)
    message = failure(path)
    assert re.search(expected, message), message
    assert message.startswith(f"{path}:{line}:"), message


def test_text_that_is_no_network(tmp_path):
    path = tmp_path / "net.prototxt"
    for text in ("", "# nothing\n", 'name: "x"\n'):
        path.write_text(text)
        assert "the network has no layer" in failure(path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in failure(path)
    assert "no such file" in failure(tmp_path / "missing.prototxt")
    assert "a .prototxt or an .onnx file" in failure(tmp_path / "net.caffemodel")
    path.write_text(CONVOLUTION.replace('bottom: "data"', ""))
    assert "has no input" in failure(path)


@pytest.mark.parametrize(
    "header",
    [
        'input: "data" input_dim: 1 input_dim: 4 input_dim: 7 input_dim: 6',
        'input: "data" input_shape { dim: 1 dim: 4 dim: 7 dim: 6 }',
        'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: [1, 4, 7, 6] } } }',
    ],
)
def test_every_way_to_declare_an_input(tmp_path, header):
    path = tmp_path / "net.prototxt"
    path.write_text(f"{header}\n{CONVOLUTION}")
    network = load(path)
    assert network.inputs == {"data": (1, 4, 7, 6)}
    assert network.outputs == {"c": (1, 8, 5, 4)}


@pytest.mark.parametrize(
    "header",
    [
        'input: "data" input_dim: 1 input_dim: 4',
        'input: "data"',
        'input: "data" input: "data" input_shape { dim: 1 } input_shape { dim: 1 }',
        "input_dim: 1",
        'input: "data" input_shape { dim: -1 }',
    ],
)
def test_a_wrong_input_declaration_is_refused_at_its_line(tmp_path, header):
    path = tmp_path / "net.prototxt"
    path.write_text(f"{header}\n{CONVOLUTION}")
    assert failure(path).startswith(f"{path}:1:")


def test_layers_of_the_training_phase_are_left_out(tmp_path):
    body = (
        'layer { name: "t" type: "Data" top: "label" include { phase: TRAIN } }\n'
        'layer { name: "u" type: "Data" top: "label" exclude { phase: TEST } }\n'
        + CONVOLUTION.replace('name: "c"', 'name: "c" include { phase: TEST }')
    )
    assert [layer.name for layer in load_text(tmp_path, body).layers] == ["c"]


def test_comments_strings_and_other_brackets_do_not_move_lines(tmp_path):
    body = (
        '# layer { } }\nlayer < name: "a}" # }\n type: \'ReLU\' bottom: "data" top: "layer {" >\n'
        + CONVOLUTION.replace('bottom: "data"', 'bottom: "missing"')
    )
    assert failure(prototxt(tmp_path, body)).split(": ")[0].endswith("net.prototxt:8")


COMMENT = "# " + "long comment " * 30


@pytest.mark.parametrize(
    "body",
    [
        "layer: [ {} ,\n {} ]",
        "layer [ {},\n {} ]",
        "layer: {}\n layer: {}",
        f"layer {COMMENT}\n{COMMENT}\n {{}}\n layer: {COMMENT}\n {{}}",
        "layer: [ {},\n {} ] layer: []",
    ],
)
def test_every_way_to_write_a_list_of_layers(tmp_path, body):
    blocks = [
        CONVOLUTION.removeprefix("layer ").replace('"c"', '"first"'),
        CONVOLUTION.removeprefix("layer ").replace("num_output: 8", "num_output: 3 group: 2"),
    ]
    path = prototxt(tmp_path, body.format(*blocks))
    line = path.read_text().split("group: 2")[0].count("\n") + 1
    assert failure(path).startswith(f"{path}:{line}: layer 'c' (Convolution): group 2 does not divide")


def test_a_mistake_in_a_list_is_reported_at_its_element(tmp_path):
    path = prototxt(tmp_path, 'layer { name: "e" type: "Eltwise" top: "e"\n bottom: ["data",\n "dato"]\n}')
    assert failure(path).startswith(f"{path}:4: layer 'e' (Eltwise): bottom 'dato' is produced by no earlier layer")


def test_an_unused_old_input_is_reported_at_its_line(tmp_path):
    path = tmp_path / "net.prototxt"
    header = 'input: "data"\ninput: "extra"\n' + "input_shape { dim: 1 dim: 4 dim: 7 dim: 6 }\n" * 2
    path.write_text(header + CONVOLUTION)
    assert failure(path) == f"{path}:2: input 'extra' is used by no layer"
    path.write_text(
        'layer { name: "a" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 7 dim: 6 } } }\n'
        'layer { name: "b" type: "Input" top: "extra"\n input_param { shape { dim: 1 } } }\n' + CONVOLUTION
    )
    assert failure(path) == f"{path}:2: input 'extra' is used by no layer"


def test_describe_ends_quietly_when_its_reader_has_seen_enough():
    command = f"{sys.executable} -m multidnn.networks describe prototxt/resnet152.prototxt | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


names = st.text("abcdefghijklmnopqrstuvwxyz/_0123456789", min_size=1, max_size=8)


@st.composite
def chains(draw):
    """A random chain of layers as a protobuf, with what its layers must read and write."""
    net = caffe_pb2.NetParameter(name="chain")
    source = net.layer.add(name="in", type="Input", top=["data"])
    source.input_param.shape.add(dim=[1, 4, 16, 16])
    previous = "data"
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        kind = draw(st.sampled_from(["Convolution", "ReLU", "Pooling", "Dropout", "BatchNorm"]))
        in_place = kind in ("ReLU", "Dropout") and draw(st.booleans())
        layer = net.layer.add(name=f"l{name}", type=kind, bottom=[previous])
        layer.top.append(previous if in_place else f"t{name}")
        if kind == "Convolution":
            layer.convolution_param.num_output = draw(st.integers(1, 5))
            layer.convolution_param.kernel_size.append(1)
        if kind == "Pooling":
            layer.pooling_param.kernel_size = draw(st.integers(1, 3))
        previous = layer.top[0]
    return net


@settings(max_examples=50, deadline=None)
@given(net=chains(), brackets=st.booleans(), one_line=st.booleans())
def test_written_and_read_back(tmp_path_factory, net, brackets, one_line):
    path = tmp_path_factory.getbasetemp() / "chain.prototxt"
    path.write_text(text_format.MessageToString(net, pointy_brackets=brackets, as_one_line=one_line))
    expected = [
        layer
        for layer in net.layer
        if layer.type != "Input" and not (layer.type == "Dropout" and layer.top == layer.bottom)
    ]
    assume(expected)
    found = read(path)
    assert [layer.proto for layer in found.layers] == expected
    # a chain: every layer reads the value before it, and every value has a name of its own
    values = [*found.inputs, *(layer.tops[0] for layer in found.layers)]
    assert len(set(values)) == len(values)
    assert [layer.bottoms for layer in found.layers] == [(value,) for value in values[:-1]]
    assert found.outputs == values[-1:]


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.prototxt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError):
        load(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_prototxt_is_read_or_refused(tmp_path_factory, data):
    """Cutting out any piece leaves a network or one clear message, never another exception."""
    text = (ROOT / "prototxt" / "alexnet.prototxt").read_text()[:3000]
    first = data.draw(st.integers(0, len(text)))
    last = data.draw(st.integers(first, min(len(text), first + 200)))
    path = tmp_path_factory.getbasetemp() / "damaged.prototxt"
    path.write_text(text[:first] + text[last:])
    with contextlib.suppress(InputError):
        load(path)


@pytest.mark.skipif(importlib.util.find_spec("grpc_tools") is None, reason="grpcio-tools is not installed")
def test_the_generated_schema_is_in_step(tmp_path):
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, "multidnn/networks/caffe.proto"], cwd=ROOT, check=True)
    for name in ("caffe_pb2.py", "caffe_pb2.pyi"):
        committed = ROOT / "multidnn" / "networks" / name
        assert (tmp_path / "multidnn" / "networks" / name).read_text() == committed.read_text(), f"regenerate {name}"
