"""At most 16 loadables on a DLA core."""

import pytest

from multidnn.targets.jetson.board.errors import BoardError
from multidnn.targets.jetson.board.residency import Loadable, Residency


def test_the_least_recently_used_goes() -> None:
    engines = {f"e{i}": Loadable(0, 1) for i in range(18)}
    residency = Residency(engines)
    assert residency.need([f"e{i}" for i in range(16)]) == ([], [f"e{i}" for i in range(16)])
    assert residency.need(["e0"]) == ([], [])
    assert residency.need(["e16"]) == (["e1"], ["e16"])
    assert residency.need(["e1", "e17"]) == (["e2", "e3"], ["e1", "e17"])
    assert residency.loads == 19


def test_engines_on_the_gpu_stay_and_cores_count_apart() -> None:
    engines = {"g": Loadable(0, 0), "a": Loadable(0, 10), "b": Loadable(1, 10), "c": Loadable(0, 10)}
    residency = Residency(engines)
    assert residency.need(["g", "a", "b"]) == ([], ["g", "a", "b"])
    assert residency.need(["c"]) == (["a"], ["c"])


def test_what_cannot_be_loaded_at_once() -> None:
    residency = Residency({"a": Loadable(1, 10), "b": Loadable(1, 7), "c": Loadable(0, 9)})
    with pytest.raises(BoardError, match="17 DLA loadables are needed at once on core 1, which holds 16: a, b"):
        residency.need(["a", "b", "c"])
    # nothing was written into the books
    assert residency.need(["a"]) == ([], ["a"])
