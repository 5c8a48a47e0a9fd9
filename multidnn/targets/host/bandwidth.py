"""Finding a counter of real memory traffic in what this machine's kernel offers, or saying why there is none."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from types import TracebackType
from typing import Protocol, Self


class Counter(Protocol):
    """Counts bytes at the memory; use as a context manager, which gives the kernel back what the counter took.

    Attributes:
        method: "resctrl-mbm" or "perf-uncore-imc", as it stands in emc_results.csv.
        scope: whose traffic it counts: "process" or "machine".
    """

    method: str
    scope: str

    def read(self) -> float:
        """Return the bytes read and written since the counter was opened; never falls.

        Raises:
            InputError: the kernel stopped giving the count; the message names the file.
        """
        ...

    def measure(self, seconds: float) -> float:
        """Return bytes per second over the next `seconds`."""
        ...

    def close(self) -> None:
        """Give back what the counter took."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NotAvailableError(Exception):
    """One kind of counter cannot be had here; the message says what was looked for and why not."""


class Opened(ABC):
    """What counters have in common: the rate over an interval, and closing at the end of a block."""

    @abstractmethod
    def read(self) -> float:
        """See `Counter.read`."""

    @abstractmethod
    def close(self) -> None:
        """See `Counter.close`."""

    def measure(self, seconds: float) -> float:
        """See `Counter.measure`. The clock is read beside each count, because a count may take the kernel a while."""
        first, begin = self.read(), perf_counter()
        sleep(seconds)
        last, end = self.read(), perf_counter()
        return (last - first) / (end - begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find_counter(
    process_id: int, *, root: Path = Path("/sys"), proc: Path = Path("/proc")
) -> tuple[Counter | None, str]:
    """Return an opened counter for `process_id` and what it is, or None and why every kind is not available.

    resctrl comes first, because it counts one process; the memory controllers count the whole machine, so nothing else
    may run beside them. Both are tested on file trees laid out as the kernel documents them, and not run on hardware
    that has them.

    Args:
        root: where sysfs is mounted.
        proc: where procfs is mounted.
    """
    from multidnn.targets.host.resctrl import ResctrlCounter
    from multidnn.targets.host.uncore import UncoreCounter

    kinds: tuple[Callable[[], Counter], ...] = (
        lambda: ResctrlCounter(process_id, root / "fs" / "resctrl", proc),
        lambda: UncoreCounter(root / "bus" / "event_source" / "devices", proc),
    )
    reasons = []
    for open_kind in kinds:
        try:
            counter = open_kind()
        except NotAvailableError as error:
            reasons.append(str(error))
        else:
            return counter, f"{counter.method}: bytes read and written at the memory, of the {counter.scope}"
    return None, "; ".join(reasons)
