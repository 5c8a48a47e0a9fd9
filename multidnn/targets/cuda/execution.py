"""Runs plans: every segment is one launch, all enqueued before a gate opens, with events between lanes."""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import torch

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Step, StepTimes
from multidnn.targets.cuda.adoptions import Adoptions
from multidnn.targets.cuda.device import Captured, Lane
from multidnn.targets.cuda.gate import Gate
from multidnn.targets.cuda.graphs import Chain, Chains, Mark
from multidnn.targets.cuda.groups import inputs_of, split_call
from multidnn.targets.cuda.loading import LoadedGroups
from multidnn.targets.cuda.plans import launch_order, taken_over
from multidnn.targets.cuda.tensors import Tensors


class Execution:
    """The plans that workers were given, each worker being a lane."""

    def __init__(
        self,
        instances: Mapping[str, ExportedNetwork],
        lanes: Mapping[str, Lane],
        loaded: LoadedGroups,
        adoptions: Adoptions,
        chains: Chains,
        gate: Gate,
        tensors: Tensors,
    ) -> None:
        self._instances = instances
        self._lanes = lanes
        self._loaded = loaded
        self._adoptions = adoptions
        self._chains = chains
        self._gate = gate
        self._tensors = tensors
        self._plans: dict[str, dict[str, tuple[Step, ...]]] = {}
        self._events: dict[int, Any] = {}

    def plan(self, worker: str, name: str, steps: Sequence[Step]) -> None:
        """See `Session.plan`."""
        self._plans.setdefault(name, {})[worker] = tuple(steps)

    def iterate(self, name: str, workers: Sequence[str], timeout_s: float) -> tuple[int, dict[str, list[StepTimes]]]:
        """See `Session.iterate`. Times are of the device's clock (ns); of a step's calls only the last one's end is
        known. The copies of tensors that a segment takes over are part of it, as a timeline's in-holds are."""
        turns = {worker: self._plans[name][worker] for worker in workers}
        order = launch_order(turns)
        makers = taken_over(turns, self._instances)
        chains = {(worker, number): self._segment(worker, turns[worker][number], makers) for worker, number in order}
        self._tensors.upload()
        with self._gate.closed([self._lanes[worker].stream for worker in workers]):
            for worker, number in order:
                step, stream = turns[worker][number], self._lanes[worker].stream
                for event in step.waits:
                    stream.wait_event(self._event(event))
                chains[worker, number].launch()
                for event in step.signals:
                    self._event(event).record(stream)
        self._wait(workers, name, timeout_s)
        start = self._gate.opened_ns()
        times: dict[str, list[StepTimes]] = {}
        for worker in workers:
            free = start
            times[worker] = []
            for number in range(len(turns[worker])):
                begin, end = chains[worker, number].times()
                times[worker].append(StepTimes(free, begin, (end,), end))
                free = end
        for worker, number in order:
            for call in turns[worker][number].calls:
                self._tensors.written(self._lanes[worker], *split_call(call))
        self._tensors.download()
        return start, times

    def _event(self, number: int) -> Any:
        if number not in self._events:
            self._events[number] = torch.cuda.Event()
        return self._events[number]

    def _segment(self, worker: str, step: Step, makers: Mapping[tuple[str, int, str], str]) -> Chain:
        """Return the segment of a step; `makers` as `taken_over` gives them."""
        lane = self._lanes[worker]
        work: list[Captured | Mark] = [Mark.STAMP]
        for call in step.calls:
            instance, group = split_call(call)
            for name in inputs_of(self._instances[instance], group):
                maker = makers.get((instance, group, name))
                if maker is not None:
                    work.append(self._adoptions.part(lane, self._lanes[maker], instance, name))
            work.append(self._loaded.part(lane, instance, group))
        return self._chains.of(lane, [*work, Mark.STAMP])

    def _wait(self, workers: Sequence[str], name: str, timeout_s: float) -> None:
        deadline = monotonic() + timeout_s
        for worker in workers:
            stream = self._lanes[worker].stream
            while not stream.query():
                if monotonic() > deadline:
                    raise InputError(
                        f"plan {name!r} did not end on {worker} within {timeout_s:g} s; the GPU may be busy with "
                        "another program, or a kernel hangs"
                    )
