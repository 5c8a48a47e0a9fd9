"""Writes Chrome trace events of one schedule, predicted and measured as two processes; opens in Perfetto."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.report.intervals import Problems, handovers, lanes, predicted_timeline, problem_of, segments_of
from multidnn.report.records import Segment, read_run, read_schedule

if TYPE_CHECKING:
    from multidnn.schedule import Activity, Problem, Timeline

PREDICTED, MEASURED = 1, 2

Event = dict[str, Any]


def _us(milliseconds: float) -> float:
    return round(1000 * milliseconds, 3)


def _metadata(pid: int, process: str, threads: Sequence[str]) -> list[Event]:
    events: list[Event] = [
        {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": process}},
        {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}},
    ]
    for tid, name in enumerate(threads, start=1):
        events.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}})
        events.append({"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}})
    return events


def _complete(pid: int, tid: int, name: str, category: str, start_ms: float, end_ms: float, args: Event) -> Event:
    # the difference of rounded ends, so that a group never sticks out of its segment
    start = _us(start_ms)
    duration = round(_us(end_ms) - start, 3)
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": pid,
        "tid": tid,
        "ts": start,
        "dur": duration,
        "args": args,
    }


def _segments(pid: int, threads: Sequence[tuple[str, list[Segment]]]) -> list[Event]:
    events: list[Event] = []
    tids: dict[Segment, int] = {}
    for tid, (accelerator, segments) in enumerate(threads, start=1):
        for segment in segments:
            tids[segment] = tid
            groups = f"{segment.first}" if segment.first == segment.last else f"{segment.first}-{segment.last}"
            args = {
                "instance": segment.instance,
                "first_group": segment.first,
                "last_group": segment.last,
                "accelerator": accelerator,
            }
            name = f"{segment.instance} {groups}"
            events.append(_complete(pid, tid, name, "segment", segment.start_ms, segment.end_ms, args))
    for number, (before, after) in enumerate(handovers(list(tids))):
        flow: Event = {"name": "transition", "cat": "transition", "id": 1000 * pid + number, "pid": pid}
        # an arrow binds to the slice that contains it, and a slice does not contain its own end
        leave = max(_us(before.start_ms), round(_us(before.end_ms) - 0.001, 3))
        events.append({**flow, "ph": "s", "tid": tids[before], "ts": leave})
        events.append({**flow, "ph": "f", "bp": "e", "tid": tids[after], "ts": _us(after.start_ms)})
    return events


def _activities(timeline: "Timeline", tids: dict[str, int]) -> list[Event]:
    events = []
    for activity in timeline.activities:
        name = f"group {activity.group}" if activity.kind == "group" else f"{activity.kind}-hold"
        args = {
            "instance": activity.instance,
            "group": activity.group,
            "standalone_ms": activity.standalone_ms,
            "slowdown": activity.slowdown,
        }
        tid = tids[activity.accelerator]
        events.append(_complete(PREDICTED, tid, name, activity.kind, activity.start_ms, activity.end_ms, args))
    return events


def _counters(problem: "Problem", timeline: "Timeline") -> list[Event]:
    """External demand (GB/s) and mean slowdown of the running group, per accelerator, at every change."""
    index = {name: number for number, name in enumerate(problem.accelerators)}
    instance = {name: number for number, name in enumerate(problem.instances)}

    def demand(activity: "Activity") -> float:
        cost = problem.costs(instance[activity.instance]).groups[activity.group][index[activity.accelerator]]
        return cost.demand_gb_s if cost else 0.0

    groups = [(activity, demand(activity)) for activity in timeline.activities if activity.kind == "group"]
    times = sorted({time for activity in timeline.activities for time in (activity.start_ms, activity.end_ms)})
    events: list[Event] = []
    last: dict[str, float] = {}
    for time in times:
        running = [(activity, own) for activity, own in groups if activity.start_ms <= time < activity.end_ms]
        for accelerator in problem.accelerators:
            external = sum(own for activity, own in running if activity.accelerator != accelerator)
            felt = next((activity.slowdown for activity, _ in running if activity.accelerator == accelerator), 1.0)
            for name, value in (
                (f"external demand of {accelerator} (GB/s)", round(external, 6)),
                (f"slowdown of {accelerator}", round(felt, 6)),
            ):
                if last.get(name) != value:
                    last[name] = value
                    args = {"value": value}
                    events.append({"ph": "C", "name": name, "pid": PREDICTED, "tid": 0, "ts": _us(time), "args": args})
    return events


def write_trace(problem: Problems, schedule_path: Path, run_path: Path | None, out: Path) -> None:
    """Write the trace of one schedule (times in microseconds from the common start).

    Predicted, process 1: segments, inside them groups and holds, arrows for transitions, counters for external demand
    and slowdown. Measured, process 2: segments of the iteration with the median makespan. Instances that overlap on
    the whole chip get a thread each, and so does what is no accelerator of the problem ("gpu+dla0", one engine on both).

    Args:
        problem: what the schedule was made from, one problem or one by target; None leaves the predicted process out.
        schedule_path: the schedule file; a marker of an absent scheduler gives a trace without events that says why.
        run_path: the runs file; None on a target that cannot run.
        out: the JSON file.

    Raises:
        InputError: a file is broken, the schedule was made from other tables, or the run lacks the scheduler.
    """
    record = read_schedule(schedule_path)
    facts: Event = {"workload": record.workload, "target": record.target, "scheduler": record.scheduler}
    events: list[Event] = []
    if record.absent is not None:
        facts["absent"] = record.absent
        write_json(out, {"displayTimeUnit": "ms", "otherData": facts, "traceEvents": events})
        return
    problem = problem_of(problem, record)
    timeline = predicted_timeline(problem, record) if problem else None
    accelerators = list(problem.accelerators) if problem else []
    run = read_run(run_path) if run_path is not None else None
    if run and run.workload != record.workload:
        raise InputError(f"{run.path}: holds workload {run.workload!r}, expected {record.workload!r}")
    loose = run is not None and not run.prediction_binds
    if loose:
        facts["prediction_binds"] = False
    if problem and timeline:
        threads = lanes(segments_of(timeline), accelerators)
        events += _metadata(
            PREDICTED, "predicted (not binding)" if loose else "predicted", [name for name, _ in threads]
        )
        events += _segments(PREDICTED, threads)
        events += _activities(timeline, {name: tid for tid, (name, _) in enumerate(threads, start=1)})
        events += _counters(problem, timeline)
        facts["predicted_makespan_ms"] = timeline.makespan_ms
    if run:
        iteration = run.median_iteration(record.scheduler)
        threads = lanes(iteration.segments, accelerators)
        events += _metadata(
            MEASURED, f"{run.source} (median iteration, {iteration.index})", [name for name, _ in threads]
        )
        events += _segments(MEASURED, threads)
        facts["measured_makespan_ms"] = iteration.makespan_ms
    write_json(out, {"displayTimeUnit": "ms", "otherData": facts, "traceEvents": events})
