"""Says why a schedule takes the time it takes: each segment's parts, who slowed it down, and what it waited for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypedDict

from multidnn.schedule.problem import Problem
from multidnn.schedule.schedule import Schedule, check
from multidnn.schedule.timeline import Activity, SegmentInterval, Timeline, simulate

SegmentName = tuple[str, int, int]
"""Instance, first group, last group; a list in the file."""


class Wait(TypedDict):
    """What let a segment start: `reason` is "instance" (the segment before it in its instance), "after" (an instance
    that it comes after) or "turn" (the segment before it on its accelerator); `segment` ended at that moment."""

    reason: str
    segment: list[Any]


class ExplainedSegment(TypedDict):
    """One segment; times in ms.

    start_ms + in_ms + standalone_ms + contention_ms + out_ms = end_ms. `caused_by` gives, per instance, its part of
    contention_ms. `waited_ms` is how long the segment was ready before it started, `idle_before_ms` how long its
    accelerator had nothing to do before it; one of the two is always 0. `waits_for` is None where nothing came before.
    """

    instance: str
    first: int
    last: int
    accelerator: str
    start_ms: float
    end_ms: float
    standalone_ms: float
    in_ms: float
    out_ms: float
    contention_ms: float
    caused_by: dict[str, float]
    waited_ms: float
    idle_before_ms: float
    waits_for: Wait | None


class Usage(TypedDict):
    """One accelerator until the makespan, in ms: busy_ms = standalone_ms + transitions_ms + contention_ms."""

    busy_ms: float
    idle_ms: float
    standalone_ms: float
    transitions_ms: float
    contention_ms: float


class Explanation(TypedDict):
    """Segments by start time, accelerators, and the chain of segments from time 0 to the makespan without a gap."""

    segments: list[ExplainedSegment]
    accelerators: dict[str, Usage]
    critical_chain: list[list[Any]]


def explain(problem: Problem, schedule: Schedule) -> Explanation:
    """Return where the predicted time of a placed schedule goes (docs/formats.md, key ``explanation``).

    Contention is attributed by the moment: while a group runs slowed by s, the part 1 - 1/s of that time is lost
    (docs/semantics.md rule 5), and what runs beside it shares the loss in proportion to its demand.

    Raises:
        InputError: placement and order do not fit the problem, or deadlock.
        ValueError: the schedule has no placement (whole, streams).
    """
    if schedule.placement is None or schedule.order is None:
        raise ValueError(f"{schedule.scheduler} places nothing, so there is nothing to explain")
    timeline = simulate(problem, *check(problem, schedule.placement, schedule.order, None, schedule.scheduler))
    lost = _losses(problem, timeline)
    spent = _spent(timeline)
    starts = _Starts(problem, timeline, schedule.order)
    segments: list[ExplainedSegment] = []
    for interval in timeline.segments:
        name = (interval.instance, interval.first, interval.last)
        causes = lost.get(name, {})
        segments.append(
            {
                "instance": interval.instance,
                "first": interval.first,
                "last": interval.last,
                "accelerator": interval.accelerator,
                "start_ms": interval.start_ms,
                "end_ms": interval.end_ms,
                "standalone_ms": spent[name, "group"],
                "in_ms": spent.get((name, "in"), 0.0),
                "out_ms": spent.get((name, "out"), 0.0),
                "contention_ms": sum(causes.values()),
                "caused_by": causes,
                "waited_ms": interval.start_ms - starts.ready_ms(name),
                "idle_before_ms": interval.start_ms - starts.free_ms(name),
                "waits_for": starts.waits_for(name),
            }
        )
    return {
        "segments": segments,
        "accelerators": {name: _usage(name, segments, timeline.makespan_ms) for name in problem.accelerators},
        "critical_chain": _critical_chain(segments),
    }


def explained(problem: Problem, schedule: Schedule) -> Schedule:
    """The schedule with its explanation, under the key ``explanation`` of its file."""
    return replace(schedule, extra={**(schedule.extra or {}), "explanation": explain(problem, schedule)})


def _owner(timeline: Timeline) -> dict[tuple[str, str, int], SegmentName]:
    """The segment of every activity, by instance, kind and group."""
    owner = {}
    for segment in timeline.segments:
        name = (segment.instance, segment.first, segment.last)
        owner[segment.instance, "in", segment.first - 1] = name
        owner[segment.instance, "out", segment.last] = name
        for group in range(segment.first, segment.last + 1):
            owner[segment.instance, "group", group] = name
    return owner


def _spent(timeline: Timeline) -> dict[tuple[SegmentName, str], float]:
    """Standalone time of each segment's groups, in-hold and out-hold, in ms."""
    owner = _owner(timeline)
    spent: dict[tuple[SegmentName, str], float] = {}
    for activity in timeline.activities:
        key = owner[activity.instance, activity.kind, activity.group], activity.kind
        spent[key] = spent.get(key, 0.0) + activity.standalone_ms
    return spent


def _losses(problem: Problem, timeline: Timeline) -> dict[SegmentName, dict[str, float]]:
    """Per segment, the time in ms that it lost to each instance beside it."""
    owner = _owner(timeline)
    lost: dict[SegmentName, dict[str, float]] = {}
    upcoming: list[list[Activity]] = [
        [x for x in timeline.activities if x.accelerator == name and x.kind == "group" and x.end_ms > x.start_ms][::-1]
        for name in problem.accelerators
    ]
    index = {name: i for i, name in enumerate(problem.instances)}
    moments = sorted({moment for x in timeline.activities for moment in (x.start_ms, x.end_ms)})
    for start, end in pairwise(moments):
        running = []
        for a, queue in enumerate(upcoming):
            while queue and queue[-1].end_ms <= start:
                queue.pop()
            if queue and queue[-1].start_ms <= start:
                cost = problem.costs(index[queue[-1].instance]).groups[queue[-1].group][a]
                assert cost is not None, "a group that runs is supported"
                running.append((a, queue[-1], cost.demand_gb_s))
        for a, activity, demand in running:
            beside = [(other.instance, theirs) for b, other, theirs in running if b != a]
            external = sum(theirs for _, theirs in beside)
            loss = (end - start) * (1 - 1 / problem.slowdown[a](demand, external))
            # nothing is slowed by nothing (rule 8), so a loss has demand beside it
            if loss > 0:
                causes = lost.setdefault(owner[activity.instance, "group", activity.group], {})
                for instance, theirs in beside:
                    if theirs > 0:
                        causes[instance] = causes.get(instance, 0.0) + loss * theirs / external
    return lost


class _Starts:
    """When each segment could have started, and what came last."""

    def __init__(self, problem: Problem, timeline: Timeline, order: Mapping[str, Sequence[Sequence[Any]]]) -> None:
        self._intervals: dict[SegmentName, SegmentInterval] = {
            (s.instance, s.first, s.last): s for s in timeline.segments
        }
        self._on_accelerator: dict[SegmentName, SegmentName] = {}
        for turns in order.values():
            names = [(str(instance), int(first), int(last)) for instance, first, last in turns]
            self._on_accelerator.update((later, earlier) for earlier, later in pairwise(names))
        final = {name[0]: name for name in sorted(self._intervals, key=lambda name: name[2])}
        by_last = {(name[0], name[2]): name for name in self._intervals}
        # the segment that a segment's instance waits for: its own earlier one, or the last to end of those in `after`
        self._in_workload: dict[SegmentName, SegmentName] = {}
        after = {instance.name: instance.after for instance in problem.workload.instances}
        for name in self._intervals:
            if name[1] > 0:
                self._in_workload[name] = by_last[name[0], name[1] - 1]
            elif after[name[0]]:
                self._in_workload[name] = max((final[other] for other in after[name[0]]), key=self._end)

    def _end(self, name: SegmentName | None) -> float:
        return 0.0 if name is None else self._intervals[name].end_ms

    def ready_ms(self, name: SegmentName) -> float:
        """When what the segment's instance waits for has ended; 0 if there is none."""
        return self._end(self._in_workload.get(name))

    def free_ms(self, name: SegmentName) -> float:
        """When the segment before it on its accelerator has ended; 0 if there is none."""
        return self._end(self._on_accelerator.get(name))

    def waits_for(self, name: SegmentName) -> Wait | None:
        """What ended last; where both ended at once, what its instance waited for."""
        workload, accelerator = self._in_workload.get(name), self._on_accelerator.get(name)
        if accelerator is not None and (workload is None or self._end(accelerator) > self._end(workload)):
            return {"reason": "turn", "segment": list(accelerator)}
        if workload is None:
            return None
        return {"reason": "instance" if workload[0] == name[0] else "after", "segment": list(workload)}


def _usage(accelerator: str, segments: Sequence[ExplainedSegment], makespan_ms: float) -> Usage:
    own = [segment for segment in segments if segment["accelerator"] == accelerator]
    busy = sum(segment["end_ms"] - segment["start_ms"] for segment in own)
    return {
        "busy_ms": busy,
        # sums of differences may round above the makespan
        "idle_ms": max(0.0, makespan_ms - busy),
        "standalone_ms": sum(segment["standalone_ms"] for segment in own),
        "transitions_ms": sum(segment["in_ms"] + segment["out_ms"] for segment in own),
        "contention_ms": sum(segment["contention_ms"] for segment in own),
    }


def _critical_chain(segments: Sequence[ExplainedSegment]) -> list[list[Any]]:
    """From the segment that ends last back through what each one waited for, in order of time."""
    named = {(segment["instance"], segment["first"], segment["last"]): segment for segment in segments}
    # the last of those that end together: the others may go on with something that takes no time
    current: SegmentName | None = max(reversed(named), key=lambda name: named[name]["end_ms"])
    chain: list[list[Any]] = []
    while current is not None:
        chain.append(list(current))
        wait = named[current]["waits_for"]
        current = None if wait is None else (wait["segment"][0], wait["segment"][1], wait["segment"][2])
    return chain[::-1]
