"""Schedules that use the chip whole, without accelerators: one instance after another, and all at once."""

from pathlib import Path

from multidnn import tables
from multidnn.errors import InputError, suggestion
from multidnn.schedule.problem import require_times, value_of
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload


def whole(workload: Workload, whole_csv: Path, target: str) -> Schedule:
    """One instance after another on the whole chip, in the order of `Workload.sequence()`.

    The prediction adds up the medians of `whole_csv` (ms); a network without a row there is an `InputError`.
    """
    rows = tables.read(whole_csv, tables.WHOLE)
    require_times(whole_csv, rows, "median_ms")
    times = {row["network"]: row["median_ms"] for row in rows}
    finish: dict[str, float] = {}
    now = 0.0
    for i in workload.sequence():
        instance = workload.instances[i]
        if instance.network not in times:
            raise InputError(
                f"{whole_csv}: no row for network {instance.network!r} of instance {instance.name!r}, "
                f"found {', '.join(times) or 'none'}" + suggestion(instance.network, times)
            )
        now += times[instance.network]
        finish[instance.name] = now
    finish = {instance.name: finish[instance.name] for instance in workload.instances}
    throughput = value_of("throughput", tuple(finish.values()))
    predicted: dict[str, object] = {
        "makespan_ms": now,
        "throughput_per_s": throughput if throughput < float("inf") else None,
        "finish_ms": finish,
    }
    value = predicted["makespan_ms"] if workload.objective == "latency" else predicted["throughput_per_s"]
    assert value is None or isinstance(value, float)
    return _chip(workload, target, "whole", value, predicted)


def streams(workload: Workload, target: str) -> Schedule:
    """All instances at once on the whole chip, left to the driver or the operating system; nothing is predicted."""
    return _chip(workload, target, "streams", None, None)


def _chip(
    workload: Workload, target: str, scheduler: str, value: float | None, predicted: dict[str, object] | None
) -> Schedule:
    return Schedule(
        workload=workload.name,
        target=target,
        scheduler=scheduler,
        objective=workload.objective,
        max_transitions=None,
        status="feasible",
        value=value,
        bound=None,
        predicted=predicted,
        placement=None,
        order=None,
    )
