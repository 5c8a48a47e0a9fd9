"""The run job of the pipeline: every schedule of a workload, interleaved, compared with the single-accelerator result."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.measure.lock import machine_lock
from multidnn.measure.sidecar import environment
from multidnn.runtime.comparison import OutputComparison
from multidnn.runtime.iteration import Iteration
from multidnn.runtime.runner import Runner
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.base import Target

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """How long to run a workload (the `run:` block of config.yaml).

    Attributes:
        warmup: rounds that are run and thrown away; one round is one iteration of each schedule.
        min_iterations: rounds that are always run.
        max_iterations: rounds after which the job stops even if time is left.
        budget_s: seconds of running, once `min_iterations` is reached.
        seed: seed of the inputs and of the order of schedulers within a round.
    """

    warmup: int = 2
    min_iterations: int = 12
    max_iterations: int = 40
    budget_s: float = 25.0
    seed: int = 2024


def read_schedules(paths: Sequence[Path]) -> tuple[list[Schedule], dict[str, str]]:
    """Return the schedules in `paths`, and the reasons of those files that say why there is none."""
    schedules, absent = [], {}
    for path in paths:
        content = read_json(path)
        if "absent" in content:
            absent[Path(path).stem] = str(content["absent"])
        else:
            schedules.append(Schedule.from_dict(content, str(path)))
    return schedules, absent


def run_workload(
    target: Target,
    workload: Workload,
    network_dirs: Mapping[str, Path],
    schedule_paths: Sequence[Path],
    chip_runtimes: Mapping[str, str],
    options: RunOptions,
    out_json: Path,
) -> None:
    """Run every schedule of `workload` in turn, round after round, and write runs/{workload}.json.

    Args:
        network_dirs: network name to its exported directory.
        schedule_paths: schedule files of this workload; files that say why there is no schedule are skipped.
        chip_runtimes: network name to the runtime for the chip used whole (`measure.whole.read_chip_runtimes`).

    Raises:
        InputError: a schedule does not fit, or a worker died; nothing is written then.
    """
    schedules, absent = read_schedules(schedule_paths)
    if not schedules:
        raise InputError(f"workload {workload.name!r}: there is no schedule to run: {absent}")
    rng = np.random.default_rng(options.seed)
    iterations: list[dict[str, Any]] = []
    handovers: dict[str, list[float]] = {s.scheduler: [] for s in schedules}
    with (
        machine_lock(),
        Runner(target, workload, network_dirs, schedules, chip_runtimes) as runner,
    ):
        comparison = OutputComparison(runner, rng)
        for scheduler, index, iteration in interleaved(runner, comparison, options, rng, "run"):
            iterations.append(record(scheduler, index, iteration))
            handovers[scheduler] += [s.handover_ms for s in iteration.segments if s.handover_ms is not None]
        facts = environment(target)
    # sleeping workers of the chip used whole wake through the operating system; the gate's own cost is the placed one
    placed = [ms for s in schedules if s.placement is not None for ms in handovers[s.scheduler]]
    write_json(
        out_json,
        {
            "workload": workload.name,
            "target": target.name,
            "iterations": iterations,
            "sync_overhead_ms": float(np.median(placed)) if placed else None,
            "outputs": comparison.outputs(),
            "handover_ms": handovers,
            "absent": absent,
            "options": asdict(options),
            "chip_runtimes": {name: chip_runtimes.get(name) for name in workload.networks},
            "environment": facts,
        },
    )


def interleaved(
    runner: Runner, comparison: OutputComparison, options: RunOptions, rng: np.random.Generator, job: str
) -> Iterator[tuple[str, int, Iteration]]:
    """Run every schedule of `runner` in turn, round after round, compare outputs, and yield what was not warm-up.

    The order of the schedulers is shuffled in each round, and the inputs alternate between two sets from one iteration
    to the next, so that a tensor left over from the iteration before cannot pass for right.

    Args:
        job: what it is done for, in front of lines of the log.

    Yields:
        Scheduler, index of the round, and the iteration.

    Raises:
        InputError: a worker died.
    """
    name = runner.workload.name
    _log.info("%s: %s: %s", job, name, ", ".join(runner.schedulers))
    deadline = 0.0
    for index in range(-options.warmup, options.max_iterations):
        if index == 0:
            deadline = monotonic() + options.budget_s
        if index >= options.min_iterations and monotonic() > deadline:
            break
        for scheduler in rng.permutation(np.array(runner.schedulers, dtype=object)):
            runner.write_inputs(comparison.next_inputs())
            runner.clear_outputs()
            iteration = runner.run(scheduler)
            comparison.compare(runner.outputs(), scheduler)
            if index >= 0:
                yield scheduler, index, iteration
        if index >= 0 and index % 5 == 0:
            _log.info("%s: %s: round %d of at most %d", job, name, index + 1, options.max_iterations)


def record(scheduler: str, index: int, iteration: Iteration) -> dict[str, Any]:
    """Return one entry of `iterations` in a run file (docs/formats.md)."""
    return {
        "scheduler": scheduler,
        "index": index,
        "makespan_ms": iteration.makespan_ms,
        "finish_ms": iteration.finish_ms,
        "segments": [[s.instance, s.first, s.last, s.accelerator, s.start_ms, s.end_ms] for s in iteration.segments],
        "idle_ms": iteration.idle_ms,
    }
