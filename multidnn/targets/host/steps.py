"""What a worker is asked to do in one iteration, and when it did it: the messages of a synchronised run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One segment in a worker's plan: gate events to wait for, calls to make, gate events to signal."""

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
