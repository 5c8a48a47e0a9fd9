"""Where an engine's layers are, from two accounts that may differ; what counts as a layer that strayed from the DLA."""

import sys
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that builds, imported without TensorRT."""
    names = [name for name in sys.modules if name.startswith("multidnn.targets.jetson.board")]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    trt = ModuleType("tensorrt")
    trt.__version__ = "8.6.2"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    from multidnn.targets.jetson.board import build as module

    yield module
    for name in [name for name in sys.modules if name.startswith("multidnn.targets.jetson.board")]:
        monkeypatch.delitem(sys.modules, name)


BLOCK = "{ForeignNode[conv1...relu2]}"
LOG = [
    f"[11/27/2026-10:40:56] [I] [TRT] [DlaLayer] {BLOCK}",
    "[11/27/2026-10:40:56] [I] [TRT] [GpuLayer] SOFTMAX: prob",
]


def info(*layers: tuple[str, str]) -> dict[str, Any]:
    return {"Layers": [{"Name": name, "LayerType": kind} for name, kind in layers]}


@pytest.mark.parametrize("kind", ["DLA", "ForeignNode", "Myelin"])
def test_a_block_that_the_log_puts_on_the_dla_is_there_whatever_its_type(build: Any, kind: str) -> None:
    found = build._placement(info((BLOCK, kind), ("prob", "SoftMax")), LOG)
    assert (found["dla"], found["gpu"]) == ([BLOCK], ["prob"])
    assert found["dla_layers"] == [None]


def test_accounts_under_different_names(build: Any) -> None:
    assert build._placement(info(("block 1", "Unknown"), ("prob", "SoftMax")), LOG)["dla"] == [BLOCK]
    assert build._placement(info(("block 1", "DLA"), ("prob", "SoftMax")), LOG)["dla"] == ["block 1"]
    assert build._placement(info(("conv1", "CaskConvolution")), [])["dla"] == []


def test_what_moves_data_has_not_strayed(build: Any) -> None:
    """Tensors of a Caffe network are called as the layers that make them."""
    for name in ("pool1 from nvm", "data to nvm", "pool1 copy finish", "pool1 copy", "Reformatting CopyNode for pool1"):
        assert build._MOVING.search(name), name
    for name in ("pool1", "conv1 + relu1", "copy_of_pool1", "reduce"):
        assert not build._MOVING.search(name), name
