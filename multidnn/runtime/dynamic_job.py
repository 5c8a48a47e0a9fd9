"""The dynamic job of the pipeline: a workload run while it is solved, changed on the way, and what solving costs it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.measure.lock import machine_lock
from multidnn.measure.sidecar import environment
from multidnn.runtime.background_solver import Task
from multidnn.runtime.changes import SCHEDULER
from multidnn.runtime.comparison import OutputComparison
from multidnn.runtime.dynamic import DynamicIteration, DynamicRunner, Event
from multidnn.schedule.problem import Problem
from multidnn.targets.base import Target

_log = logging.getLogger(__name__)

_ANSWERS_NOTHING = -1
_GRACE_S = 10.0


@dataclass(frozen=True)
class DynamicOptions:
    """How long to run (the `dynamic:` block of config.yaml).

    Attributes:
        warmup: iterations of the first schedule that are run and thrown away before solving begins.
        min_iterations: iterations of each phase (from the start, a join or a leave on) after its last new schedule.
        budget_s: seconds that the search of a phase may take.
        cost_iterations: iterations with the solver at work, and as many with it paused, to see what it costs.
        cost_block: of those, how many in a row before the other kind has its turn.
        seed: seed of the inputs.
    """

    warmup: int = 3
    min_iterations: int = 20
    budget_s: float = 5.0
    cost_iterations: int = 40
    cost_block: int = 5
    seed: int = 2024


def run_dynamic(
    target: Target,
    problem: Problem,
    network_dirs: Mapping[str, Path],
    joining: Sequence[str],
    max_transitions: int | None,
    options: DynamicOptions,
    out_json: Path,
) -> None:
    """Run a workload while it is solved and write dynamic/{workload}.json.

    Phases: from the naive schedule until the search has ended; then with `joining`, if there are any; then without them
    again. Each goes on until its search has ended and its last schedule has run `min_iterations` times. Afterwards the
    last schedule runs on, in turns with the solver at work (on the same problem, over and over) and with it paused.

    Args:
        problem: the costs of all instances, those that join included.
        network_dirs: network name to its exported directory.
        joining: instances of `problem` that join and leave.

    Raises:
        InputError: something does not fit, or a worker died; nothing is written then.
    """
    name = problem.workload.name
    with (
        machine_lock(),
        DynamicRunner(
            target,
            problem,
            network_dirs,
            absent=joining,
            max_transitions=max_transitions,
            time_limit_s=options.budget_s,
        ) as runner,
    ):
        recorder = _Recorder(runner, options)
        staying = [instance.name for instance in problem.workload.instances if instance.name not in joining]
        recorder.phase("start", staying)
        if joining:
            for instance in joining:
                runner.join(instance)
            recorder.phase("join", [*staying, *joining])
            for instance in reversed(joining):
                runner.leave(instance)
            recorder.phase("leave", staying)
        cost = _cost_of_solving(recorder, options)
        facts = environment(target)
    first = recorder.phases[0]
    write_json(
        out_json,
        {
            "workload": name,
            "target": target.name,
            "objective": problem.workload.objective,
            "max_transitions": max_transitions,
            "first_improvement_s": first["first_improvement_s"],
            "optimum_s": first["optimum_s"],
            "proved_s": first["proved_s"],
            "phases": recorder.phases,
            "events": [event.to_dict() for event in runner.events],
            "iterations": recorder.iterations,
            "schedules": [schedule.to_dict() for schedule in runner.schedules],
            "cost_of_solving": cost,
            "outputs": recorder.comparison.outputs(),
            "executions": recorder.executions(),
            "options": asdict(options),
            "environment": facts,
        },
    )


class _Recorder:
    """Runs phases and keeps what they were, with every output compared."""

    def __init__(self, runner: DynamicRunner, options: DynamicOptions) -> None:
        self.runner = runner
        self.phases: list[dict[str, Any]] = []
        self.iterations: list[dict[str, Any]] = []
        self._options = options
        self._expected: tuple[str, ...] = ()
        self._wanted = dict.fromkeys(runner.runner.networks, 0)
        self._runs = dict.fromkeys(runner.runner.networks, 0)
        self.comparison = OutputComparison(runner.runner, np.random.default_rng(options.seed))
        for _ in range(options.warmup):
            runner.runner.run(SCHEDULER)

    def iterate(self) -> DynamicIteration:
        """Run one iteration on the other inputs and compare its outputs."""
        self.runner.runner.clear_outputs()
        done = self.runner.iterate(self.comparison.next_inputs())
        self.comparison.compare(self.runner.outputs(), SCHEDULER)
        for instance in self._expected:
            self._wanted[instance] += 1
        for instance in done.times.finish_ms:
            self._runs[instance] += 1
        return done

    def executions(self) -> dict[str, dict[str, int]]:
        """Per instance, how many iterations it was in, how often it ran, and how often its outputs were compared."""
        return {
            name: {"wanted": self._wanted[name], "run": self._runs[name], "compared": self.comparison.compared[name]}
            for name in self._runs
        }

    def phase(self, cause: str, instances: Sequence[str]) -> None:
        """Run `instances` until the search has ended and its last schedule has had its iterations."""
        self._expected = tuple(instances)
        events, first = len(self.runner.events), len(self.iterations)
        same, number = 0, -1
        # a machine that is busy with something else may leave the solver no time to see that its own has passed
        deadline = monotonic() + 2 * self._options.budget_s + _GRACE_S
        while True:
            done = self.iterate()
            same = same + 1 if done.schedule == number else 1
            number = done.schedule
            self.iterations.append(_record(done, len(self.phases)))
            if same >= self._options.min_iterations:
                if not self.runner.solving:
                    break
                if monotonic() > deadline:
                    _log.warning("dynamic: %s: the search did not end in time; is the machine busy?", cause)
                    break
        since = self.runner.events[events:]
        count = len(self.iterations) - first
        self.phases.append(_summary(cause, self.runner.instances, since, count))
        summary = self.phases[-1]
        _log.info(
            "dynamic: %s: %s: from %.4g to %.4g, first improvement after %s, optimum after %s (proved %s), %d iterations",
            cause, ", ".join(self.runner.instances), summary["start_value"], summary["value"],
            _seconds(summary["first_improvement_s"]), _seconds(summary["optimum_s"]), _seconds(summary["proved_s"]),
            count,
        )  # fmt: skip


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def _record(done: DynamicIteration, phase: int) -> dict[str, Any]:
    return {
        "index": done.index,
        "phase": phase,
        "time_s": done.time_s,
        "schedule": done.schedule,
        "makespan_ms": done.times.makespan_ms,
        "finish_ms": done.times.finish_ms,
        "segments": [[s.instance, s.first, s.last, s.accelerator, s.start_ms, s.end_ms] for s in done.times.segments],
    }


def _summary(cause: str, instances: Sequence[str], events: Sequence[Event], iterations: int) -> dict[str, Any]:
    """When the search of one phase found what, in seconds since the phase began."""
    began = next(event for event in events if event.kind == cause)
    # of several that join at one boundary, the search begins after the last
    begin = [event for event in events if event.kind == cause][-1]
    found = [event for event in events if event.kind == "incumbent" and event.time_s >= begin.time_s]
    proof = next((event for event in events if event.kind == "optimal"), None)
    best = found[-1] if found else begin
    return {
        "cause": cause,
        "instances": list(instances),
        "start_s": began.time_s,
        "iterations": iterations,
        "start_value": begin.facts["value"],
        "value": best.facts["value"],
        "first_improvement_s": found[0].time_s - begin.time_s if found else None,
        "optimum_s": None if proof is None else best.time_s - begin.time_s,
        "proved_s": None if proof is None else proof.time_s - begin.time_s,
    }


def _cost_of_solving(recorder: _Recorder, options: DynamicOptions) -> dict[str, Any]:
    """Run one schedule in turns with the solver at work and with it paused; ms, and seconds of the solver's own time."""
    runner, solver = recorder.runner, recorder.runner.solver
    schedule = len(runner.schedules) - 1
    content: dict[str, Any] = {"schedule": schedule, "instances": list(runner.instances)}
    if (reason := solver.lost) is not None:
        return {**content, "not_measured": reason}
    makespans: dict[str, list[float]] = {"paused": [], "solving": []}
    finishes: dict[str, dict[str, list[float]]] = {
        name: {instance: [] for instance in runner.instances} for name in makespans
    }
    wall, cpu = dict.fromkeys(makespans, 0.0), dict.fromkeys(makespans, 0.0)
    task = Task(
        _ANSWERS_NOTHING, runner.problem, (), runner.schedule.max_transitions, options.budget_s, over_and_over=True
    )
    solver.solve(task)
    states = ["paused", "solving"]
    while len(makespans["solving"]) < options.cost_iterations:
        for state in states:
            if state == "paused":
                solver.pause()
            else:
                solver.resume()
            began, used = monotonic(), solver.cpu_s()
            for _ in range(options.cost_block):
                done = recorder.iterate()
                makespans[state].append(done.times.makespan_ms)
                for instance, finish in done.times.finish_ms.items():
                    finishes[state][instance].append(finish)
            wall[state] += monotonic() - began
            cpu[state] += solver.cpu_s() - used
        # the other one first next time, so that neither always follows the change of inputs or clocks
        states.reverse()
    solver.rest()
    if solver.lost is not None or not np.isfinite(sum(cpu.values())):
        return {**content, "not_measured": solver.lost or "the solver's process ended"}
    if len(runner.schedules) - 1 != schedule:
        raise InputError("the schedule changed while the cost of solving was measured")
    medians = {state: float(np.median(values)) for state, values in makespans.items()}
    if cpu["solving"] < 0.01 * wall["solving"]:
        _log.warning(
            "dynamic: the accelerators left the solver %.3f s of %.1f s: the cost of solving says little",
            cpu["solving"], wall["solving"],
        )  # fmt: skip
    return {
        **content,
        "paused_median_ms": medians["paused"],
        "solving_median_ms": medians["solving"],
        "ratio": medians["solving"] / medians["paused"],
        "finish_median_ms": {
            state: {instance: float(np.median(values)) for instance, values in by_instance.items()}
            for state, by_instance in finishes.items()
        },
        "solver_cpu_s": cpu,
        "wall_s": wall,
        "makespan_ms": makespans,
        "finish_ms": finishes,
    }
