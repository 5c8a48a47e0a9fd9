"""Layer times in trtexec's form, outputs against a reference."""

import numpy as np

from multidnn.targets.jetson.board.outputs import Comparison
from multidnn.targets.jetson.board.profile import _entries


def test_profile_entries() -> None:
    count, first, second = _entries({"conv": [1.0, 3.0, 2.0], "relu": [0.5, 0.5, 1.0]}, 3)
    assert count == {"count": 3}
    assert first == {"name": "conv", "timeMs": 6.0, "averageMs": 2.0, "medianMs": 2.0, "percentage": 75.0}
    assert second["percentage"] == 25.0


def test_comparison() -> None:
    reference = [{"net": {"y": np.array([1.0, -4.0])}}, {"net": {"y": np.array([2.0, 2.0])}}]
    comparison = Comparison(reference)
    comparison.add("naive", 0, {"net": {"y": np.array([1.0, -4.5])}})
    comparison.add("naive", 1, {"net": {"y": np.array([2.0, 2.25])}})
    comparison.add("haxconn", 1, {"net": {"y": np.array([2.0, 2.0])}})
    assert comparison.summary() == {
        "net": {"max_abs_err": 0.5, "scale": 4.0, "by_scheduler": {"naive": 0.5, "haxconn": 0.0}, "nan": False}
    }
    comparison.add("haxconn", 0, {"net": {"y": np.array([np.nan, -4.0])}})
    summary = comparison.summary()["net"]
    assert summary["nan"]
    assert summary["by_scheduler"]["haxconn"] == 0.0


def test_all_nan_is_no_small_error() -> None:
    comparison = Comparison([{"net": {"y": np.ones(2)}}])
    comparison.add("naive", 0, {"net": {"y": np.full(2, np.nan)}})
    assert comparison.summary()["net"]["nan"]
