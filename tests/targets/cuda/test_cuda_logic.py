"""The parts of the cuda target that need neither a GPU nor PyTorch."""

import sys
from fractions import Fraction
from pathlib import Path

import pytest

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets import open_target
from multidnn.targets.base import Step
from multidnn.targets.cuda.counting import bytes_between_markers, parse
from multidnn.targets.cuda.groups import WHOLE, split_call
from multidnn.targets.cuda.model import Node
from multidnn.targets.cuda.partitions import divide
from multidnn.targets.cuda.plans import launch_order, taken_over
from multidnn.targets.cuda.spec import CudaSpec, Size
from multidnn.targets.cuda.target import CudaTarget
from multidnn.targets.cuda.windows import Window


@pytest.mark.parametrize(
    ("wanted", "counts", "rest", "unit", "granularity"),
    [
        ({"a": 32, "b": 100}, {"a": 32, "b": 100}, "b", 32, 8),
        ({"a": 64, "b": 68}, {"a": 64, "b": 68}, "b", 64, 8),
        ({"a": 68, "b": 64}, {"a": 68, "b": 64}, "a", 64, 8),
        ({"a": 44, "b": 88}, {"a": 44, "b": 88}, "a", 88, 8),
        ({"a": 40, "b": 48, "c": 44}, {"a": 40, "b": 48, "c": 44}, "c", 8, 8),
        ({"a": 64, "b": 64}, {"a": 64, "b": 64}, None, 64, 8),
        ({"a": 10, "b": 20}, {"a": 16, "b": 24}, None, 8, 8),
        ({"a": 132}, {"a": 132}, "a", 132, 8),
        ({"a": 32, "b": None}, {"a": 32, "b": 100}, "b", 32, 8),
        ({"a": None, "b": 30}, {"a": 100, "b": 32}, "a", 32, 8),
        ({"a": None}, {"a": 132}, "a", 132, 8),
        # large clusters: nothing is made of units of 8
        ({"a": 48, "b": 40, "c": None}, {"a": 48, "b": 48, "c": 36}, "c", 48, 16),
        ({"a": Fraction(1, 3), "b": Fraction(1, 3), "c": None}, {"a": 48, "b": 48, "c": 36}, "c", 48, 16),
        ({"a": 32, "b": None}, {"a": 32, "b": 100}, "b", 32, 16),
    ],
)
def test_division(
    wanted: dict[str, Size], counts: dict[str, int], rest: str | None, unit: int, granularity: int
) -> None:
    division = divide(wanted, 132, granularity)
    assert division.counts == counts
    assert division.rest == rest
    assert division.unit == unit
    assert list(division.groups) == list(wanted)
    assert all(division.groups[name] * unit == count for name, count in counts.items() if name != rest)


@pytest.mark.parametrize("wanted", [{"a": 100, "b": 40}, {"a": 128, "b": 8}, {"a": 133}, {"a": 125, "b": None}])
def test_partitions_that_do_not_fit(wanted: dict[str, int | None]) -> None:
    with pytest.raises(InputError, match="do not fit on 132 multiprocessors"):
        divide(wanted, 132, 8, "target 'x'")


def test_partitions_that_do_not_fit_in_larger_units() -> None:
    with pytest.raises(InputError, match=r"b: 48, c: 44 do not fit on 132 multiprocessors.* in units of 16"):
        divide({"a": 40, "b": 48, "c": 44}, 132, 16)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "there are no partitions"),
        ({"partitions": {"a": {"sms": 4}}}, "sms is 4, expected a whole number of at least 8"),
        ({"partitions": {"a": {"sms": 8, "precision": "int8"}}}, "precision is 'int8'"),
        ({"partitions": {str(i): {"sms": 8} for i in range(5)}}, "5 partitions"),
        ({"partitions": {"a": {"sms": 8}}, "batch": 0}, "batch is 0"),
        ({"partitions": {"a": {"sms": 8}}, "demand": "guess"}, "demand is 'guess', expected one of graph, counters"),
        ({"partitions": {"a": {"sms": "rest"}, "b": {"sms": "rest"}}}, "two partitions take the rest"),
        ({"splits": {"x": {"a": {"sms": 8}}, "y": {"a": {"sms": 16}}}}, "names must differ across splits"),
    ],
)
def test_a_wrong_spec(value: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CudaSpec.of("gpu", value)


def test_a_target_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    partitions = {"a": {"sms": 32, "precision": "fp16"}, "b": {"sms": "rest", "precision": "tf32"}}
    target = open_target("gpu", {"kind": "cuda", "batch": 8, "partitions": partitions})
    assert (target.kind, target.accelerators, target.batch) == ("cuda", ("a", "b"), 8)
    assert [target.value_bytes(name) for name in target.accelerators] == [2, 4]
    method, why = target.traffic_counter()
    assert method is None
    assert "demand: graph" in why


def test_a_target_without_torch_says_so_when_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    target = CudaTarget("gpu", {"partitions": {"a": {"sms": 32}}})
    assert target.accelerators == ("a",)
    assert target.chip_runtimes == ("torch-fp32",)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="needs PyTorch and cuda-bindings"):
        target.facts()


def test_steps_are_enqueued_after_what_they_wait_for() -> None:
    turns = {
        "a": [Step(("x/2",), waits=(0,)), Step(("y/0",), signals=(1,))],
        "b": [Step(("x/0", "x/1"), signals=(0,)), Step(("y/1",), waits=(1,))],
    }
    order = launch_order(turns)
    assert order.index(("b", 0)) < order.index(("a", 0)) < order.index(("a", 1)) < order.index(("b", 1))


def test_steps_that_wait_for_each_other() -> None:
    turns = {"a": [Step(("x/1",), (0,), (1,))], "b": [Step(("y/1",), (1,), (0,))]}
    with pytest.raises(InputError, match="wait for each other"):
        launch_order(turns)


def test_calls_name_groups_or_the_network_uncut() -> None:
    assert split_call("camera/left/3") == ("camera/left", 3)
    assert split_call("camera/whole") == split_call("camera/streams") == ("camera", WHOLE)


def test_only_tensors_of_another_worker_are_adopted(tiny_networks: dict[str, Path]) -> None:
    network = ExportedNetwork.read(tiny_networks["alpha"])
    turns = {
        "a": [Step(("i/0", "i/1"), signals=(0,)), Step(("i/3",), waits=(1,))],
        "b": [Step(("i/2",), waits=(0,), signals=(1,))],
    }
    (second,) = network.groups[1].outputs
    (third,) = network.groups[2].outputs
    assert taken_over(turns, {"i": network}) == {("i", 2, second): "a", ("i", 3, third): "b"}


def test_counters_between_markers() -> None:
    text = (
        "==PROF== Connected to process 1\n"
        '"ID","Kernel Name","dram__bytes_read.sum","dram__bytes_write.sum"\n'
        '"","","byte","byte"\n'
        '"0","stamp","32","0"\n'
        '"1","void conv<float>(float *)","1,000","24"\n'
        '"2","stamp(unsigned long long *)","0","64"\n'
        '"3","relu","10","0"\n'
        '"4","relu","10","5"\n'
        '"5","stamp","0","0"\n'
    )
    rows = parse(text)
    assert rows[1] == ("void conv<float>", 1024.0)
    assert bytes_between_markers(rows) == [1024.0, 25.0]
    assert parse("nothing\n") == []
    with pytest.raises(InputError, match="cannot be read"):
        parse('"ID","Name"\n"",""\n"0","x"\n')


@pytest.mark.parametrize(
    ("attributes", "size", "lengths", "mode"),
    [
        # Caffe's windows that are not full, as ONNX pads behind the image
        ({"strides": [2, 2], "pads": [0, 0, 1, 1]}, (112, 112), [56, 56], True),
        ({"strides": [2, 2], "pads": [0, 0, 1, 1]}, (113, 113), [56, 56], False),
        ({"strides": [1, 1], "pads": [1, 1, 1, 1]}, (14, 14), [14, 14], False),
        ({"strides": [1, 1], "pads": [2, 2, 0, 0]}, (14, 14), [14, 14], None),
        ({"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (7, 7), [4, 4], False),
        ({"strides": [2, 2], "auto_pad": "VALID"}, (7, 7), [3, 3], False),
    ],
)
def test_windows(attributes: dict[str, object], size: tuple[int, int], lengths: list[int], mode: bool | None) -> None:
    window = Window.of(Node("MaxPool", "p", ("x",), ("y",), attributes), size, (3, 3))
    assert window.lengths(size, False) == lengths
    assert window.torch_ceil_mode(size, False) is mode
