"""At most 16 loadables on a DLA core, and at most so many engines in a worker."""

import pytest

from multidnn.targets.jetson.board.errors import BoardError
from multidnn.targets.jetson.board.residency import Loadable, Residency


def test_the_least_recently_used_goes() -> None:
    engines = {f"e{i}": Loadable("dla0", 0, 1) for i in range(18)}
    residency = Residency(engines)
    assert residency.need([f"e{i}" for i in range(16)]) == ([], [f"e{i}" for i in range(16)])
    assert residency.need(["e0"]) == ([], [])
    assert residency.need(["e16"]) == (["e1"], ["e16"])
    assert residency.need(["e1", "e17"]) == (["e2", "e3"], ["e1", "e17"])
    assert residency.loads == 19


def test_engines_on_the_gpu_stay_and_cores_count_apart() -> None:
    engines = {
        "g": Loadable("gpu", 0, 0),
        "a": Loadable("dla0", 0, 10),
        "b": Loadable("dla1", 1, 10),
        "c": Loadable("dla0", 0, 10),
    }
    residency = Residency(engines)
    assert residency.need(["g", "a", "b"]) == ([], ["g", "a", "b"])
    assert residency.need(["c"]) == (["a"], ["c"])


def test_what_cannot_be_loaded_at_once() -> None:
    residency = Residency({"a": Loadable("dla1", 1, 10), "b": Loadable("dla1", 1, 7), "c": Loadable("dla0", 0, 9)})
    with pytest.raises(BoardError, match="17 DLA loadables are needed at once on core 1, which holds 16: a, b"):
        residency.need(["a", "b", "c"])
    # nothing was written into the books
    assert residency.need(["a"]) == ([], ["a"])


def test_a_worker_holds_no_more_than_asked() -> None:
    engines = {f"g{i}": Loadable("gpu", 0, 0) for i in range(4)} | {"d": Loadable("dla0", 0, 1)}
    residency = Residency(engines, most=2)
    assert residency.need(["g0", "d"]) == ([], ["g0", "d"])
    assert residency.need(["g1"]) == ([], ["g1"])
    assert residency.need(["g0"]) == ([], [])
    # g1 is the older one of the GPU's, and the DLA's is not in the way
    assert residency.need(["g2", "d"]) == (["g1"], ["g2"])
    # what is needed at once is loaded at once
    assert residency.need(["g0", "g1", "g3"]) == (["g2"], ["g1", "g3"])


def test_one_limit_does_not_drop_what_the_other_dropped() -> None:
    residency = Residency({name: Loadable("dla0", 0, 10) for name in ("a", "b")}, most=1)
    assert residency.need(["a"]) == ([], ["a"])
    assert residency.need(["b"]) == (["a"], ["b"])
    assert residency.need(["a"]) == (["b"], ["a"])
