"""From requests to layers, and from layers to TensorRT's own."""

import pytest

from multidnn.targets.jetson.board import devices
from multidnn.targets.jetson.board.devices import TensorRTLayer
from multidnn.targets.jetson.board.errors import BoardError
from multidnn.targets.jetson.board.fields import Fields

LAYERS = ["conv1", "relu1", "pool1", "fc", "prob"]


def test_switch() -> None:
    assert list(devices.from_switch(LAYERS, "gpu", 2).values()) == ["gpu", "gpu", "dla", "dla", "dla"]
    assert list(devices.from_switch(LAYERS, "dla", 4).values()) == ["dla", "dla", "dla", "dla", "gpu"]
    assert set(devices.from_switch(LAYERS, "dla", None).values()) == {"dla"}


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_switch_outside_the_model(cut: int) -> None:
    with pytest.raises(BoardError, match="allowed: 1 to 4"):
        devices.from_switch(LAYERS, "gpu", cut)


def test_request_by_name() -> None:
    fields = Fields({"default": "dla", "layers": {"prob": "gpu"}}, "devices")
    assert devices.requested(LAYERS, fields) == dict.fromkeys(LAYERS[:4], "dla") | {"prob": "gpu"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"default": "dla", "layers": {"prop": "gpu"}}, "do not have|does not have: prop"),
        ({"default": "npu", "layers": {}}, "allowed: gpu, dla"),
        ({"start": "gpu", "transition": "2"}, "'transition' must be a whole number"),
        ({}, "lacks 'default'"),
    ],
)
def test_bad_requests(content: dict[str, object], message: str) -> None:
    with pytest.raises(BoardError, match=message):
        devices.requested(LAYERS, Fields(content, "devices"))


def test_names_must_be_unique() -> None:
    with pytest.raises(BoardError, match="more than once: a"):
        devices.requested(["a", "b", "a"], Fields({"start": "gpu"}, "devices"))


def test_owner_by_exact_name_before_suffix() -> None:
    index = {"conv1": 0, "conv1_1": 1}
    assert devices.named_owner("conv1", index) == 0
    assert devices.named_owner("conv1_1", index) == 1
    assert devices.named_owner("conv1_1_2", index) == 1
    assert devices.named_owner("conv1 [Shuffle]", index) == 0
    assert devices.named_owner("conv12", index) is None
    assert devices.named_owner("(Unnamed Layer* 3) [Constant]", index) is None


def network() -> list[TensorRTLayer]:
    """A constant and a shuffle before `fc`, as the parser makes them, and a shuffle behind."""
    return [
        TensorRTLayer("conv1", ("data",), ("c1",)),
        TensorRTLayer("relu1", ("c1",), ("r1",)),
        TensorRTLayer("pool1", ("r1",), ("p1",)),
        TensorRTLayer("(Unnamed Layer* 3) [Constant]", (), ("k",)),
        TensorRTLayer("(Unnamed Layer* 4) [Shuffle]", ("k",), ("ks",)),
        TensorRTLayer("fc", ("p1", "ks"), ("f",)),
        TensorRTLayer("(Unnamed Layer* 6) [Shuffle]", ("f",), ("fs",)),
        TensorRTLayer("prob", ("fs",), ("out",)),
        TensorRTLayer("(Unnamed Layer* 8) [Shuffle]", ("out",), ("final",)),
    ]


def test_unnamed_layers_follow_their_neighbours() -> None:
    assert devices.owners(network(), LAYERS) == [0, 1, 2, 3, 3, 3, 4, 4, 4]


def test_tensor_alive_before_a_cut() -> None:
    owner = devices.owners(network(), LAYERS)
    assert devices.alive_before(network(), owner, 2) == ["r1"]
    # constants are no tensors that cross
    assert devices.alive_before(network(), owner, 3) == ["p1"]
    assert devices.alive_before(network(), owner, 4) == ["f"]


def test_two_tensors_alive() -> None:
    layers = [
        TensorRTLayer("a", ("data",), ("x",)),
        TensorRTLayer("b", ("x",), ("y",)),
        TensorRTLayer("c", ("x", "y"), ("z",)),
    ]
    assert devices.alive_before(layers, devices.owners(layers, ["a", "b", "c"]), 2) == ["x", "y"]


def test_mentioned_as_whole_words() -> None:
    layers = ["conv1", "relu1", "conv1/relu", "fc"]
    assert devices.mentioned("conv1 + relu1", layers) == ["conv1", "relu1"]
    assert devices.mentioned("conv1/relu", layers) == ["conv1/relu"]
    assert devices.mentioned("PWN(relu1)", layers) == ["relu1"]
    assert devices.mentioned("reshape_after_fc", layers) == []
    assert devices.mentioned("conv10 || conv11", layers) == []
