"""Background load: what keeps lanes busy within a block."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import sleep
from typing import Any, Protocol

# until what was started is at full speed
_WARM_UP_S = 0.002


class Load(Protocol):
    """Something that runs on a lane until it is stopped."""

    def start(self) -> None:
        """Begin; returns once it is running or about to."""
        ...

    def stop(self) -> Any:
        """End, and return what it did."""
        ...


@contextmanager
def running(loads: Mapping[str, Load]) -> Iterator[dict[str, Any]]:
    """Keep `loads` running until the block ends; yields what they did, there once it has ended."""
    answers: dict[str, Any] = {}

    def stop(name: str, load: Load) -> None:
        answers[name] = load.stop()

    # one that cannot start or reports an error does not keep the others from being stopped
    with ExitStack() as stopping:
        for name, load in loads.items():
            stopping.callback(stop, name, load)
            load.start()
        sleep(_WARM_UP_S)
        yield answers
