"""Plans of a run request."""

from typing import Any

import pytest

from multidnn.targets.jetson.board.engines import EngineFile
from multidnn.targets.jetson.board.errors import BoardError
from multidnn.targets.jetson.board.fields import Fields
from multidnn.targets.jetson.board.plans import read_plans

ENGINES = {"a": EngineFile("a.engine", "gpu"), "b": EngineFile("b.engine", "dla0")}


def step(engine: str, waits: list[int], signals: list[int], segment: int = 0) -> dict[str, Any]:
    return {"segment": segment, "instance": "net", "engine": engine, "waits": waits, "signals": signals}


def request(plan: dict[str, Any], events: int = 1) -> Fields:
    return Fields({"events": events, "tensors": {"net": {}}, "plans": {"naive": plan}}, "request")


def test_partners_are_named() -> None:
    plans = read_plans(request({"gpu": [step("a", [], [0])], "dla0": [step("b", [0], [], 1)]}), ENGINES)
    assert plans["naive"]["dla0"][0].waits == ((0, "worker 'gpu' (segment 0 of net)"),)
    assert plans["naive"]["gpu"][0].signals == (0,)


def test_idle_workers_are_left_out() -> None:
    assert list(read_plans(request({"gpu": [step("a", [], [])], "dla0": []}), ENGINES)["naive"]) == ["gpu"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"gpu": [step("a", [0], [])]}, "event 0 is not waited for as often as it is signalled"),
        ({"gpu": [step("a", [], [0])]}, "event 0 is not waited for as often as it is signalled"),
        ({"gpu": [step("a", [], [3])], "dla0": [step("b", [3], [])]}, "has event 3; events allows 0 to 0"),
        ({"gpu": [step("b", [], [])]}, "engine 'b' belongs to worker 'dla0', not 'gpu'"),
        ({"gpu": [step("c", [], [])]}, "'engine' is 'c'; allowed: a, b"),
    ],
)
def test_plans_that_do_not_work_out(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(BoardError, match=message):
        read_plans(request(plan), ENGINES)
