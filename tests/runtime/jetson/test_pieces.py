"""From a schedule to the engines and workers of a board."""

from pathlib import Path

import pytest

from multidnn.errors import InputError
from multidnn.networks.board_network import BoardNetwork
from multidnn.runtime.jetson.pieces import mixed_piece, mixed_plan, segment_piece, workers_of
from multidnn.runtime.plan import RunSegment
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from tests.measure.jetson.boards import write_network

LOAD = Workload.from_dict(
    {"name": "load", "instances": [{"name": "a", "network": "net"}, {"name": "b", "network": "net", "after": ["a"]}]},
    "a test",
)


@pytest.fixture
def network(tmp_path: Path) -> BoardNetwork:
    return BoardNetwork.read(write_network(tmp_path / "net", "net", 4))


def schedule(a: list[str], b: list[str]) -> Schedule:
    placement = {"a": a, "b": b}
    return Schedule("load", "t", "haxconn", "latency", 2, "feasible", 1.0, None, {"makespan_ms": 1.0}, placement, {})


@pytest.mark.parametrize(
    ("first", "last", "accelerator", "name", "model", "joined"),
    [
        (0, 3, "gpu", "segment_00_03_gpu", "whole.onnx", None),
        (2, 2, "dla1", "segment_02_02_dla", "group_02.onnx", None),
        (1, 2, "dla0", "segment_01_02_dla", "segment_01_02.onnx", (1, 2)),
    ],
)
def test_engine_of_a_segment(
    network: BoardNetwork,
    first: int,
    last: int,
    accelerator: str,
    name: str,
    model: str,
    joined: tuple[int, int] | None,
) -> None:
    piece = segment_piece(RunSegment("a", first, last, accelerator, accelerator), network)
    assert (piece.wanted.name, piece.wanted.model, piece.segment_model) == (name, model, joined)
    assert piece.wanted.layers == tuple(f"net_{layer}" for layer in range(2 * first, 2 * last + 2))
    # what the schedule puts on a DLA must be there
    assert not piece.wanted.allow_fallback
    assert piece.wanted.uses_dla == (accelerator != "gpu")


def test_both_cores_of_a_dla_share_engines(network: BoardNetwork) -> None:
    pieces = [segment_piece(RunSegment("a", 1, 2, name, name), network).key for name in ("dla0", "dla1", "gpu")]
    assert pieces[0] == pieces[1] != pieces[2]


def test_mode_paper_is_one_mixed_engine_per_instance(network: BoardNetwork) -> None:
    placed = schedule(["gpu", "gpu", "dla1", "gpu"], ["gpu"] * 4)
    plan = mixed_plan(placed, LOAD, {"a": network, "b": network})
    assert [(s.instance, s.accelerator, s.worker) for s in plan.segments] == [("a", "gpu+dla1", "a"), ("b", "gpu", "b")]
    # what one instance waits for holds in this mode too; turns do not
    assert plan.before == {0: [], 1: [0]}
    assert workers_of("paper", plan) == {"a": 1, "b": None}
    wanted = mixed_piece(placed, plan.segments[0], network).wanted
    assert wanted.model == "whole.onnx"
    assert wanted.devices["layers"] == {f"net_{i}": "dla" if i in (4, 5) else "gpu" for i in range(8)}


def test_mode_paper_takes_one_dla_core_per_instance(network: BoardNetwork) -> None:
    with pytest.raises(InputError, match=r"instance 'a' uses dla0 and dla1; in mode paper it is one engine"):
        mixed_plan(schedule(["dla0", "gpu", "dla1", "gpu"], ["gpu"] * 4), LOAD, {"a": network, "b": network})
