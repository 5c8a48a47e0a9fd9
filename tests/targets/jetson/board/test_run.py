"""Schedules executed on the stand-in board: turns, common starts, outputs, energy."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from conftest import VERSIONS, Board

DLA = {"start": "dla", "transition": None}
TICKER = [sys.executable, "-u", "-c", "import time\nwhile True: print('tick'); time.sleep(0.02)"]


def tensors(board: Board, network: str) -> dict[str, Any]:
    shapes: dict[str, Any] = {}
    for group in board.description(network)["groups"]:
        shapes |= group["inputs"] | group["outputs"]
    return shapes


def request(board: Board, **changes: Any) -> dict[str, Any]:
    """Two instances; `naive` gives each an accelerator, `split` sends alpha to the DLA in the middle and back."""
    builds = [
        board.build("alpha", "whole.onnx", "a-gpu"),
        board.segment("alpha", 0, 1, "a01-gpu"),
        board.segment("alpha", 2, 2, "a2-dla", devices=DLA, dla_core=0),
        board.segment("alpha", 3, 3, "a3-gpu"),
        board.build("beta", "whole.onnx", "b-dla", devices=DLA, dla_core=0),
        board.build("beta", "whole.onnx", "b-gpu"),
    ]
    board.call("build", {"builds": builds})
    names = {"a-gpu": "gpu", "a01-gpu": "gpu", "a2-dla": "dla0", "a3-gpu": "gpu", "b-dla": "dla0", "b-gpu": "gpu"}
    described = {instance: board.description(instance)["whole"] for instance in ("alpha", "beta")}

    def step(segment: int, instance: str, engine: str, waits: list[int], signals: list[int]) -> dict[str, Any]:
        return {"segment": segment, "instance": instance, "engine": engine, "waits": waits, "signals": signals}

    content = {
        "workers": {"gpu": {"dla_core": None, "cpu": None}, "dla0": {"dla_core": 0, "cpu": None}},
        "engines": {key: {"path": str(board.engine(key)), "worker": worker} for key, worker in names.items()},
        "tensors": {instance: tensors(board, instance) for instance in described},
        "inputs": {instance: list(whole["inputs"]) for instance, whole in described.items()},
        "outputs": {instance: list(whole["outputs"]) for instance, whole in described.items()},
        "events": 2,
        "plans": {
            "naive": {"gpu": [step(0, "alpha", "a-gpu", [], [])], "dla0": [step(0, "beta", "b-dla", [], [])]},
            "serial": {"gpu": [step(0, "alpha", "a-gpu", [], []), step(0, "beta", "b-gpu", [], [])], "dla0": []},
            "split": {
                "gpu": [step(0, "alpha", "a01-gpu", [], [0]), step(2, "alpha", "a3-gpu", [1], [])],
                "dla0": [step(0, "beta", "b-dla", [], []), step(1, "alpha", "a2-dla", [0], [1])],
            },
        },
        "reference": {"alpha": ["a-gpu"], "beta": ["b-gpu"]},
        "options": {"warmup": 1, "min_iterations": 4, "max_iterations": 5, "budget_s": 0.0, "seed": 7},
        "energy": None,
        "timeout_s": 20,
    }
    return content | changes


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_runs(make_board: Callable[..., Board], version: str) -> None:
    board = make_board(version)
    answer = board.call("run", request(board))
    iterations = answer["iterations"]
    assert sorted({one["scheduler"] for one in iterations}) == ["naive", "serial", "split"]
    # interleaved: each round has every scheduler once, in an order of its own
    rounds = [[one["scheduler"] for one in iterations if one["index"] == i] for i in range(4)]
    assert all(sorted(one) == ["naive", "serial", "split"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    for one in iterations:
        firsts = [steps[0][1] for steps in one["steps"].values()]
        assert min(firsts) >= one["start_ns"]
        assert one["skew_ns"] >= 0
        for steps in one["steps"].values():
            for _, waiting, start, end, signalled in steps:
                assert waiting <= start < end <= signalled
        if one["scheduler"] == "split":
            first, last = one["steps"]["gpu"]
            _, middle = one["steps"]["dla0"]
            assert first[3] <= middle[2]
            assert middle[3] <= last[2]
        if one["scheduler"] == "serial":
            assert list(one["steps"]) == ["gpu"]
    for instance in ("alpha", "beta"):
        found = answer["outputs"][instance]
        assert not found["nan"]
        assert sorted(found["by_scheduler"]) == ["naive", "serial", "split"]
        assert found["max_abs_err"] <= 1e-3 * found["scale"]
        assert found["scale"] > 0
    assert answer["transfer"] == "mapped"
    assert answer["engine_loads"] == 6
    assert answer["start_delay_ns"] > 0
    assert answer["energy"] == {}
    assert answer["sampler_lines"] == []


def test_a_plan_that_leaves_a_step_out_is_seen(board: Board) -> None:
    content = request(board)
    # alpha's last segment never runs: its output stays NaN
    content["plans"] = {"split": content["plans"]["split"]}
    content["plans"]["split"]["gpu"].pop()
    content["plans"]["split"]["dla0"][1]["signals"] = []
    answer = board.call("run", content)
    assert answer["outputs"]["alpha"]["nan"] is True
    assert answer["outputs"]["beta"]["nan"] is False


def test_energy(board: Board) -> None:
    answer = board.call("run", request(board, energy={"seconds": 0.3, "sampler": {"command": TICKER}}))
    assert list(answer["energy"]) == ["naive", "serial", "split"]
    for one in answer["energy"].values():
        assert one["end_ns"] - one["begin_ns"] >= 0.3e9
        assert one["iterations"] > 1
        assert any(one["begin_ns"] <= stamp <= one["end_ns"] for stamp, _ in answer["sampler_lines"])


def test_one_worker_per_instance_with_mixed_engines(board: Board) -> None:
    """The paper's way: engines that change devices inside, no events, only starts aligned."""
    content = request(board)
    builds = [
        board.build("alpha", "whole.onnx", "a-mixed", devices={"start": "gpu", "transition": 2}, dla_core=0),
        board.build("beta", "whole.onnx", "b-mixed", devices={"start": "dla", "transition": 2}, dla_core=0),
    ]
    board.call("build", {"builds": builds})
    step = {"segment": 0, "waits": [], "signals": []}
    content |= {
        "workers": {"alpha": {"dla_core": 0, "cpu": None}, "beta": {"dla_core": 0, "cpu": None}},
        "engines": {
            "a": {"path": str(board.engine("a-mixed")), "worker": "alpha"},
            "b": {"path": str(board.engine("b-mixed")), "worker": "beta"},
        },
        "events": 0,
        "plans": {
            "paper": {
                "alpha": [step | {"instance": "alpha", "engine": "a"}],
                "beta": [step | {"instance": "beta", "engine": "b"}],
            }
        },
        "reference": {"alpha": ["a"], "beta": ["b"]},
    }
    answer = board.call("run", content)
    assert answer["outputs"]["alpha"]["max_abs_err"] == 0
    assert len(answer["iterations"]) == 4


def test_engines_come_and_go_between_iterations(board: Board) -> None:
    """Two schedules that together need more loadables than a core holds."""
    content = request(board)
    keys = [f"b{i}" for i in range(20)]
    board.call("build", {"builds": [board.build("beta", "whole.onnx", key, devices=DLA, dla_core=0) for key in keys]})
    content["engines"] = {key: {"path": str(board.engine(key)), "worker": "dla0"} for key in keys} | {
        "a-gpu": content["engines"]["a-gpu"]
    }
    step = {"segment": 0, "instance": "beta", "waits": [], "signals": []}
    content["plans"] = {
        "first": {"dla0": [step | {"engine": key} for key in keys[:10]]},
        "second": {"dla0": [step | {"engine": key} for key in keys[10:]]},
    }
    for plan in content["plans"].values():
        plan["gpu"] = [{"segment": 0, "instance": "alpha", "engine": "a-gpu", "waits": [], "signals": []}]
    content["reference"] = {"alpha": ["a-gpu"], "beta": ["b0"]}
    answer = board.call("run", content)
    assert answer["engine_loads"] > 21
    assert answer["outputs"]["beta"]["max_abs_err"] == 0


def test_pinned_to_a_core(board: Board) -> None:
    content = request(board)
    content["workers"]["gpu"]["cpu"] = 0
    assert board.call("run", content)["iterations"]
    content["workers"]["gpu"]["cpu"] = 4096
    assert "worker 'gpu': it cannot be pinned to core 4096" in board.fails("run", content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["tensors"]["alpha"].pop("prob"), "tensors has no 'prob' of instance 'alpha'"),
        (lambda c: c["tensors"]["alpha"].update(pool=[1, 2]), "tensors of 'alpha' says [1, 2]"),
        (lambda c: c["engines"]["a-gpu"].update(path="/no/such.engine"), "engine /no/such.engine does not exist"),
        (lambda c: c["reference"].pop("beta"), "reference lacks instance 'beta'"),
        (lambda c: c["workers"]["dla0"].update(dla_core=7), "dla0"),
        (lambda c: c["options"].pop("seed"), "options lacks 'seed'"),
    ],
)
def test_bad_requests(board: Board, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    content = request(board)
    change(content)
    assert message in board.fails("run", content)


def test_a_damaged_engine(board: Board) -> None:
    content = request(board)
    board.engine("b-dla").write_bytes(b"not an engine")
    assert "cannot load engine" in board.fails("run", content)
