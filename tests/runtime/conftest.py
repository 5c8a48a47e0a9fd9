"""Workloads of the tiny networks, schedules made by hand or at random, and a lock of the tests' own."""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload

GroupCounts = Mapping[str, int]
Placement = dict[str, list[str]]
Order = dict[str, list[list[Any]]]


@pytest.fixture(scope="session", autouse=True)
def own_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests take their own lock, so that a measurement elsewhere on the machine does not stop them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("lock")))
        yield


@pytest.fixture(scope="session")
def trio() -> Workload:
    """Two networks at once, and a second alpha that starts after beta."""
    instances = [
        {"name": "alpha", "network": "alpha"},
        {"name": "beta", "network": "beta"},
        {"name": "last", "network": "alpha", "after": ["beta"]},
    ]
    return Workload.from_dict({"name": "trio", "instances": instances}, "trio")


def make_schedule(
    workload: Workload, scheduler: str, placement: Placement | None = None, order: Order | None = None
) -> Schedule:
    return Schedule(
        workload=workload.name,
        target="box",
        scheduler=scheduler,
        objective="latency",
        max_transitions=None,
        status="feasible",
        value=None,
        bound=None,
        predicted=None,
        placement=placement,
        order=order,
    )


@pytest.fixture(scope="session")
def schedule_of() -> Callable[..., Schedule]:
    """A schedule from workload, scheduler name, placement and order."""
    return make_schedule


def segments(placed: Sequence[str]) -> list[tuple[str, int, int]]:
    """The maximal runs of groups on one accelerator: (accelerator, first, last)."""
    result, first = [], 0
    for accelerator, run in groupby(placed):
        length = len(list(run))
        result.append((accelerator, first, first + length - 1))
        first += length
    return result


def random_schedule(workload: Workload, counts: GroupCounts, name: str, rng: random.Random) -> Schedule:
    """Any placement, and turns drawn one after another from what may run then, so that no order deadlocks."""
    placement = {i.name: [rng.choice(["ort", "ov"]) for _ in range(counts[i.network])] for i in workload.instances}
    left = {instance: segments(placed) for instance, placed in placement.items()}
    order: Order = {"ort": [], "ov": []}
    while any(left.values()):
        done = {instance for instance, rest in left.items() if not rest}
        ready = [i.name for i in workload.instances if left[i.name] and set(i.after) <= done]
        instance = rng.choice(ready)
        accelerator, first, last = left[instance].pop(0)
        order[accelerator].append([instance, first, last])
    return make_schedule(workload, name, placement, order)


@pytest.fixture(scope="session")
def random_schedules(trio: Workload) -> list[Schedule]:
    """Ten schedules of the trio; both directions of every kind of transition occur among them."""
    rng = random.Random(11)
    return [random_schedule(trio, {"alpha": 4, "beta": 3}, f"random{number}", rng) for number in range(10)]


@pytest.fixture(scope="session")
def zigzag(trio: Workload) -> Schedule:
    """Every instance changes the accelerator after each group, in both directions."""
    placement = {"alpha": ["ort", "ov", "ort", "ov"], "beta": ["ov", "ort", "ov"], "last": ["ov", "ort", "ov", "ort"]}
    order: Order = {
        "ort": [["alpha", 0, 0], ["beta", 1, 1], ["alpha", 2, 2], ["last", 1, 1], ["last", 3, 3]],
        "ov": [["beta", 0, 0], ["alpha", 1, 1], ["beta", 2, 2], ["alpha", 3, 3], ["last", 0, 0], ["last", 2, 2]],
    }
    return make_schedule(trio, "zigzag", placement, order)


@pytest.fixture(scope="session")
def serial(trio: Workload) -> Schedule:
    """Everything on ONNX Runtime, one instance after another."""
    placement = {"alpha": ["ort"] * 4, "beta": ["ort"] * 3, "last": ["ort"] * 4}
    return make_schedule(
        trio, "serial", placement, {"ort": [["alpha", 0, 3], ["beta", 0, 2], ["last", 0, 3]], "ov": []}
    )


@pytest.fixture(scope="session")
def chip_schedules(trio: Workload) -> list[Schedule]:
    """The chip used whole: one after another, and all at once."""
    return [make_schedule(trio, "whole"), make_schedule(trio, "streams")]


CHIP_RUNTIMES = {"alpha": "openvino", "beta": "onnxruntime"}


@pytest.fixture(scope="session")
def chip_runtimes() -> dict[str, str]:
    """Which runtime runs each network on the whole chip; both occur."""
    return dict(CHIP_RUNTIMES)


@pytest.fixture(scope="session")
def reference(tiny_networks: dict[str, Path]) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    """A network's outputs for given inputs, by ONNX Runtime on the whole model, in this process."""
    import onnxruntime

    sessions = {
        name: onnxruntime.InferenceSession(str(path / "models" / "whole.onnx"), providers=["CPUExecutionProvider"])
        for name, path in tiny_networks.items()
    }

    def run(network: str, inputs: dict[str, Any]) -> dict[str, Any]:
        names = [output.name for output in sessions[network].get_outputs()]
        return dict(zip(names, sessions[network].run(names, inputs), strict=True))

    return run


@pytest.fixture(scope="session")
def random_schedule_of(trio: Workload) -> Callable[[random.Random], Schedule]:
    """A random schedule of the trio."""
    return lambda rng: random_schedule(trio, {"alpha": 4, "beta": 3}, "random", rng)
