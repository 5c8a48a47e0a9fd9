"""The tune job of the pipeline: the schedules predicted best and the baselines, interleaved; the fastest as a schedule file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from multidnn.files import write_json
from multidnn.measure.lock import machine_lock
from multidnn.measure.sidecar import environment
from multidnn.runtime.comparison import OutputComparison
from multidnn.runtime.iteration import Iteration
from multidnn.runtime.jobs import RunOptions, interleaved, read_schedules
from multidnn.runtime.runner import Runner
from multidnn.schedule.candidate_files import read_candidates
from multidnn.schedule.candidates import OF_THE_CHOSEN, joined
from multidnn.schedule.costs import cost_of
from multidnn.schedule.schedule import Schedule, status_of
from multidnn.schedule.workload import Workload
from multidnn.targets.base import Target

_log = logging.getLogger(__name__)


def tune_workload(
    target: Target,
    workload: Workload,
    network_dirs: Mapping[str, Path],
    candidates: Path,
    haxconn: Path,
    baselines: Sequence[Path],
    options: RunOptions,
    out_json: Path,
) -> None:
    """Run the candidates of `workload` and the baselines in turn, round after round, and write the best one as
    that of tuned.

    The best is the one with the lowest median makespan or, for throughput, the highest median of what an iteration
    reaches of the objective. Where there are no candidates the reason is written instead.

    Args:
        network_dirs: network name to its exported directory.
        candidates: candidates/{workload}.json.
        haxconn: the schedule file of haxconn; its bound holds for every schedule that moves no more often than it may.
        baselines: schedule files of what competes too; those that say why there is no schedule are skipped.

    Raises:
        InputError: a candidate does not fit, or a worker died; nothing is written then.
    """
    found = read_candidates(candidates)
    if isinstance(found, str):
        absent = {"workload": workload.name, "target": target.name, "scheduler": "tuned", "absent": found}
        write_json(out_json, absent)
        return
    competing = joined(found, read_schedules(baselines)[0])
    named = {f"candidate{number}": schedule for number, schedule in enumerate(competing)}
    samples: dict[str, list[float]] = {name: [] for name in named}
    rng = np.random.default_rng(options.seed)
    running = [replace(schedule, scheduler=name) for name, schedule in named.items()]
    with machine_lock(), Runner(target, workload, network_dirs, running) as runner:
        comparison = OutputComparison(runner, rng)
        for name, _, iteration in interleaved(runner, comparison, options, rng, "tune"):
            samples[name].append(reached(workload.objective, iteration))
        facts = environment(target)
    medians = [float(np.median(samples[name])) for name in named]
    chosen = fastest(workload.objective, medians)
    _log.info("tune: %s: of %d candidates number %d is the fastest", workload.name, len(medians), chosen + 1)
    measured = {
        "chosen": chosen,
        "candidates": [
            {
                "scheduler": schedule.scheduler,
                "target": schedule.target,
                "value": schedule.value,
                "measured": median,
                "samples": samples[name],
                "placement": schedule.placement,
            }
            for (name, schedule), median in zip(named.items(), medians, strict=True)
        ],
        "outputs": comparison.outputs(),
        "options": asdict(options),
        "environment": facts,
    }
    tuned_schedule(competing, chosen, Schedule.read(haxconn), measured).write(out_json)


def reached(objective: str, iteration: Iteration) -> float:
    """What an iteration reached of the objective: its makespan in ms, or the sum of 1000 / finish time in 1/s."""
    if objective == "latency":
        return iteration.makespan_ms
    return sum(1000 / finish for finish in iteration.finish_ms.values())


def fastest(objective: str, medians: Sequence[float]) -> int:
    """Return which of the candidates' medians is the best; the predicted best of equals."""
    return min(range(len(medians)), key=lambda number: cost_of(objective, medians[number]))


def tuned_schedule(
    candidates: Sequence[Schedule], chosen: int, haxconn: Schedule, measured: Mapping[str, Any]
) -> Schedule:
    """Return the chosen candidate as the schedule of tuned, with what was `measured` under the key ``tuning`` of its file.

    Args:
        haxconn: whose bound holds for every schedule under its limit of transitions; a baseline may move more often, and
            then nothing is proved of it.
    """
    best, limit = candidates[chosen], haxconn.max_transitions
    assert best.value is not None, "candidates are predicted"
    bound = haxconn.bound if limit is None or best.transitions <= limit else None
    extra = {key: value for key, value in (best.extra or {}).items() if key not in (*OF_THE_CHOSEN, "stopped")}
    return replace(
        best,
        scheduler="tuned",
        max_transitions=limit if best.scheduler == haxconn.scheduler else best.max_transitions,
        bound=bound,
        status=status_of(best.value, bound),
        solve_s=sum(schedule.solve_s for schedule in candidates),
        extra={**extra, "tuning": dict(measured)},
    )
