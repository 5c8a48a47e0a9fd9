"""--exportTimes of both generations gives the same, in our words."""

import json
import re

import pytest

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers import times
from tests.targets.jetson.parsers.helpers import SAMPLES


def test_enqueue_and_copy_are_swapped_back_in_7_1() -> None:
    old, new = times.read(SAMPLES / "times-7.1.json"), times.read(SAMPLES / "times-10.3.json")
    assert old[0].end_to_end_ms == 5.125
    assert new[0].end_to_end_ms is None
    assert old[0].__dict__ | {"end_to_end_ms": None} == new[0].__dict__
    for inference in [*old, *new]:
        # the durations that the file states are those between the times that we call by their names
        assert inference.h2d_end_ms - inference.h2d_start_ms == inference.h2d_ms
        assert inference.compute_end_ms - inference.compute_start_ms == inference.compute_ms
        assert inference.d2h_end_ms - inference.d2h_start_ms == inference.d2h_ms
        assert inference.h2d_ms + inference.compute_ms + inference.d2h_ms == inference.latency_ms


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"computeMs" : 3.5, ', "", r":2: has no 'computeMs'"),
        ('"endComputeMs" : 104.0', '"endComputeMs" : 4.0', r":2: 'endComputeMs' is 4, before 'startComputeMs', 100.5"),
        ('"latencyMs" : 4.125', '"latencyMs" : null', r":2: 'latencyMs' is null, expected a number"),
        (" }\n]", "", r"truncated"),
        ("\n]", "", r":3: the file ends here, expected ',' or '\]'"),
    ],
)
def test_a_mistake_is_reported_with_its_line(old: str, new: str, expected: str) -> None:
    text = (SAMPLES / "times-10.3.json").read_text()
    assert old in text
    with pytest.raises(InputError) as caught:
        times.parse(text.replace(old, new), "times.json")
    assert re.search(expected, str(caught.value)), caught.value


@pytest.mark.parametrize("text", ["[]", "[1]", json.dumps({"a": 1}), "hello"])
def test_other_files(text: str) -> None:
    with pytest.raises(InputError, match=r"^x:1: "):
        times.parse(text, "x")
