"""Runs a workload while it is being solved, and takes up each better schedule between two iterations (D-HaX-CoNN).

Source: HaX-CoNN (PPoPP 2024), the section on dynamic workloads: start from a naive schedule, go on solving beside the
networks, and use every better schedule from the next iteration on.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from time import monotonic
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.runtime.background_solver import SEARCH, Answer, BackgroundSolver, Task
from multidnn.runtime.changes import (
    SCHEDULER,
    first_schedule,
    given,
    instance_of,
    joined,
    left,
    require_place,
    restricted,
)
from multidnn.runtime.iteration import Iteration
from multidnn.runtime.runner import Runner, Values
from multidnn.schedule.problem import Problem
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Instance
from multidnn.targets.base import Target

_log = logging.getLogger(__name__)

# a schedule must be better by more than rounding to be worth a change
_GAIN = 1e-9


@dataclass(frozen=True)
class Event:
    """Something that happened beside or between iterations.

    Attributes:
        time_s: when, in seconds since the first iteration was asked for; an incumbent's is when the solver found it.
        iteration: index of the iteration that came next.
        kind: "start", "join" or "leave" (the schedule it began from is in `facts`), "incumbent" (the solver found a
            better schedule), "adopted" (the next iteration runs it), "optimal" (the best schedule is proved to be
            that), "solver_done" (the search has ended), "solver_failed" and "solver_lost" (with the reason).
        facts: what belongs to the kind; ms for latency and 1/s for throughput.
    """

    time_s: float
    iteration: int
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The entry in the file, `facts` beside the rest."""
        return {"time_s": self.time_s, "iteration": self.iteration, "kind": self.kind, **self.facts}


@dataclass(frozen=True)
class DynamicIteration:
    """One iteration: when it was started (seconds since the first), under which schedule (its place in
    `DynamicRunner.schedules`), and what `Runner.run` says of it."""

    index: int
    time_s: float
    schedule: int
    times: Iteration


class DynamicRunner:
    """A workload that runs and is solved at once; a context manager.

    Every call of `iterate` runs each instance of the workload of that moment once, from its first to its last group.
    Between two calls the best schedule that the solver has found by then is taken up, and instances join or leave.
    The solver is a process of its own that uses only the processor time that nothing else wants. If it dies, the
    workload runs on under the best schedule so far. After a change the search begins from that schedule, changed as
    little as possible, or from the best one of an earlier time with the same instances.

    Args:
        target: an opened target that can run.
        problem: the costs of all instances that may ever run (`Problem.from_files`); its workload names them.
        networks: network name to its exported directory (or an `ExportedNetwork`), for all of them: every engine is
            loaded now, so that no change compiles anything.
        absent: instances that are not there at the start and may `join`.
        start: the schedule to begin with, of the instances that are there (default: naive).
        max_transitions: changes of accelerator allowed per instance (None: any number).
        time_limit_s: how long one search may take; each change of the workload begins another.
        timeout_s: an iteration that takes longer is given up.
        search: what the solver's process calls, as ``module:function``.

    Raises:
        InputError: something does not fit, a network is missing, or a worker failed; no process is left behind.
    """

    def __init__(
        self,
        target: Target,
        problem: Problem,
        networks: Mapping[str, Path | ExportedNetwork],
        *,
        absent: Sequence[str] = (),
        start: Schedule | None = None,
        max_transitions: int | None = None,
        time_limit_s: float = 30.0,
        timeout_s: float = 120.0,
        search: str = SEARCH,
    ) -> None:
        self._all = problem
        self._max_transitions = max_transitions
        self._time_limit_s = time_limit_s
        self._target_name = target.name
        known = problem.workload.instances
        for name in absent:
            instance_of(known, name)
        self._present = tuple(instance for instance in known if instance.name not in absent)
        if not self._present:
            raise InputError(f"workload {problem.workload.name!r}: no instance is there at the start")
        for instance in known:
            require_place(problem, instance, max_transitions)
        for instance in self._present:
            _require_present(instance, [other.name for other in self._present])
        self._problem = restricted(problem, self._present)
        if start is None:
            self._best = self._named(first_schedule(self._problem, max_transitions))
        else:
            self._best = self._named(given(self._problem, start, max_transitions))
        self._wanted = [instance.name for instance in self._present]
        self._changes: list[tuple[str, str]] = []
        self._lock = Lock()
        self._begun: float | None = None
        self._iterations = 0
        self._task = 0
        self._solving = False
        # the best schedule of each workload that was left, for when it comes back
        self._known: dict[frozenset[Instance], Schedule] = {}
        self.schedules: list[Schedule] = []
        self.events: list[Event] = []
        # first, so that its libraries load while the engines do
        self._solver = BackgroundSolver(search)
        try:
            self._runner = Runner(target, problem.workload, networks, [], timeout_s=timeout_s, adopting=True)
            try:
                self._adopt()
                self._solver.wait_ready()
            except BaseException:
                self._runner.close()
                raise
        except BaseException:
            self._solver.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the solver and the workers and free the shared memory; a second call does nothing."""
        self._solver.close()
        self._runner.close()

    @property
    def instances(self) -> tuple[str, ...]:
        """The instances that the latest iteration ran."""
        return tuple(instance.name for instance in self._present)

    @property
    def problem(self) -> Problem:
        """The problem that is being solved: the instances that are there."""
        return self._problem

    @property
    def schedule(self) -> Schedule:
        """The schedule that the latest iteration ran."""
        return self.schedules[-1]

    @property
    def solving(self) -> bool:
        """Whether the solver may still find something better, as known at the latest boundary."""
        return self._solving

    @property
    def runner(self) -> Runner:
        """What runs the schedules, with all instances that may ever run."""
        return self._runner

    @property
    def solver(self) -> BackgroundSolver:
        """The solver's process."""
        return self._solver

    def join(self, name: str) -> None:
        """Have the instance `name` run from the next iteration on; may be called from another thread.

        Raises:
            InputError: it is unknown or there already, or waits for one that is not there.
        """
        instance = instance_of(self._all.workload.instances, name)
        with self._lock:
            if name in self._wanted:
                raise InputError(f"instance {name!r} cannot join: it is there already")
            _require_present(instance, self._wanted)
            self._wanted.append(name)
            self._changes.append(("join", name))

    def leave(self, name: str) -> None:
        """Have the instance `name` not run from the next iteration on; those that waited for it no longer do. May be
        called from another thread.

        Raises:
            InputError: it is not there, or the only one.
        """
        with self._lock:
            if name not in self._wanted:
                raise InputError(f"instance {name!r} cannot leave: there are {', '.join(self._wanted)}")
            if self._wanted == [name]:
                raise InputError(f"instance {name!r} cannot leave: it is the only one")
            self._wanted.remove(name)
            self._changes.append(("leave", name))

    def iterate(self, inputs: Mapping[str, Mapping[str, ArrayLike]] | None = None) -> DynamicIteration:
        """Take up what has changed, then run every instance that is there once.

        Args:
            inputs: instance, input name, float32 array; inputs that are not named keep what they had.

        Raises:
            InputError: an input does not fit; or a worker died or waited too long: every process has been ended then.
        """
        if inputs is not None:
            self._runner.write_inputs(inputs)
        try:
            self._between()
            began = self._now()
            times = self._runner.run(SCHEDULER)
        except BaseException:
            # an iteration that was cut short leaves workers in the middle of something
            self.close()
            raise
        self._iterations += 1
        return DynamicIteration(self._iterations - 1, began, len(self.schedules) - 1, times)

    def outputs(self) -> Values:
        """Return copies of the outputs of every instance that is there, as the latest iteration left them."""
        every = self._runner.outputs()
        return {name: every[name] for name in self.instances}

    def _now(self) -> float:
        assert self._begun is not None
        return monotonic() - self._begun

    def _between(self) -> None:
        """The boundary between two iterations: hear the solver, change the workload, take up the best schedule."""
        if self._begun is None:
            self._begun = monotonic()
            self._say("start", instances=list(self.instances), schedule=0, value=self._best.value)
            self._ask()
        self._listen()
        with self._lock:
            changes, self._changes = self._changes, []
        for kind, name in changes:
            self._change(kind, name)
        if changes:
            self._ask()
        if _same(self._best, self.schedules[-1]):
            # perhaps with a bound that is new
            self.schedules[-1] = self._best
        else:
            self._adopt()

    def _ask(self) -> None:
        self._task += 1
        self._solving = self._solver.lost is None
        self._solver.solve(
            Task(self._task, self._problem, (self._best,), self._max_transitions, self._time_limit_s)
        )  # fmt: skip

    def _listen(self) -> None:
        for answer in self._solver.poll():
            if answer.kind == "lost":
                self._solving = False
                self._say("solver_lost", reason=answer.reason)
                _log.warning("dynamic: %s; the run goes on with the best schedule so far", answer.reason)
            elif answer.number == self._task:
                self._hear(answer)

    def _hear(self, answer: Answer) -> None:
        assert self._begun is not None
        at = answer.found - self._begun
        found = answer.schedule
        if answer.kind == "better" and found is not None:
            if _gains(found, self._best):
                self._best = self._named(found)
                self._say("incumbent", at, value=found.value, bound=found.bound)
            return
        self._solving = False
        if answer.kind == "failed":
            self._say("solver_failed", at, reason=answer.reason)
            _log.warning("dynamic: the solver gave up: %s; the run goes on", answer.reason)
            return
        status, bound = (found.status, found.bound) if found is not None else ("feasible", None)
        self._best = replace(self._best, status=status, bound=bound)
        if status == "optimal":
            self._say("optimal", at, value=self._best.value, bound=bound)
        self._say("solver_done", at, status=status, value=self._best.value, bound=bound)

    def _change(self, kind: str, name: str) -> None:
        """Change workload, problem and best schedule; the solver is told once all changes are made."""
        began = monotonic()
        self._known[frozenset(self._present)] = self._best
        if kind == "join":
            self._present = (*self._present, instance_of(self._all.workload.instances, name))
        else:
            self._present = tuple(
                replace(instance, after=tuple(other for other in instance.after if other != name))
                for instance in self._present
                if instance.name != name
            )
        self._problem = restricted(self._all, self._present)
        derive = joined if kind == "join" else left
        self._best = self._named(derive(self._problem, self._best, name, self._max_transitions))
        known = self._known.get(frozenset(self._present))
        remembered = known is not None and _gains(known, self._best)
        if known is not None and remembered:
            # proved or not, what was proved is said again by the search that begins now
            self._best = replace(known, status="feasible", bound=None)
        facts: dict[str, Any] = {"value": self._best.value, "remembered": remembered}
        facts["instances"] = list(self.instances)
        self._say(kind, instance=name, **facts, took_ms=1e3 * (monotonic() - began))

    def _adopt(self) -> None:
        began = monotonic()
        self._runner.adopt(self._best, self._problem.workload)
        self.schedules.append(self._best)
        if self._begun is not None:
            facts = {"schedule": len(self.schedules) - 1, "value": self._best.value}
            self._say("adopted", **facts, took_ms=1e3 * (monotonic() - began))

    def _named(self, schedule: Schedule) -> Schedule:
        """`schedule` under the names that a dynamic run goes by."""
        return replace(
            schedule, workload=self._all.workload.name, scheduler=SCHEDULER, target=self._target_name
        )  # fmt: skip

    def _say(self, kind: str, at: float | None = None, **facts: Any) -> None:
        time_s = self._now() if at is None else at
        self.events.append(Event(time_s, self._iterations, kind, facts))


def _require_present(instance: Instance, present: Sequence[str]) -> None:
    missing = [name for name in instance.after if name not in present]
    if missing:
        raise InputError(f"instance {instance.name!r} waits for {', '.join(missing)}, which must be there first")


def _same(one: Schedule, other: Schedule) -> bool:
    return (one.placement, one.order) == (other.placement, other.order)


def _gains(found: Schedule, best: Schedule) -> bool:
    """Whether `found` is predicted to be better than `best` under their objective."""
    assert found.value is not None
    assert best.value is not None
    lower, higher = (found, best) if found.objective == "latency" else (best, found)
    assert lower.value is not None
    assert higher.value is not None
    return lower.value < higher.value * (1 - _GAIN)
