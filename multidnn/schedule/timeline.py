"""The event simulator: what a placement and an order are predicted to do (docs/semantics.md)."""

from collections.abc import Sequence
from dataclasses import dataclass

from multidnn.errors import InputError
from multidnn.schedule.problem import Problem, value_of

Placement = tuple[tuple[int, ...], ...]
"""Per instance, per group: the accelerator's index."""

Segment = tuple[int, int, int]
"""Instance index, first group, last group (inclusive)."""

Order = tuple[tuple[Segment, ...], ...]
"""Per accelerator: its segments in turn."""


class Deadlock(InputError):  # noqa: N818 - the name says what happened
    """The order makes segments wait for each other, so it is not a schedule."""


@dataclass(frozen=True)
class SegmentInterval:
    """From the start of a segment's in-hold (or first group) to the end of its out-hold (or last group), in ms."""

    instance: str
    first: int
    last: int
    accelerator: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Activity:
    """One group or hold of a segment.

    Attributes:
        kind: "group", "in" or "out".
        group: the group; for a hold, the group after which the transition happens.
        standalone_ms: its time alone.
        slowdown: mean factor felt, duration over standalone time; 1 for holds and groups that take no time.
    """

    instance: str
    accelerator: str
    kind: str
    group: int
    start_ms: float
    end_ms: float
    standalone_ms: float
    slowdown: float


@dataclass(frozen=True)
class Timeline:
    """A simulated run: finish times and makespan in ms, throughput in 1/s, segments and activities by start time."""

    finish_ms: dict[str, float]
    makespan_ms: float
    throughput_per_s: float
    segments: tuple[SegmentInterval, ...]
    activities: tuple[Activity, ...]

    def value(self, objective: str) -> float:
        """The objective's value: makespan in ms for latency, throughput in 1/s for throughput."""
        return self.makespan_ms if objective == "latency" else self.throughput_per_s


def segments_of(groups: Sequence[int]) -> list[tuple[int, int]]:
    """The maximal runs of equal accelerators in one instance's placement, as (first, last) group."""
    starts = [g for g in range(len(groups)) if g == 0 or groups[g] != groups[g - 1]]
    return [(first, after - 1) for first, after in zip(starts, [*starts[1:], len(groups)], strict=True)]


@dataclass
class _Step:
    """A group or hold in a segment's list of things to do; `left_ms` is the standalone time still to run."""

    kind: str
    group: int
    standalone_ms: float
    demand_gb_s: float
    left_ms: float
    start_ms: float = 0.0


@dataclass
class _Running:
    """A segment that holds its accelerator."""

    segment: Segment
    start_ms: float
    steps: list[_Step]


def simulate(problem: Problem, placement: Placement, order: Order) -> Timeline:
    """Run `placement` in `order` and return what happens.

    Args:
        problem: the costs.
        placement: supported accelerators only.
        order: each segment of the placement once, on its accelerator (`schedule.check` makes sure).

    Raises:
        Deadlock: some segments can never start.
    """
    names, accelerators = problem.instances, problem.accelerators
    waits = problem.workload.predecessors()
    upcoming = [list(turns) for turns in order]
    running: list[_Running | None] = [None] * len(accelerators)
    segments = [segments_of(groups) for groups in placement]
    done = [0] * len(names)  # segments ended, per instance
    finish: list[float | None] = [None] * len(names)
    shown: list[SegmentInterval] = []
    activities: list[Activity] = []
    now = 0.0

    def end_what_is_done(accelerator: int) -> bool:
        """End the step in progress if nothing of it is left, and its segment with it if it was the last."""
        active = running[accelerator]
        if active is None or active.steps[0].left_ms > 0:
            return False
        instance, first, last = active.segment
        step = active.steps.pop(0)
        span = now - step.start_ms
        felt = span / step.standalone_ms if step.kind == "group" and step.standalone_ms > 0 else 1.0
        activities.append(
            Activity(
                names[instance], accelerators[accelerator], step.kind, step.group,
                step.start_ms, now, step.standalone_ms, felt,
            )
        )  # fmt: skip
        if step.kind == "group" and step.group == len(placement[instance]) - 1:
            finish[instance] = now
        if active.steps:
            active.steps[0].start_ms = now
        else:
            shown.append(SegmentInterval(names[instance], first, last, accelerators[accelerator], active.start_ms, now))
            running[accelerator] = None
            done[instance] += 1
        return True

    def start_what_may(accelerator: int) -> bool:
        """Start the accelerator's next segment if accelerator, instance and `after` allow."""
        if running[accelerator] is not None or not upcoming[accelerator]:
            return False
        instance, first, last = upcoming[accelerator][0]
        turn = done[instance] < len(segments[instance]) and segments[instance][done[instance]] == (first, last)
        if not turn or any(finish[other] is None for other in waits[instance]):
            return False
        upcoming[accelerator].pop(0)
        steps = _steps(problem, placement, instance, first, last)
        steps[0].start_ms = now
        running[accelerator] = _Running((instance, first, last), now, steps)
        return True

    every = range(len(accelerators))
    while True:
        # all ends before all starts; what takes no time ends at once, so repeat until nothing more happens
        while any(end_what_is_done(a) for a in every) or any(start_what_may(a) for a in every):
            pass
        active = [(a, held.steps[0]) for a, held in enumerate(running) if held is not None]
        if not active:
            break
        pressure = [(a, step.demand_gb_s) for a, step in active if step.kind == "group"]
        factors = [
            problem.slowdown[a](step.demand_gb_s, sum(demand for other, demand in pressure if other != a))
            if step.kind == "group"
            else 1.0
            for a, step in active
        ]
        ends = [step.left_ms * factor for (_, step), factor in zip(active, factors, strict=True)]
        passed = min(ends)
        for (_, step), factor, end in zip(active, factors, ends, strict=True):
            step.left_ms = 0.0 if end == passed else max(0.0, step.left_ms - passed / factor)
        now += passed
    if any(upcoming):
        stuck = ", ".join(
            f"{names[i]} groups {first}-{last} on {accelerators[a]}"
            for a, turns in enumerate(upcoming)
            for i, first, last in turns[:1]
        )
        raise Deadlock(f"the order deadlocks: these segments can never start: {stuck}")
    ended = tuple(0.0 if end is None else end for end in finish)
    return Timeline(
        dict(zip(names, ended, strict=True)),
        value_of("latency", ended),
        value_of("throughput", ended),
        tuple(sorted(shown, key=lambda s: (s.start_ms, s.end_ms))),
        tuple(sorted(activities, key=lambda s: (s.start_ms, s.end_ms))),
    )


def _steps(problem: Problem, placement: Placement, instance: int, first: int, last: int) -> list[_Step]:
    """In-hold, groups, out-hold of one segment (docs/semantics.md rule 4)."""
    costs, groups = problem.costs(instance), placement[instance]
    accelerator = groups[first]
    steps = []
    if first > 0:
        hold = costs.transitions[first - 1, groups[first - 1], accelerator][1]
        steps.append(_Step("in", first - 1, hold, 0.0, hold))
    for group in range(first, last + 1):
        cost = costs.groups[group][accelerator]
        if cost is None:
            raise ValueError(f"group {group} of {problem.instances[instance]} is not supported there")
        steps.append(_Step("group", group, cost.time_ms, cost.demand_gb_s, cost.time_ms))
    if last < len(groups) - 1:
        hold = costs.transitions[last, accelerator, groups[last + 1]][0]
        steps.append(_Step("out", last, hold, 0.0, hold))
    return steps
