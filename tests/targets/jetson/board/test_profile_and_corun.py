"""Layer times, and engines beside others."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import VERSIONS, Board

DLA = {"start": "dla", "transition": None}
WORKERS = {"gpu": {"dla_core": None}, "dla0": {"dla_core": 0}}
TICKER = [sys.executable, "-u", "-c", "import time\nwhile True: print('tick'); time.sleep(0.02)"]


@pytest.mark.parametrize("version", VERSIONS)
def test_profile(make_board: Callable[..., Board], version: str) -> None:
    board = make_board(version)
    changes = {"devices": {"start": "gpu", "transition": 2}, "mark": 2, "dla_core": 1}
    board.call("build", {"builds": [board.build("alpha", "whole.onnx", "e", **changes)]})
    request = {"engine": str(board.engine("e")), "dla_core": 1, "warmup": 2, "iterations": 7}
    (found,) = board.call("profile", {"profiles": [request]})["profiles"]
    assert len(found["latency_ms"]) == 7
    assert found["profile"][0] == {"count": 7}
    names = [entry["name"] for entry in found["profile"][1:]]
    assert "{ForeignNode[conv2...fc]}" in names
    for entry in found["profile"][1:]:
        samples = found["layer_samples_ms"][entry["name"]]
        assert len(samples) == 7
        assert entry["timeMs"] == pytest.approx(sum(samples))
        assert entry["averageMs"] == pytest.approx(sum(samples) / 7)
    assert sum(entry["percentage"] for entry in found["profile"][1:]) == pytest.approx(100)


def engines(board: Board) -> dict[str, Any]:
    builds = [
        board.build("alpha", "whole.onnx", "alpha-gpu"),
        board.build("beta", "whole.onnx", "beta-dla", devices=DLA, dla_core=0),
    ]
    board.call("build", {"builds": builds})
    return {
        "a": {"path": str(board.engine("alpha-gpu")), "worker": "gpu"},
        "b": {"path": str(board.engine("beta-dla")), "worker": "dla0"},
    }


def corun(board: Board, measurements: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    request = {
        "workers": WORKERS,
        "engines": engines(board),
        "measurements": measurements,
        "resident": 8,
        "sampler": {"command": TICKER},
        "timeout_s": 30,
    }
    return request | changes


def test_victim_and_load(board: Board) -> None:
    measurements = [
        {"name": "alone", "victim": {"engine": "a", "repeats": 3}, "loads": [], "samples": 5, "warmup": 1},
        {
            "name": "beside",
            "victim": {"engine": "a", "repeats": 1},
            "loads": [{"engine": "b", "duty": 1.0}],
            "samples": 6,
            "warmup": 1,
        },
        {
            "name": "load",
            "victim": None,
            "loads": [{"engine": "b", "duty": 0.5}],
            "samples": 0,
            "warmup": 0,
            "seconds": 0.3,
        },
    ]
    answer = board.call("corun", corun(board, measurements))
    alone, beside, load = answer["measurements"]
    assert [one["name"] for one in answer["measurements"]] == ["alone", "beside", "load"]
    assert len(alone["victim_ms"]) == 5
    assert len(beside["victim_ms"]) == 6
    assert alone["loads"] == []
    assert beside["loads"][0]["engine"] == "b"
    assert beside["loads"][0]["rounds"] > 0
    assert load["victim_ms"] == []
    assert load["end_ns"] - load["begin_ns"] >= 0.3e9
    assert load["loads"][0]["seconds"] >= 0.3
    assert answer["engine_loads"] == 2
    stamps = [stamp for stamp, _ in answer["sampler_lines"]]
    assert any(load["begin_ns"] <= stamp <= load["end_ns"] for stamp in stamps)
    assert {line for _, line in answer["sampler_lines"]} == {"tick"}


@pytest.mark.parametrize(
    ("measurement", "message"),
    [
        ({"victim": {"engine": "a"}, "loads": [{"engine": "a"}], "samples": 1}, "runs one engine at a time"),
        ({"victim": None, "loads": []}, "has no victim, so it needs loads"),
        ({"victim": {"engine": "c"}, "loads": [], "samples": 1}, "'engine' is 'c'; allowed: a, b"),
        ({"victim": None, "loads": [{"engine": "a", "duty": 0.0}], "seconds": 1}, "duty 0 of a load must be above 0"),
    ],
)
def test_bad_measurements(board: Board, measurement: dict[str, Any], message: str) -> None:
    assert message in board.fails("corun", corun(board, [{"name": "x"} | measurement]))


def test_a_sampler_that_fails(board: Board) -> None:
    measurements = [{"name": "x", "victim": {"engine": "a"}, "loads": [], "samples": 1}]
    request = corun(board, measurements, sampler={"command": ["no-such-sampler"]})
    assert "the sampler no-such-sampler cannot be started" in board.fails("corun", request)


def test_more_loadables_than_a_core_holds_at_once(board: Board) -> None:
    keys = [f"e{i}" for i in range(18)]
    board.call("build", {"builds": [board.build("beta", "whole.onnx", key, devices=DLA, dla_core=0) for key in keys]})
    request = {
        "workers": WORKERS,
        "engines": {key: {"path": str(board.engine(key)), "worker": "dla0"} for key in keys},
        "measurements": [
            {"name": key, "victim": {"engine": key}, "loads": [], "samples": 1} for key in [*keys, "e17", "e0"]
        ],
        "resident": 18,
        "sampler": None,
        "timeout_s": 30,
    }
    answer = board.call("corun", request)
    assert len(answer["measurements"]) == 20
    # e17 is still there, e0 had to go
    assert answer["engine_loads"] == 19


@pytest.mark.parametrize("version", ["8.5.2", "10.3.0"])
def test_a_worker_holds_no_more_engines_than_asked(
    make_board: Callable[..., Board], tmp_path: Path, version: str
) -> None:
    board = make_board(version, state=str(tmp_path / "state"))
    keys = [f"g{i}" for i in range(5)]
    builds = [board.build("alpha", "whole.onnx", key) for key in keys]
    board.call("build", {"builds": [*builds, board.build("beta", "whole.onnx", "d", devices=DLA, dla_core=0)]})
    order = ["g0", "g1", "g2", "g3", "g4", "g4", "g0"]
    measurements = [
        {"name": key, "victim": {"engine": key}, "loads": [{"engine": "d"}], "samples": 1, "warmup": 0} for key in order
    ]
    for resident, loads in ((1, 7), (2, 7), (5, 6)):
        counted = tmp_path / "state" / "engines.json"
        request = corun(board, measurements, sampler=None, resident=resident)
        request["engines"] = {key: {"path": str(board.engine(key)), "worker": "gpu"} for key in keys}
        request["engines"]["d"] = {"path": str(board.engine("d")), "worker": "dla0"}
        # what building opened does not count
        counted.unlink()
        answer = board.call("corun", request)
        # what is measured, and in which order, does not depend on it
        assert [one["name"] for one in answer["measurements"]] == order
        assert answer["engine_loads"] == loads
        # the stand-in's own count: of the GPU's worker and of the DLA's
        assert sorted(most for _, most in json.loads(counted.read_text()).values()) == [1, resident]


def test_a_worker_holds_at_least_one_engine(board: Board) -> None:
    request = corun(board, [{"name": "x", "victim": {"engine": "a"}, "loads": [], "samples": 1}], resident=0)
    assert "resident is 0, expected at least 1 engine per worker" in board.fails("corun", request)
