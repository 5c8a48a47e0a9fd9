"""The table of TensorRT's features."""

import pytest

from multidnn.targets.jetson.board import versions


@pytest.mark.parametrize(
    ("version", "feature", "there"),
    [
        ("8.4.1", "named_tensors", False),
        ("8.5.2", "named_tensors", True),
        ("8.5.2.2", "bindings", True),
        ("10.3.0", "bindings", False),
        ("10.3.0", "explicit_batch_flag", True),
        ("11.4.1", "explicit_batch_flag", False),
        ("8.6.2", "explicit_batch_needed", True),
        ("10.7.0", "dla", True),
        ("11.2.0", "dla", False),
        ("11.4.1", "dla", True),
        ("10.7.0", "int8_calibrator", True),
        ("11.4.1", "int8_calibrator", False),
        ("11.4.1", "precision_flags", False),
        ("11.0.0", "direct_io", False),
        ("7.1.3", "memory_pools", False),
    ],
)
def test_feature(version: str, feature: str, there: bool) -> None:
    assert versions.has(version, feature) is there


@pytest.mark.parametrize("version", ["8.4.0", "8.5.2", "8.6.2", "10.3.0", "10.7.0.23", "11.4.1", "11.5.0"])
def test_supported(version: str) -> None:
    assert versions.supported(version)


@pytest.mark.parametrize("version", ["7.1.3", "8.2.1", "10.8.0", "11.0.0", "11.3.0"])
def test_not_supported(version: str) -> None:
    assert not versions.supported(version)


def test_ranges_are_in_order() -> None:
    for feature, ranges in versions.FEATURES.items():
        for since, gone in ranges:
            assert since is None or gone is None or since < gone, feature


def test_odd_versions() -> None:
    assert versions.parse("10.3.0.dev1") == (10, 3, 0)
    with pytest.raises(ValueError, match="does not begin with two numbers"):
        versions.parse("unknown")
