"""Building engines: devices, marked outputs, precision, calibration, what the DLA refuses, what is reused."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import VERSIONS, Board

DLA = {"start": "dla", "transition": None}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_builds_on_both_devices(make_board: Callable[..., Board], version: str) -> None:
    board = make_board(version)
    answer = board.call(
        "build",
        {
            "builds": [
                board.build("alpha", "whole.onnx", "gpu"),
                board.build("alpha", "whole.onnx", "dla", devices=DLA, dla_core=1),
                board.build(
                    "alpha", "whole.onnx", "moves", devices={"start": "gpu", "transition": 2}, mark=2, dla_core=0
                ),
            ]
        },
    )
    gpu, dla, moves = answer["builds"]
    assert {one["tensorrt"] for one in answer["builds"]} == {version}
    assert gpu["placement"]["dla"] == []
    assert gpu["loadables"] == 0
    assert set(gpu["requested"].values()) == {"gpu"}
    assert dla["loadables"] == len(dla["placement"]["dla"]) == 1
    assert dla["requested"] == dict.fromkeys(dla["requested"], "dla") | {"prob": "gpu"}
    assert moves["placement"]["dla"] == ["{ForeignNode[conv2...fc]}"]
    assert moves["io"]["inputs"] == {"data": [1, 3, 24, 24]}
    # relu1's output, which is alive before layer 2
    assert moves["io"]["outputs"] == {"prob": [1, 40], "conv1": [1, 16, 24, 24]}
    for one in answer["builds"]:
        assert one["engine_bytes"] == Path(one["engine"]).stat().st_size
        assert one["absent"] == []
        assert one["refused"] == {}
        assert (
            json.loads(Path(one["engine"]).with_suffix(".json").read_text())["request_sha256"] == one["request_sha256"]
        )
        assert one["layer_info"]["Layers"]


def test_devices_by_name(board: Board) -> None:
    devices = {"default": "gpu", "layers": {"conv2": "dla", "relu2": "dla"}}
    (built,) = board.call("build", {"builds": [board.build("alpha", "whole.onnx", "e", devices=devices)]})["builds"]
    assert built["placement"]["dla"] == ["{ForeignNode[conv2...relu2]}"]


def test_what_the_dla_refuses_is_an_error(board: Board) -> None:
    entry = board.build("alpha", "whole.onnx", "e", devices=DLA, gpu_only=[])
    error = board.fails("build", {"builds": [entry]})
    assert "1 layers should be on the DLA and are not: 'prob': " in error
    assert "softmax" in error.lower()
    assert not board.engine("e").exists()


def test_falling_back_is_recorded_where_allowed(board: Board) -> None:
    entry = board.build("alpha", "whole.onnx", "e", devices=DLA, gpu_only=[], allow_fallback=True)
    (built,) = board.call("build", {"builds": [entry]})["builds"]
    assert list(built["refused"]) == ["prob"]
    assert built["requested"]["prob"] == "dla"
    assert any("prob" in name for name in built["placement"]["gpu"])


def test_reuse(board: Board) -> None:
    entry = board.build("alpha", "whole.onnx", "e", devices=DLA)
    first = board.call("build", {"builds": [entry]})["builds"][0]
    again = board.call("build", {"builds": [entry]})["builds"][0]
    assert (first["reused"], again["reused"]) == (False, True)
    assert {**again, "reused": False} == first
    # other layers, other weights, a damaged engine: built again
    other = board.call("build", {"builds": [entry | {"devices": {"start": "dla", "transition": 4}}]})["builds"][0]
    assert not other["reused"]
    weights = board.networks["alpha"] / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(bytes(content))
    assert not board.call("build", {"builds": [entry]})["builds"][0]["reused"]
    assert board.call("build", {"builds": [entry]})["builds"][0]["reused"]
    board.engine("e").write_bytes(board.engine("e").read_bytes()[:-1])
    assert not board.call("build", {"builds": [entry]})["builds"][0]["reused"]


def test_timing_cache_is_kept(board: Board) -> None:
    cache = board.directory / "timing.cache"
    entry = board.build("alpha", "whole.onnx", "e", timing_cache=str(cache))
    board.call("build", {"builds": [entry]})
    assert cache.stat().st_size > 0
    # of another board or version: not used, and replaced
    cache.write_bytes(b"something else")
    board.call("build", {"builds": [entry | {"engine": str(board.engine("other"))}]})
    assert cache.read_bytes() != b"something else"


@pytest.mark.parametrize("version", ["8.5.2", "10.3.0"])
def test_calibration(make_board: Callable[..., Board], version: str) -> None:
    board = make_board(version)
    entry = board.build("alpha", "whole.onnx", "e", devices=DLA, precision="int8")
    assert "int8 needs calibration data" in board.fails("build", {"builds": [entry]})
    random = entry | {"calibration": {"random_seed": 1, "samples": 4}}
    (built,) = board.call("build", {"builds": [random]})["builds"]
    assert built["calibration"] == "random"
    assert len(list(board.engine("e").parent.glob("calibration-*.table"))) == 1
    data = board.directory / "data.npz"
    np.savez(data, data=np.zeros((3, 3, 24, 24), dtype=np.float32))
    (built,) = board.call("build", {"builds": [entry | {"calibration": {"data": str(data)}}]})["builds"]
    assert built["calibration"] == "data"
    np.savez(data, data=np.zeros((3, 3, 20, 24), dtype=np.float32))
    error = board.fails("build", {"builds": [entry | {"calibration": {"data": str(data)}}]})
    assert "'data' has shape (3, 3, 20, 24); needed: at least 1 samples of (3, 24, 24)" in error
    np.savez(data, image=np.zeros((3, 3, 24, 24), dtype=np.float32))
    assert "lacks the input 'data'; it has image" in board.fails(
        "build", {"builds": [entry | {"calibration": {"data": str(data)}}]}
    )


def test_strongly_typed_int8_and_fp16(make_board: Callable[..., Board]) -> None:
    board = make_board("11.4.1")
    entry = board.build("alpha", "whole.onnx", "e", devices=DLA, precision="int8")
    assert "QuantizeLinear" in board.fails("build", {"builds": [entry]})
    calibrated = entry | {"calibration": {"random_seed": 1}}
    assert "TensorRT 11.4.1 cannot calibrate" in board.fails("build", {"builds": [calibrated]})


def test_strongly_typed_needs_an_fp16_model(make_board: Callable[..., Board], board_models: dict[str, Path]) -> None:
    board = make_board("11.4.1")
    board.networks["alpha"] = board_models["fp32"] / "alpha"
    error = board.fails("build", {"builds": [board.build("alpha", "whole.onnx", "e", devices=DLA)]})
    assert "takes the precision from the model" in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "fp32", "devices": DLA}, "asks for the DLA in fp32"),
        ({"devices": DLA, "dla_core": 2}, r"asks for the DLA \(core 2\), but this board has 2 DLA cores"),
        ({"devices": {"start": "gpu", "transition": 9}}, "transition 9 is no cut"),
        ({"mark": 7}, "mark 7 is no cut"),
        ({"layers": ["a", "b"]}, "none of the 2 layer names given is in the model"),
        ({"precision": "fp8"}, "allowed: fp32, fp16, int8"),
        ({"model": "/no/such.onnx"}, "the model /no/such.onnx does not exist"),
    ],
)
def test_bad_requests(board: Board, changes: dict[str, object], message: str) -> None:
    assert re.search(message, board.fails("build", {"builds": [board.build("alpha", "whole.onnx", "e") | changes]}))


def test_a_file_that_is_no_model(board: Board) -> None:
    bad = board.directory / "bad.onnx"
    bad.write_bytes(b"not a model")
    entry = board.build("alpha", "whole.onnx", "e") | {"model": str(bad)}
    assert f"TensorRT 8.5.2 cannot read {bad}" in board.fails("build", {"builds": [entry]})


def test_weights_that_are_missing(board: Board) -> None:
    (board.networks["alpha"] / "weights.bin").unlink()
    error = board.fails("build", {"builds": [board.build("alpha", "whole.onnx", "e")]})
    assert "whole.onnx" in error


def test_without_a_dla(make_board: Callable[..., Board]) -> None:
    board = make_board(board="orin-nano")
    error = board.fails("build", {"builds": [board.build("alpha", "whole.onnx", "e", devices=DLA)]})
    assert "this board has no DLA" in error


def test_unsupported_version(board: Board) -> None:
    code = "import board.api; board.api.VERSION = '10.8.0'; board.api.check_supported()"
    done = subprocess.run(
        [board.python, "-c", code], cwd=board.directory / "code", capture_output=True, text=True, check=False
    )
    assert "TensorRT 10.8.0 is not supported on a board; supported: 8.4 to 10.7, and 11.4 or later" in done.stderr


def test_for_a_person(board: Board) -> None:
    names = board.directory / "names.json"
    names.write_text(json.dumps(board.description("alpha")["whole"]["layers"]))
    arguments = ["--onnx", str(board.networks["alpha"] / "whole.onnx"), "--engine", str(board.engine("e"))]
    arguments += ["--layers", str(names), "--start", "gpu", "--transition", "2", "--mark", "2", "--gpu-only", "prob"]
    done = subprocess.run(
        [board.python, "-m", "board", "build", *arguments, "--answer", "answer.json"],
        cwd=board.directory / "code",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "dla: {ForeignNode[conv2...fc]}" in done.stdout
    assert board.engine("e").exists()
    answer = json.loads((board.directory / "code" / "answer.json").read_text())
    assert answer["builds"][0]["io"]["outputs"] == {"prob": [1, 40], "conv1": [1, 16, 24, 24]}


def test_facts(board: Board) -> None:
    facts = board.call("facts", {"directory": str(board.directory / "not" / "there" / "yet")})
    assert facts["tensorrt"] == "8.5.2"
    assert facts["dla_cores"] == 2
    assert facts["compute_capability"] == [8, 7]
    assert facts["host_register"] is True
    assert facts["disk_free_bytes"] > 0
    assert facts["memory_total_bytes"] > 0
