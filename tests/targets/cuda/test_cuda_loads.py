"""Background load as a block: it is stopped whatever happens."""

import pytest

from multidnn.errors import InputError
from multidnn.targets.cuda.loads import running


class Remembering:
    """A load that knows what it was told, and fails when it is told `failing`."""

    def __init__(self, failing: str = "") -> None:
        self.told: list[str] = []
        self._failing = failing

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if what == self._failing:
            raise InputError(f"cannot {what}")

    def start(self) -> None:
        """See Load."""
        self._tell("start")

    def stop(self) -> int:
        """See Load."""
        self._tell("stop")
        return len(self.told)


def test_what_loads_did_is_there_after_the_block() -> None:
    loads = {"a": Remembering(), "b": Remembering()}
    with running(loads) as answers:
        assert answers == {}
        assert [load.told for load in loads.values()] == [["start"], ["start"]]
    assert answers == {"a": 2, "b": 2}


@pytest.mark.parametrize("failing", ["start", "stop"])
def test_a_load_that_fails_leaves_no_other_running(failing: str) -> None:
    first, second, third = loads = [Remembering(), Remembering(failing), Remembering()]
    with pytest.raises(InputError, match=f"cannot {failing}"), running(dict(zip("abc", loads, strict=True))):
        pass
    assert first.told == second.told == ["start", "stop"]
    assert third.told == ([] if failing == "start" else ["start", "stop"])


def test_an_error_in_the_block_ends_the_load() -> None:
    load = Remembering()
    with pytest.raises(ZeroDivisionError), running({"a": load}):
        raise ZeroDivisionError
    assert load.told == ["start", "stop"]
