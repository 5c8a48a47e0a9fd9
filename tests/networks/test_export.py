"""Exported groups, put together, are the network; the weight file holds every weight once; the command line."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest

from multidnn.errors import InputError
from multidnn.networks import choose_groups, describe, export, load
from multidnn.networks.exported import ExportedNetwork
from tests.networks.helpers import ZOO, load_text, prototxt, run_onnxruntime, run_openvino, values

BRANCHES = """
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 32 kernel_size: 3 pad: 1 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "a" type: "Convolution" bottom: "p" top: "a" convolution_param { num_output: 32 kernel_size: 1 } }
layer { name: "s" type: "Eltwise" bottom: "p" bottom: "a" top: "s" }
layer { name: "early" type: "Softmax" bottom: "s" top: "early" }
layer { name: "f" type: "InnerProduct" bottom: "s" top: "f" inner_product_param { num_output: 50 } }
layer { name: "prob" type: "Softmax" bottom: "f" top: "prob" }
"""


def compose(exported, run, feeds):
    """Run the groups one after another, handing tensors over by name."""
    tensors = dict(feeds)
    for group in exported.groups:
        tensors.update(run(group.path, {name: tensors[name] for name in group.inputs}))
    return tensors


def check_export(network, directory, runs, tolerance):
    groups = choose_groups(network)
    export(network, groups, directory)
    exported = ExportedNetwork.read(directory)
    assert [(group.first_layer, group.last_layer) for group in exported.groups] == groups
    feeds = {name: values(1, shape) for name, shape in exported.inputs.items()}
    whole = run_onnxruntime(exported.whole_path, feeds)
    assert {name: value.shape for name, value in whole.items()} == exported.outputs
    for run in runs:
        found = compose(exported, run, feeds)
        for name, value in whole.items():
            np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance * np.abs(value).max())
    for path in (exported.whole_path, *(group.path for group in exported.groups)):
        onnx.checker.check_model(str(path), full_check=True)
    return exported


def test_groups_of_a_small_network_make_the_network(tmp_path):
    network = load_text(tmp_path, BRANCHES, (1, 3, 9, 9))
    exported = check_export(network, tmp_path / "out", (run_onnxruntime, run_openvino), 1e-5)
    assert len(exported.groups) > 1
    assert exported.name == "net"
    assert exported.seed == 2024
    assert exported.outputs == {"early": (1, 32, 4, 4), "prob": (1, 50)}


@pytest.mark.parametrize("name", ["googlenet", "mobilenet"])
def test_groups_of_the_zoo_make_the_network(tmp_path, name):
    exported = check_export(load(ZOO / f"{name}.prototxt"), tmp_path, (run_onnxruntime, run_openvino), 1e-4)
    for before, after in zip(exported.groups, exported.groups[1:], strict=False):
        assert before.outputs == after.inputs
        assert before.output_bytes == after.input_bytes == 4 * np.prod(next(iter(after.inputs.values())))


def test_facts_of_groups_add_up_to_the_network(tmp_path):
    network = load(ZOO / "googlenet.prototxt")
    export(network, choose_groups(network), tmp_path)
    exported = ExportedNetwork.read(tmp_path)
    assert sum(group.macs for group in exported.groups) == network.macs
    assert sum(group.weight_bytes for group in exported.groups) == 4 * network.params
    # no weight is stored twice: the shared file is as large as the weights, up to page alignment
    size = (tmp_path / "models" / "weights.bin").stat().st_size
    assert size <= 4 * network.params + 4096 * len(network.weights)
    assert all(path.stat().st_size < 100_000 for path in (tmp_path / "models").glob("*.onnx"))


def test_an_onnx_file_gives_the_same_layers_cuts_and_groups_as_its_prototxt(tmp_path):
    source = ZOO / "resnet18.prototxt"
    command = [sys.executable, "-m", "multidnn.networks"]
    subprocess.run([*command, "convert", source, "--out", tmp_path / "resnet18.onnx"], check=True)
    texts = [
        subprocess.run([*command, "describe", file], check=True, capture_output=True, text=True).stdout
        for file in (source, tmp_path / "resnet18.onnx")
    ]
    first, second = map(json.loads, texts)
    assert {key for key in first if first[key] != second[key]} == {"source", "seed"}
    assert first["layers"][0] == {"index": 0, "name": "conv1", "type": "Conv"}
    whole = run_onnxruntime(tmp_path / "resnet18.onnx", {"data": values(3, (1, 3, 224, 224))})
    exported = check_export(load(tmp_path / "resnet18.onnx"), tmp_path / "out", (), 0)
    again = run_onnxruntime(exported.whole_path, {"data": values(3, (1, 3, 224, 224))})
    np.testing.assert_allclose(again["prob"], whole["prob"], rtol=1e-5)


def test_weights_follow_from_seed_network_and_layer_alone(tmp_path):
    first = load(prototxt(tmp_path, BRANCHES, (1, 3, 9, 9)))
    same = load(prototxt(tmp_path, BRANCHES, (1, 3, 9, 9)))
    other = load(prototxt(tmp_path, BRANCHES, (1, 3, 9, 9)), seed=7)
    renamed = load(prototxt(tmp_path, BRANCHES, (1, 3, 9, 9)), name="other")
    longer = load(
        prototxt(tmp_path, 'layer { name: "d" type: "Dropout" bottom: "data" top: "data" }' + BRANCHES, (1, 3, 9, 9))
    )
    for name, weight in first.weights.items():
        assert (weight.array() == same.weights[name].array()).all()
        assert (weight.array() == longer.weights[name].array()).all()
        assert not (weight.array() == other.weights[name].array()).any()
        assert not (weight.array() == renamed.weights[name].array()).any()


def test_an_export_is_replaced_and_its_damage_is_told(tmp_path):
    network = load_text(tmp_path, BRANCHES, (1, 3, 9, 9))
    export(network, choose_groups(network), tmp_path)
    export(network, [(0, len(network.layers) - 1)], tmp_path)
    assert len(list((tmp_path / "models").glob("group_*.onnx"))) == 1
    assert len(ExportedNetwork.read(tmp_path).groups) == 1
    (tmp_path / "models" / "whole.onnx").unlink()
    with pytest.raises(InputError, match=r"whole\.onnx is missing"):
        ExportedNetwork.read(tmp_path)
    text = (tmp_path / "network.json").read_text()
    for damaged in (text[: len(text) // 2], text.replace('"group_models"', '"x"'), "[]"):
        (tmp_path / "network.json").write_text(damaged)
        with pytest.raises(InputError, match=r"network\.json"):
            ExportedNetwork.read(tmp_path)


def test_reading_an_export_imports_no_onnx_and_no_runtime(tmp_path):
    network = load_text(tmp_path, BRANCHES, (1, 3, 9, 9))
    export(network, choose_groups(network), tmp_path)
    code = (
        "import sys; from multidnn.networks.exported import ExportedNetwork; "
        f"ExportedNetwork.read({str(tmp_path)!r}); "
        "sys.exit(any(name in sys.modules for name in ('onnx', 'onnxruntime', 'openvino', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_describe_holds_what_the_format_says(tmp_path):
    network = load_text(tmp_path, BRANCHES, (1, 3, 9, 9))
    found = describe(network, [(0, 7), (8, 8)])
    assert found["format"] == 1
    assert found["inputs"] == {"data": [1, 3, 9, 9]}
    assert found["outputs"] == {"early": [1, 32, 4, 4], "prob": [1, 50]}
    assert [layer["type"] for layer in found["layers"]] == [
        "Conv", "Relu", "MaxPool", "Conv", "Add", "Softmax", "Flatten", "Gemm", "Softmax",
    ]  # fmt: skip
    # "early" is an output: from there on two tensors are alive
    assert found["cuts"] == [1, 2, 3, 5]
    assert found["groups"] == [[0, 7], [8, 8]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["describe", "missing.prototxt"], "no such file"),
        (["describe", "net.prototxt", "--groups", "0"], "found 0 groups"),
        (["convert", "net.prototxt", "--out", "x.txt"], "the output is an .onnx file"),
        (["convert", "net.prototxt", "--out", "net.prototxt/x.onnx"], "cannot be written"),
    ],
)
def test_mistakes_on_the_command_line_end_in_one_line(tmp_path, arguments, expected):
    prototxt(tmp_path, BRANCHES, (1, 3, 9, 9))
    command = [sys.executable, "-m", "multidnn.networks", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["net.prototxt"]
