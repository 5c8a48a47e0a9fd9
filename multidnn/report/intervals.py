"""Fetches what a timeline figure and a trace show: the simulated timeline of a schedule, and measured segments in lanes."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from multidnn.errors import InputError
from multidnn.report.records import ScheduleRecord, Segment
from multidnn.schedule import Problem, Schedule, Timeline, evaluate

Problems = Problem | Mapping[str, Problem] | None
"""What schedules were made from: one problem, or one for each target that a schedule may name (`Problem.by_target`)."""


def problem_of(problems: Problems, record: ScheduleRecord) -> Problem | None:
    """Return what the schedule of `record` was made from; None if that is not given, or it places nothing.

    Raises:
        InputError: it names a target that has no problem.
    """
    if not isinstance(problems, Mapping):
        return problems
    if record.placement is not None and record.target not in problems:
        raise InputError(
            f"{record.path}: target: found {record.target!r}, expected {' or '.join(problems)}: the schedule was made "
            "from other tables, make it again"
        )
    return problems.get(record.target)


def predicted_timeline(problem: Problem, record: ScheduleRecord) -> Timeline | None:
    """Simulate the schedule of `record` on `problem`; None for one without a placement (whole, streams).

    Raises:
        InputError: the schedule does not fit the problem, or the file predicts another makespan: then it was made
            from other tables.
    """
    if record.placement is None:
        return None
    schedule = Schedule.read(record.path)
    if schedule.placement is None or schedule.order is None:
        raise InputError(f"{record.path}: order is null beside a placement, expected a list per accelerator")
    try:
        timeline = evaluate(problem, schedule.placement, schedule.order)
    except InputError as error:
        raise InputError(f"{record.path}: {error}") from None
    if record.makespan_ms is None or not math.isclose(timeline.makespan_ms, record.makespan_ms, rel_tol=1e-6):
        raise InputError(
            f"{record.path}: predicted.makespan_ms is {record.makespan_ms}, but these tables give "
            f"{timeline.makespan_ms:.6g}: the schedule was made from other tables, make it again"
        )
    return timeline


def segments_of(timeline: Timeline) -> list[Segment]:
    """Return the predicted segments in the form of the measured ones."""
    return [Segment(s.instance, s.first, s.last, s.accelerator, s.start_ms, s.end_ms) for s in timeline.segments]


def lanes(segments: Sequence[Segment], accelerators: Sequence[str]) -> list[tuple[str, list[Segment]]]:
    """Return (accelerator, segments that do not overlap), one lane per accelerator or more where segments overlap.

    Accelerators come in the order given, others (such as the whole chip) after them; an accelerator of `accelerators`
    without a segment keeps one empty lane, unless every segment runs elsewhere.
    """
    used = {segment.accelerator for segment in segments}
    known = [name for name in accelerators if used & set(accelerators)]
    names = list(dict.fromkeys([*known, *(segment.accelerator for segment in segments)]))
    packed: list[tuple[str, list[Segment]]] = []
    for name in names:
        mine: list[list[Segment]] = [[]]
        for segment in sorted((s for s in segments if s.accelerator == name), key=lambda s: (s.start_ms, s.end_ms)):
            free = next((lane for lane in mine if not lane or lane[-1].end_ms <= segment.start_ms), None)
            if free is None:
                mine.append([segment])
            else:
                free.append(segment)
        packed += [(name, lane) for lane in mine]
    return packed


def handovers(segments: Sequence[Segment]) -> list[tuple[Segment, Segment]]:
    """Return (earlier, later) for every change of accelerator within an instance."""
    chains: dict[str, list[Segment]] = {}
    for segment in sorted(segments, key=lambda s: s.first):
        chains.setdefault(segment.instance, []).append(segment)
    return [
        (before, after)
        for chain in chains.values()
        for before, after in pairwise(chain)
        if before.accelerator != after.accelerator
    ]
