"""Runs schedules of one workload on a target, one iteration at a time, with the caller's inputs."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multidnn.errors import InputError, suggestion
from multidnn.networks.exported import ExportedNetwork
from multidnn.runtime.iteration import Iteration, measured_iteration
from multidnn.runtime.plan import CHIP, Plan, make_plan
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.base import Step, Target, Timed, require

Array = NDArray[np.float32]
Values = dict[str, dict[str, Array]]


class Runner:
    """Workers of a target with the engines of a workload loaded; a context manager.

    Args:
        target: an opened target that can run.
        workload: what runs together.
        networks: network name to its exported directory (or an `ExportedNetwork`).
        schedules: schedules of this workload, each run under its scheduler's name.
        chip_runtimes: network name to the runtime for the chip used whole; needed by `whole` and `streams`.
        timeout_s: an iteration that takes longer is given up.
        adopting: whether placed schedules will be added by `adopt`, so that it must be ready for any of them.

    Raises:
        InputError: a schedule does not fit, a network is missing, or a worker failed; no process is left behind.
    """

    def __init__(
        self,
        target: Target,
        workload: Workload,
        networks: Mapping[str, Path | ExportedNetwork],
        schedules: list[Schedule],
        chip_runtimes: Mapping[str, str] | None = None,
        timeout_s: float = 120.0,
        *,
        adopting: bool = False,
    ) -> None:
        require(target, "run")
        self._target = target
        self.workload = workload
        self._timeout_s = timeout_s
        self.networks = _networks_by_instance(workload, networks)
        self._plans: dict[str, Plan] = {}
        for schedule in schedules:
            if schedule.scheduler in self._plans:
                raise InputError(f"workload {workload.name!r}: two schedules of scheduler {schedule.scheduler!r}")
            self._plans[schedule.scheduler] = self._plan(schedule, workload)
        chip: dict[str, str] = {}
        if any(not plan.spin for plan in self._plans.values()):
            for instance in workload.instances:
                if instance.network not in (chip_runtimes or {}):
                    raise InputError(f"no runtime is known for network {instance.network!r} on the whole chip")
                chip[instance.name] = (chip_runtimes or {})[instance.network]
        self._events = max((len(plan.edges) for plan in self._plans.values()), default=0)
        if adopting:
            # no placement hands over more often than between all groups, and to every instance that waits
            handovers = sum(len(network.groups) - 1 for network in self.networks.values())
            self._events = max(self._events, handovers + sum(len(i.after) for i in workload.instances))
        self._session = target.open_session(self.networks, chip=chip, events=self._events)
        try:
            self._session.load()
            for name, plan in self._plans.items():
                self._require_loaded(name, plan)
                self._send_plan(name, plan)
        except BaseException:
            self._session.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and free the shared memory."""
        self._session.close()

    def adopt(self, schedule: Schedule, workload: Workload | None = None) -> None:
        """Make a placed schedule ready to run under its scheduler's name, in place of an earlier one of that name.

        Call it between iterations. Nothing is compiled: every group is loaded on every accelerator that takes it.

        Args:
            workload: what the schedule runs, if only some of this runner's instances; under the runner's workload name.

        Raises:
            InputError: the schedule does not fit, or is of the chip used whole; the earlier one stays then.
        """
        plan = self._plan(schedule, workload or self.workload)
        if not plan.spin or len(plan.edges) > self._events:
            raise InputError(
                f"schedule {schedule.scheduler!r} of workload {self.workload.name!r} cannot be added: this takes a "
                "placed schedule and a Runner made with adopting=True"
            )
        self._require_loaded(schedule.scheduler, plan)
        self._send_plan(schedule.scheduler, plan)
        self._plans[schedule.scheduler] = plan

    @property
    def schedulers(self) -> tuple[str, ...]:
        """Names under which schedules were given."""
        return tuple(self._plans)

    @property
    def output_tolerance(self) -> float:
        """See `Target.output_tolerance`."""
        return self._target.output_tolerance

    def process_ids(self) -> dict[str, int]:
        """Return the process id of each worker."""
        return self._session.process_ids()

    def _plan(self, schedule: Schedule, workload: Workload) -> Plan:
        return make_plan(schedule, workload, self.networks, self._target.accelerators, self._target.splits)

    def _require_loaded(self, name: str, plan: Plan) -> None:
        for segment in plan.segments:
            if segment.accelerator == CHIP:
                reasons = [self._session.refusal_whole(segment.instance)]
            else:
                groups = range(segment.first, segment.last + 1)
                reasons = [self._session.refusal(segment.accelerator, segment.instance, group) for group in groups]
            for reason in reasons:
                if reason is not None:
                    raise InputError(f"schedule {name!r} runs {segment.instance!r} on {segment.accelerator}: {reason}")

    def _send_plan(self, name: str, plan: Plan) -> None:
        event = {edge: number for number, edge in enumerate(plan.edges)}
        after: dict[int, list[int]] = {}
        for source, target in plan.edges:
            after.setdefault(source, []).append(event[source, target])
        for worker, turn in plan.turns.items():
            steps = []
            for number in turn:
                segment = plan.segments[number]
                whole = "whole" if name == "whole" else "streams"
                parts = [whole] if segment.accelerator == CHIP else range(segment.first, segment.last + 1)
                steps.append(
                    Step(
                        calls=tuple(f"{segment.instance}/{part}" for part in parts),
                        waits=tuple(event[source, number] for source in plan.before[number]),
                        signals=tuple(after.get(number, ())),
                    )
                )
            self._session.plan(worker, name, steps, plan.spin)

    def write_inputs(self, inputs: Mapping[str, Mapping[str, ArrayLike]]) -> None:
        """Copy `inputs` (instance, input name, float32 array of its shape) into the memory that runs read.

        Inputs that are not named keep what they had. On a target with a batch an array holds the whole batch, or one
        input, which is repeated.

        Raises:
            InputError: an unknown instance or input, or a wrong shape.
        """
        for instance, values in inputs.items():
            if instance not in self.networks:
                known = ", ".join(self.networks)
                raise InputError(f"unknown instance {instance!r}{suggestion(instance, self.networks)}; known: {known}")
            shapes = self.networks[instance].inputs
            for name, value in values.items():
                if name not in shapes:
                    raise InputError(f"instance {instance!r} has no input {name!r}; it has {', '.join(shapes)}")
                array = np.asarray(value, dtype=np.float32)
                place = self._session.tensor(instance, name)
                if array.shape not in (shapes[name], place.shape):
                    raise InputError(f"input {instance}/{name} has shape {array.shape}, expected {place.shape}")
                place[...] = array

    def random_inputs(self, rng: np.random.Generator) -> Values:
        """Return standard normal noise for every input of every instance, a whole batch."""
        return {
            instance: {
                name: rng.standard_normal(self._session.tensor(instance, name).shape, dtype=np.float32)
                for name in network.inputs
            }
            for instance, network in self.networks.items()
        }

    def outputs(self) -> Values:
        """Return copies of every instance's outputs as the last iteration left them."""
        return {
            instance: {name: self._session.tensor(instance, name).copy() for name in network.outputs}
            for instance, network in self.networks.items()
        }

    def single_accelerator(self, instance: str) -> str:
        """Return the first accelerator that takes every group of `instance`.

        Raises:
            InputError: there is none, so there is no single-accelerator result to compare with.
        """
        groups = self.networks[instance].groups
        for accelerator in self._target.accelerators:
            if all(self._session.refusal(accelerator, instance, group.index) is None for group in groups):
                return accelerator
        raise InputError(f"no accelerator takes every group of {instance!r}: there is nothing to compare outputs with")

    def run_alone(self, instance: str, accelerator: str) -> dict[str, Array]:
        """Run `instance` from its first to its last group on one accelerator, alone, and return its outputs."""
        network = self.networks[instance]
        self._session.time(accelerator, [Timed(instance, group.index) for group in network.groups], 1)
        return self.outputs()[instance]

    def clear_outputs(self) -> None:
        """Fill every output with NaN, so that one which is not written cannot pass for right."""
        for instance, network in self.networks.items():
            for name in network.outputs:
                self._session.tensor(instance, name)[...] = np.nan

    def run(self, scheduler: str) -> Iteration:
        """Execute one iteration of the schedule given for `scheduler`, all workers started together.

        Raises:
            InputError: no such schedule, or a worker died or waited too long; every worker has been ended by then.
        """
        if scheduler not in self._plans:
            raise InputError(f"no schedule {scheduler!r} was given; there are {', '.join(self._plans)}")
        plan = self._plans[scheduler]
        workers = [worker for worker, turn in plan.turns.items() if turn]
        start, times = self._session.iterate(scheduler, workers, self._timeout_s)
        steps = {
            number: step for worker in workers for number, step in zip(plan.turns[worker], times[worker], strict=True)
        }
        return measured_iteration(plan, steps, start)


def _networks_by_instance(
    workload: Workload, networks: Mapping[str, Path | ExportedNetwork]
) -> dict[str, ExportedNetwork]:
    read: dict[str, ExportedNetwork] = {}
    for name in workload.networks:
        if name not in networks:
            raise InputError(f"workload {workload.name!r} needs network {name!r}, which was not given")
        given = networks[name]
        read[name] = given if isinstance(given, ExportedNetwork) else ExportedNetwork.read(given)
    return {instance.name: read[instance.network] for instance in workload.instances}
