"""What a target is to the rest of the pipeline: its accelerators, what it can do, and sessions on it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork


@dataclass(frozen=True)
class Timed:
    """One group to time: instance, group index, and how often it runs in a row within one sample."""

    instance: str
    group: int
    repeats: int = 1


@dataclass(frozen=True)
class Traffic:
    """Background load: the memory-traffic generator at a share of its full speed (0..1]."""

    duty: float


@dataclass(frozen=True)
class Loop:
    """Background load: groups of networks run over and over."""

    groups: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Step:
    """One segment in a worker's plan: calls to make (``instance/group``, ``instance/whole`` or ``instance/streams``),
    and the events of the plan to wait for before and to signal after them."""

    calls: tuple[str, ...]
    waits: tuple[int, ...] = ()
    signals: tuple[int, ...] = ()


@dataclass(frozen=True)
class StepTimes:
    """When a step began to wait, began to run, ended each call, and had signalled; monotonic nanoseconds."""

    wait_ns: int
    start_ns: int
    end_ns: tuple[int, ...]
    signalled_ns: int


@dataclass(frozen=True)
class Service:
    """A network that answers one request after another: an instance, and the accelerator that it is loaded uncut on, or
    None for the whole chip."""

    instance: str
    accelerator: str | None = None


@dataclass(frozen=True)
class Served:
    """What came of a row of requests.

    Attributes:
        latency_ms: of each request, from when it was given to when its answer was there, by the clock of the host.
        window_s: from the start of the first to the end of the last.
        executions: how many executions of each other instance ended within that window.
    """

    latency_ms: tuple[float, ...]
    window_s: float
    executions: dict[str, int]

    @classmethod
    def of(cls, times: NDArray[np.int64], ends: Mapping[str, Sequence[int]], each: Mapping[str, int]) -> "Served":
        """Return what `times` say (start and end of every request, shape (requests, 2), ns) beside instances of which
        `each` many executions had ended at each of `ends` (ns on the same clock)."""
        begin, end = int(times[0, 0]), int(times[-1, 1])
        executions = {name: each[name] * sum(begin < at <= end for at in listed) for name, listed in ends.items()}
        return cls(tuple((np.diff(times)[:, 0] / 1e6).tolist()), (end - begin) / 1e9, executions)


def chip_worker(instance: str) -> str:
    """Return the name of the worker that runs `instance` on the whole chip."""
    return f"chip:{instance}"


class Session(Protocol):
    """Networks loaded on the accelerators of a target; a context manager.

    Every method raises `InputError` if a worker dies or reports an error; nothing is left behind then.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *details: Any) -> None: ...

    def close(self) -> None:
        """End the workers and free what they share."""
        ...

    def load(self, only: Mapping[str, Sequence[int]] | None = None) -> None:
        """Load all groups, or those listed per instance, on every accelerator, and the chip's whole networks."""
        ...

    def refusal(self, accelerator: str, instance: str, group: int) -> str | None:
        """Return why `accelerator` did not take a group, None if it did."""
        ...

    def refusal_whole(self, instance: str) -> str | None:
        """Return why the chip used whole did not take `instance`, None if it did."""
        ...

    def tensor(self, instance: str, name: str) -> NDArray[np.float32]:
        """Return a writable view of a tensor that crosses groups."""
        ...

    def fill_inputs(self, rng: np.random.Generator) -> None:
        """Write standard normal noise into every input."""
        ...

    def fill_tensors(self, rng: np.random.Generator) -> None:
        """Write standard normal noise into every tensor, for timing groups whose predecessors do not run."""
        ...

    def process_ids(self) -> dict[str, int]:
        """Return the process id of each worker."""
        ...

    def time(self, accelerator: str, groups: Sequence[Timed], passes: int) -> list[list[float]]:
        """Run `groups` in order, `passes` times; return milliseconds per pass and group."""
        ...

    def time_whole(self, instance: str, passes: int) -> list[float]:
        """Run `instance` on the whole chip, `passes` times; return milliseconds per pass."""
        ...

    def load_whole(self, accelerator: str, instance: str) -> str | None:
        """Load a network uncut on an accelerator, for `serve`; return why that did not take it, None if it did."""
        ...

    def serve(
        self, protected: Service, beside: Sequence[Service], requests: int, warmup: int, *, urgent: bool = False
    ) -> Served:
        """Answer `requests` with `protected`, each given when the one before is answered, while `beside` run over and
        over; those on one accelerator take turns there, those on the chip share it.

        Args:
            warmup: requests that are answered first and not reported.
            urgent: on the chip, `protected` goes ahead of `beside` wherever both wait, by the means of the target.
        """
        ...

    def background(self, loads: Mapping[str, Traffic | Loop]) -> AbstractContextManager[dict[str, Any]]:
        """Keep `loads` (accelerator to load) running within a block; yields what they did, once it has ended: per
        accelerator (bytes, seconds) of traffic or the finished rounds of a loop."""
        ...

    def peak_traffic(self, seconds: float) -> float:
        """Run the traffic generator at full speed on all accelerators at once; return bytes per second together."""
        ...

    def count_traffic(self, accelerator: str, groups: Sequence[tuple[str, int]], seconds: float) -> list[float]:
        """Loop each group alone and count its real memory traffic; return bytes per second each."""
        ...

    def time_transition(
        self, source: str, destination: str, instance: str, tensor: str, rounds: int
    ) -> tuple[list[float], list[float], list[float]]:
        """Hand a tensor from `source` to `destination` as a run does, `rounds` times.

        Returns:
            Per round, in ms: how long the source was held by signalling; from then to the signal's arrival; by how
            much the first read of the tensor was slower than a second one.
        """
        ...

    def plan(self, worker: str, name: str, steps: Sequence[Step], spin: bool) -> None:
        """Give `worker` its part of a schedule; with `spin` it waits without sleeping."""
        ...

    def iterate(self, name: str, workers: Sequence[str], timeout_s: float) -> tuple[int, dict[str, list[StepTimes]]]:
        """Run the plan `name` once on `workers`, started together; return the start (monotonic ns) and the times."""
        ...


class Target(Protocol):
    """One machine under one configuration (a key of `targets:` in config.yaml)."""

    name: str
    kind: str
    capabilities: frozenset[str]

    @property
    def batch(self) -> int:
        """How many inputs an execution takes at once."""
        ...

    def value_bytes(self, accelerator: str) -> int:
        """Return the size of a number in the tensors and weights of `accelerator`."""
        ...

    @property
    def accelerators(self) -> tuple[str, ...]:
        """Names of the processing units, in the order of the configuration."""
        ...

    @property
    def splits(self) -> Mapping[str, tuple[str, ...]]:
        """Which accelerators may run at once, by the name of the split of the chip that they are of.

        Those of two splits share cores or multiprocessors and never run at the same time. Most targets have one split.
        """
        ...

    @property
    def chip_runtimes(self) -> tuple[str, ...]:
        """Ways to run a network on the whole chip; empty if its accelerators cannot be joined."""
        ...

    @property
    def shortest_sample_ms(self) -> float:
        """A shorter group is repeated within one sample, so that interrupts and the clock do not decide its time."""
        ...

    @property
    def output_tolerance(self) -> float:
        """How far outputs may differ between its accelerators by rounding, as a share of the largest output."""
        ...

    def facts(self) -> dict[str, Any]:
        """What a reader of a result must know about the machine: per accelerator its runtime, cores, versions."""
        ...

    def clocks(self) -> dict[str, Any]:
        """Return the clocks of the machine as they are now, where it shows them; empty where it does not."""
        ...

    def traffic_counter(self) -> tuple[str | None, str]:
        """Return the method of the machine's memory-traffic counter and what it counts, or None and why there is
        none."""
        ...

    def open_session(
        self, instances: Mapping[str, ExportedNetwork], *, chip: Mapping[str, str] | None = None, events: int = 0
    ) -> Session:
        """Return a session for `instances` (name to network; instances of one network share its engines).

        Args:
            chip: instance name to the runtime that runs it on the whole chip; None for no such workers.
            events: how many events the plans use.
        """
        ...


def require(target: Target, capability: str) -> None:
    """Raise `InputError` unless `target` has `capability`."""
    if capability not in target.capabilities:
        raise InputError(
            f"target {target.name!r} (kind {target.kind}) cannot do {capability!r}; "
            f"it can do: {', '.join(sorted(target.capabilities))}"
        )
