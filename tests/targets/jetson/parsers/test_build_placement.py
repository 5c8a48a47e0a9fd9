"""Placement from build logs of every generation, and from the inspector."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from multidnn.errors import InputError
from multidnn.targets.jetson.board import placement
from multidnn.targets.jetson.board.placement import parse_placement, placement_from_layer_info
from multidnn.targets.jetson.parsers import build_log, layer_info
from multidnn.targets.jetson.parsers.build_log import DlaBlock
from tests.targets.jetson.parsers.helpers import SAMPLES, recorded


def test_7_1() -> None:
    found = build_log.read(SAMPLES / "build-7.1.log")
    assert found.dla == (
        DlaBlock("{conv1,relu1,pool1,fc 2}", ("conv1", "relu1", "pool1", "fc 2")),
        DlaBlock("{conv9}", ("conv9",)),
    )
    assert found.gpu == ("conv8 + relu8", "a || b", "prob")
    assert found.fallback == ("prob", "(Unnamed Layer* 275) [Gather]")
    assert (found.unread, found.errors) == ((), ())


def test_8_6() -> None:
    found = build_log.read(SAMPLES / "build-8.6.log")
    assert found.dla == (
        DlaBlock("{ForeignNode[/conv1/Conv.../relu9/Relu]}", None),
        DlaBlock("{ForeignNode[/fc/Gemm]}", ("/fc/Gemm",)),
    )
    assert found.gpu == ("/avgpool/GlobalAveragePool", "PWN(PWN(a, b), c)")
    assert found.fallback == ("/avgpool/GlobalAveragePool", "(Unnamed Layer* 277) [Shuffle]")


def test_the_python_loggers_lines() -> None:
    found = build_log.read(SAMPLES / "build-python-10.3.log")
    assert [block.name for block in found.dla] == ["{ForeignNode[/model.0/conv/Conv.../model.21/cv2/conv/Conv]}"]
    assert (found.gpu, found.fallback) == (("/model.22/Slice_1",), ("/model.22/Slice_1",))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # the older header with the newer lines, each ending with a comma, and an empty list
        (
            ["[I] [TRT] --------------- Layers running on DLA:", "[I] [TRT] [DlaLayer] {ForeignNode[a]},",
             "[I] [TRT] --------------- Layers running on GPU:", "[I] [TRT] "],
            {"dla": ["{ForeignNode[a]}"], "dla_layers": [["a"]]},
        ),
        (
            ["INFO: [TRT]: --------------- Layers running on DLA: ", "INFO: [TRT]: ",
             "INFO: [TRT]: --------------- Layers running on GPU: ", "INFO: [TRT]: conv1 + act/Relu, cov, PWN(a, b), ", "INFO: [TRT]: Detected x, "],
            {"gpu": ["conv1 + act/Relu", "cov", "PWN(a, b)"]},
        ),
        (["[TensorRT] WARNING: Default DLA is enabled but layer LSTM encoder is not supported on DLA, falling back to GPU."],
         {"fallback": ["LSTM encoder"]}),
        (["[W] [TRT] Validation failed for DLA layer: conv1. Switching to GPU fallback."], {"fallback": ["conv1"]}),
        (["[W] [TRT] Internal DLA error for layer conv 2. Switching to GPU fallback."], {"fallback": ["conv 2"]}),
        (["[W] [TRT] Layer 'x' is not supported on DLA, falling back to GPU"], {"fallback": ["x"]}),
        (["[W] [TRT] Something new about X; Switching device type to GPU."], {"unread": ["Something new about X; Switching device type to GPU."]}),
        # without a type, as in 8.0
        (["[I] [TRT] [GpuLayer] conv1 + relu1", "[I] [TRT] [GpuLayer] conv1 + relu1"], {"gpu": ["conv1 + relu1"]}),
        (["nothing", "&&&& PASSED TensorRT.trtexec # x"], {}),
    ],
)  # fmt: skip
def test_wordings(lines: list[str], expected: dict[str, object]) -> None:
    empty: dict[str, object] = {"dla": [], "dla_layers": [], "gpu": [], "fallback": [], "unread": []}
    assert parse_placement(lines) == empty | expected


def test_the_inspector_says_which_foreign_node_is_on_the_dla() -> None:
    info = json.loads((SAMPLES / "layer-info-8.6.json").read_text())
    assert placement_from_layer_info(info) == {
        "dla": ["{ForeignNode[conv1...fc]}"],
        "dla_layers": [None],
        "gpu": [
            "Reformatting CopyNode for Input Tensor 0 to {ForeignNode[conv1...fc]}",
            "{ForeignNode[softmax.../Mul]}",
        ],
        "fallback": [],
        "unread": [],
    }
    for wrong, why in [
        ({}, "no 'Layers'"),
        ({"Layers": ["a"]}, "names only"),
        ({"Layers": [{"Name": "a"}]}, "LayerType"),
    ]:
        with pytest.raises(ValueError, match=why):
            placement_from_layer_info(wrong)


@pytest.mark.parametrize(
    ("name", "keep", "expected"),
    [
        ("build-8.6.log", 6, r":6: the log ends without trtexec's line PASSED or FAILED"),
        ("build-python-10.3.log", 3, r":3: the log ends without the layers running on the GPU"),
        ("trtexec-8.2.log", None, r":13: found no line about placement"),
    ],
)
def test_truncated_and_other_logs(name: str, keep: int | None, expected: str) -> None:
    text = "\n".join((SAMPLES / name).read_text().split("\n")[:keep])
    with pytest.raises(InputError) as caught:
        build_log.parse(text, name)
    assert re.search(expected, str(caught.value)), caught.value


def test_a_failed_build_keeps_its_errors() -> None:
    found = build_log.read(SAMPLES / "trtexec-failed.log")
    assert found.dla == ()
    assert "layer prob is not supported on DLA" in found.errors[0]


def test_placement_needs_nothing_but_python_3_8() -> None:
    versions = Path.home() / ".pyenv" / "versions"
    found = sorted(versions.glob("3.8.*/bin/python3")) if versions.is_dir() else []
    old = str(found[0]) if found else shutil.which("python3.8")
    works = old and subprocess.run([old, "-c", "0"], capture_output=True, check=False).returncode == 0
    if not old or not works:
        pytest.skip("no Python 3.8 here")
    program = "import json, sys, placement; print(json.dumps(placement.parse_placement(sys.stdin)))"
    log = (SAMPLES / "build-8.6.log").read_text()
    done = subprocess.run(
        [old, "-c", program], input=log, cwd=Path(placement.__file__).parent, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == parse_placement(log.split("\n"))


def test_recorded_lines() -> None:
    found = build_log.read(recorded("trtexec-8.x/dla_build_lines.txt"))
    assert [block.name[:30] for block in found.dla] == [
        "{ForeignNode[Conv_0...Relu_7]}",
        "{ForeignNode[Gemm_15 + linear.",
    ]
    assert found.dla[0].layers is None
    assert found.dla[1].layers
    assert found.dla[1].layers[0] == "Gemm_15"
    assert found.gpu == ("GlobalAveragePool_8", "copied_squeeze_after_(Unnamed Layer* 20) [ElementWise]")


def test_layer_info() -> None:
    info = layer_info.read(SAMPLES / "layer-info-8.6.json")
    assert info.detailed
    assert [layer.type for layer in info.layers] == ["Reformat", "DLA", "Myelin"]
    assert info.layers[1].outputs[0] == layer_info.Tensor("fc", (1, 1000, 1, 1), "DLA linear FP16 format")
    assert info.bindings == ("data", "prob")
    assert layer_info.read(SAMPLES / "layer-info-11.json").bindings == ("data", "relu1")


def test_layer_names_only() -> None:
    info = layer_info.read(SAMPLES / "layer-names-8.2.json")
    assert not info.detailed
    assert [(layer.name, layer.type) for layer in info.layers] == [("conv1 + relu1", None), ("prob", None)]
    with pytest.raises(InputError, match=r"names only; build the engine with .*--profilingVerbosity=detailed"):
        info.require_detailed()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"Layers": [', r"x:1: not valid JSON .*truncated"),
        ('{"Layer": []}', r"x:1: found the keys 'Layer', expected an object with a list 'Layers'"),
        ("[1]", r"x:1: found list"),
        ('{"Layers": []}', r"x:1: the list 'Layers' is empty"),
        ('{"Layers": [{"Name": "a",\n "LayerType": "b"},\n {"Name": "c"}]}', r"x:3: layer 'c' has no 'LayerType'"),
        ('{"Layers": [\n 3]}', r"x:2: found 3, expected a layer's name"),
        ('{"Layers": [\n ""]}', r"x:2: found \"\", expected"),
        ('{"Layers": [{"Name": "a", "LayerType": "b", "Inputs": [3]}]}', r"x:1: 'Inputs' of layer 'a'"),
        ('{"Layers": ["a"], "Bindings": 3}', r"'Bindings' is a JSON int"),
    ],
)
def test_wrong_layer_info(text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        layer_info.parse(text, "x")
    assert re.search(expected, str(caught.value)), caught.value
