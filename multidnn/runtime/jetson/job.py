"""The run job of a board: every schedule of a workload, interleaved, in one call to the board."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.measure.lock import machine_lock
from multidnn.measure.sidecar import environment
from multidnn.networks.exported import ExportedNetwork
from multidnn.runtime.iteration import measured_iteration
from multidnn.runtime.jetson.energy import energy_per_iteration
from multidnn.runtime.jetson.engines import board_plan, by_instance
from multidnn.runtime.jetson.pieces import pieces_of, workers_of
from multidnn.runtime.jobs import RunOptions, read_schedules, record
from multidnn.runtime.plan import Plan
from multidnn.schedule.workload import Workload
from multidnn.targets.base import StepTimes
from multidnn.targets.jetson.readings import SAMPLING_MS
from multidnn.targets.jetson.target import JetsonTarget
from multidnn.targets.jetson.tools import sampler_command

_log = logging.getLogger(__name__)

# largest deviation of an output from the whole network on the GPU, as a share of the largest value of that output:
# rounding in another order and on another device; a stale tensor differs by its whole
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 2e-1}
# workers that begin further apart than this were kept from running; such iterations are counted
LARGEST_SKEW_US = 20.0
# longer than any network of the paper takes; a partner that died is noticed much earlier
_TIMEOUT_S = 10


def run_on_board(
    target: JetsonTarget,
    workload: Workload,
    network_dirs: Mapping[str, Path],
    models_dirs: Mapping[str, Path],
    schedule_paths: Sequence[Path],
    engines_json: Path,
    options: RunOptions,
    out_json: Path,
) -> None:
    """Run every schedule of `workload` in turn, round after round, on the board and write runs/{workload}.json.

    Energy per iteration is measured after that, each schedule back to back for `energy_s` of the target's
    configuration.

    Args:
        engines_json: segments/{workload}.json, which names the engines on the board.

    Raises:
        InputError: an engine is missing, a schedule does not fit, or a worker died; nothing is written then.
    """
    schedules, absent = read_schedules(schedule_paths)
    if not schedules:
        raise InputError(f"workload {workload.name!r}: there is no schedule to run: {absent}")
    mode = target.spec["mode"]
    built = read_json(engines_json)
    if built.get("mode") != mode:
        raise InputError(
            f"{engines_json}: holds engines of mode {built.get('mode')!r}, the target runs in mode {mode!r}"
        )
    read = {name: ExportedNetwork.read(network_dirs[name]) for name in workload.networks}
    exported = {instance.name: read[instance.network] for instance in workload.instances}
    networks = by_instance(workload, models_dirs)
    plans = {s.scheduler: board_plan(target, s, workload, exported, networks) for s in schedules}
    workers: dict[str, int | None] = {}
    requested: dict[str, Any] = {}
    engines: dict[str, dict[str, str]] = {}
    for schedule in schedules:
        plan = plans[schedule.scheduler]
        for worker, core in workers_of(mode, plan).items():
            # an instance may use a DLA in one schedule and not in another
            workers[worker] = core if core is not None else workers.get(worker)
        keys: dict[int, str] = {}
        for number, piece in pieces_of(mode, schedule, plan, networks):
            worker = plan.segments[number].worker
            keys[number] = f"{piece.key}@{worker}"
            engines[keys[number]] = {"path": _path(built, piece.key, engines_json), "worker": worker}
        requested[schedule.scheduler] = _steps(plan, keys)
    references = {}
    for instance in workload.instances:
        worker = "gpu" if mode == "segments" else instance.name
        key = f"{instance.network}/gpu"
        engines[f"{key}@{worker}"] = {"path": _path(built, key, engines_json), "worker": worker}
        references[instance.name] = [f"{key}@{worker}"]
    tensors = {
        name: {
            tensor: list(shape)
            for model in (network.whole, *network.groups)
            for tensor, shape in {**model.inputs, **model.outputs}.items()
        }
        for name, network in networks.items()
    }
    cpus = _cores(target.state["cpus"], len(workers))
    _log.info("run: %s: %s", workload.name, ", ".join(plans))
    with machine_lock():
        answer = target.board.call(
            "run",
            {
                "workers": {
                    name: {"dla_core": core, "cpu": cpu}
                    for (name, core), cpu in zip(workers.items(), cpus, strict=True)
                },
                "engines": engines,
                "tensors": tensors,
                "inputs": {name: list(network.whole.inputs) for name, network in networks.items()},
                "outputs": {name: list(network.whole.outputs) for name, network in networks.items()},
                "events": max(len(plan.edges) for plan in plans.values()),
                "plans": requested,
                "reference": references,
                "options": asdict(options),
                "energy": _energy_request(target),
                "timeout_s": _TIMEOUT_S,
            },
            None,
        )
        facts = environment(target)
    iterations: list[dict[str, Any]] = []
    handovers: dict[str, list[float]] = {name: [] for name in plans}
    skews: list[float] = []
    for entry in answer["iterations"]:
        plan = plans[entry["scheduler"]]
        steps = {
            int(number): StepTimes(wait, start, (end,), signalled)
            for rows in entry["steps"].values()
            for number, wait, start, end, signalled in rows
        }
        iteration = measured_iteration(plan, steps, entry["start_ns"])
        skews.append(entry["skew_ns"] / 1e3)
        iterations.append({**record(entry["scheduler"], entry["index"], iteration), "start_skew_us": skews[-1]})
        handovers[entry["scheduler"]] += [s.handover_ms for s in iteration.segments if s.handover_ms is not None]
    placed = [ms for series in handovers.values() for ms in series]
    late = sum(skew > LARGEST_SKEW_US for skew in skews)
    if late:
        _log.warning(
            "run: %s: in %d of %d iterations the workers began more than %g us apart",
            workload.name, late, len(skews), LARGEST_SKEW_US,
        )  # fmt: skip
    unlocked = target.state["clocks_locked"] is not True
    if unlocked:
        _log.warning("run: %s: the board's clocks are not known to be locked; times move with them", workload.name)
    write_json(
        out_json,
        {
            "workload": workload.name,
            "target": target.name,
            "iterations": iterations,
            "sync_overhead_ms": float(np.median(placed)) if placed else None,
            "outputs": _outputs(answer["outputs"], target.spec["precision"]),
            "mode": mode,
            # in mode paper nothing enforces what the prediction assumes
            "prediction_binds": mode == "segments",
            "unlocked": unlocked,
            "stand_in": target.state["stand_in"],
            "start_skew_us": {
                "median": float(np.median(skews)),
                "worst": max(skews),
                "late_iterations": late,
            },
            "transfer": answer["transfer"],
            "energy": energy_per_iteration(target, answer),
            "handover_ms": handovers,
            "absent": absent,
            "options": asdict(options),
            "environment": facts,
        },
    )


def _cores(available: Sequence[int], workers: int) -> Sequence[int | None]:
    """Return a core for each worker, from the last one down; none where the board has no two to spare for all the rest.

    A spinning worker that is moved between cores begins late: pinned, the worst of 500 starts of three workers on a
    16-core PC was 23 us apart instead of 83 us.
    """
    if len(available) < workers + 2:
        return [None] * workers
    return list(reversed(available))[:workers]


def _path(built: Mapping[str, Any], key: str, place: Path) -> str:
    try:
        return str(built["engines"][key]["engine"])
    except (KeyError, TypeError):
        raise InputError(f"{place}: has no engine {key!r}; delete the file to have its engines built again") from None


def _steps(plan: Plan, keys: Mapping[int, str]) -> dict[str, list[dict[str, Any]]]:
    """Return the plan as the board takes it: per worker its segments, with the numbers of the events between them."""
    event = {edge: number for number, edge in enumerate(plan.edges)}
    return {
        worker: [
            {
                "segment": number,
                "instance": plan.segments[number].instance,
                "engine": keys[number],
                "waits": [event[source, number] for source in plan.before[number]],
                "signals": [event[edge] for edge in plan.edges if edge[0] == number],
            }
            for number in turn
        ]
        for worker, turn in plan.turns.items()
    }


def _energy_request(target: JetsonTarget) -> dict[str, Any] | None:
    if not target.spec["energy_s"]:
        return None
    command = sampler_command(target.board, target.spec["emc"], SAMPLING_MS)
    return {"seconds": target.spec["energy_s"], "sampler": {"command": command}}


def _outputs(found: Mapping[str, Mapping[str, Any]], precision: str) -> dict[str, dict[str, Any]]:
    """Return the `outputs` entry of the run file; null stands for a number that is not finite."""
    outputs = {}
    for instance, entry in found.items():
        tolerance = TOLERANCE[precision] * entry["scale"]
        error = None if entry["nan"] else entry["max_abs_err"]
        ok = error is not None and error <= tolerance
        worst = max(entry["by_scheduler"], key=entry["by_scheduler"].__getitem__, default=None)
        if not ok:
            _log.error(
                "run: outputs of %s under %s differ from those of the whole network on the GPU by %s (allowed %g)",
                instance, worst, error, tolerance,
            )  # fmt: skip
        outputs[instance] = {
            "max_abs_err": error,
            "tolerance": tolerance,
            "ok": ok,
            "reference": "gpu",
            "worst_scheduler": worst,
        }
    return outputs
