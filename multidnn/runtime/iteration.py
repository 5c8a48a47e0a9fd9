"""One synchronised execution of a schedule as it was measured: from the workers' timestamps to times since the start."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from multidnn.runtime.plan import Plan
from multidnn.targets.base import StepTimes


@dataclass(frozen=True)
class SegmentTimes:
    """One executed segment; ms since the common start. `handover_ms`: from the end of the segment it waited for to
    its own start, None where it did not have to wait for another accelerator."""

    instance: str
    first: int
    last: int
    accelerator: str
    start_ms: float
    end_ms: float
    handover_ms: float | None


@dataclass(frozen=True)
class Iteration:
    """One synchronised execution of a workload.

    Attributes:
        makespan_ms: from the common start to the end of the last segment.
        finish_ms: when each instance ended.
        segments: in the order of their start.
        idle_ms: the part of the makespan in which, on the chain of segments that decides it, no segment ran.
    """

    makespan_ms: float
    finish_ms: dict[str, float]
    segments: tuple[SegmentTimes, ...]
    idle_ms: float


def measured_iteration(plan: Plan, steps: Mapping[int, StepTimes], start_ns: int) -> Iteration:
    """Return the iteration of `plan` whose segments took the times `steps` and which began at `start_ns` (the same clock)."""
    begin = {number: (step.start_ns - start_ns) / 1e6 for number, step in steps.items()}
    end = {number: (step.end_ns[-1] - start_ns) / 1e6 for number, step in steps.items()}
    segments = []
    for number, step in sorted(steps.items(), key=lambda item: begin[item[0]]):
        segment = plan.segments[number]
        # the hand-over is the time from the last partner's end, if this worker was waiting by then
        partner = max((end[source] for source in plan.before[number]), default=None)
        waited = partner is not None and (step.wait_ns - start_ns) / 1e6 < partner
        segments.append(
            SegmentTimes(
                segment.instance,
                segment.first,
                segment.last,
                segment.accelerator,
                begin[number],
                end[number],
                begin[number] - partner if waited and partner is not None else None,
            )
        )
    finish: dict[str, float] = {}
    for done in segments:
        finish[done.instance] = max(finish.get(done.instance, 0.0), done.end_ms)
    return Iteration(max(end.values()), finish, tuple(segments), _idle_on_critical_chain(plan, begin, end))


def _idle_on_critical_chain(plan: Plan, begin: Mapping[int, float], end: Mapping[int, float]) -> float:
    """Walk back from the last segment to end, always to the predecessor that ended last, and add up the gaps."""
    previous: dict[int, list[int]] = {number: list(plan.before[number]) for number in end}
    for turn in plan.turns.values():
        for earlier, later in itertools.pairwise(turn):
            previous[later].append(earlier)
    number = max(end, key=lambda candidate: end[candidate])
    idle = 0.0
    while previous[number]:
        latest = max(previous[number], key=lambda candidate: end[candidate])
        idle += begin[number] - end[latest]
        number = latest
    return idle + begin[number]
