"""Groups of networks captured on lanes, each once, or why a lane does not take one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.cuda.device import Captured, Device, Lane, memory_error
from multidnn.targets.cuda.executor import Program, WeightStore
from multidnn.targets.cuda.groups import WHOLE, inputs_of, model_of
from multidnn.targets.cuda.memory import GraphMemory
from multidnn.targets.cuda.precision import Precision, other_kernels
from multidnn.targets.cuda.tensors import Tensors


class LoadedGroups:
    """What is captured of `instances`: groups by number, and networks uncut as `groups.WHOLE`."""

    def __init__(
        self, device: Device, instances: Mapping[str, ExportedNetwork], tensors: Tensors, memory: GraphMemory
    ) -> None:
        self._device = device
        self._instances = instances
        self._tensors = tensors
        self._memory = memory
        self._store = WeightStore(device.name)
        self._programs: dict[tuple[Path, str], Program] = {}
        self._captured: dict[tuple[str, str, int], Captured] = {}
        # in one precision anywhere, or on the lane of that name; the same for all instances
        self._refused: dict[tuple[Precision | str, Path, int], str] = {}

    def load(self, lane: Lane, instance: str, group: int) -> None:
        """Capture a group on `lane`; `refusal` tells if that cannot be. A second call does nothing.

        Raises:
            InputError: the GPU's memory is full.
        """
        if (lane.name, instance, group) in self._captured or self.refusal(lane, instance, group) is not None:
            return
        network = self._instances[instance]
        path = model_of(network, group)
        what = f"loading {path} on {lane.name}"
        inputs = {name: self._tensors.place(lane, instance, name) for name in inputs_of(network, group)}
        try:
            program = self._program(path, lane.precision)

            def run() -> dict[str, Any]:
                outputs = program.run(inputs)
                for name in outputs:
                    # a later group was loaded before and reads it there
                    place = self._tensors.existing(lane, instance, name)
                    if place is not None:
                        outputs[name] = place.copy_(outputs[name])
                return outputs

            lane.warm_up(run)
        except InputError as error:
            self._refused[lane.precision, network.directory, group] = str(error)
            return
        except torch.cuda.OutOfMemoryError as error:
            raise memory_error(error, what) from None
        except RuntimeError as error:
            reason = f"{path}: torch cannot run it: {str(error).splitlines()[0]}"
            self._refused[lane.precision, network.directory, group] = reason
            return
        try:
            captured, problem = self._capture(lane, instance, run)
        except torch.cuda.OutOfMemoryError as error:
            raise memory_error(error, what) from None
        if problem is not None:
            reason = f"{path}: a kernel that torch chooses cannot run on {lane.name}: {problem}"
            self._refused[lane.name, network.directory, group] = reason
            return
        self._tensors.keep(lane, instance, captured.result)
        self._captured[lane.name, instance, group] = captured

    def refusal(self, lane: Lane, instance: str, group: int) -> str | None:
        """Return why `lane` did not take a group, None if it did or was not asked to."""
        directory = self._instances[instance].directory
        found = (self._refused.get((where, directory, group)) for where in (lane.precision, lane.name))
        return next((reason for reason in found if reason is not None), None)

    def part(self, lane: Lane, instance: str, group: int) -> Captured:
        """Return a group as it was captured on `lane`.

        Raises:
            InputError: it was not; the message says why.
        """
        part = self._captured.get((lane.name, instance, group))
        if part is None:
            what = "its whole network" if group == WHOLE else f"group {group}"
            why = self.refusal(lane, instance, group) or "it was not asked for when the session was loaded"
            raise InputError(f"{lane.name}: {what} of {instance!r} is not loaded: {why}")
        return part

    def close(self) -> None:
        """Free graphs and weights."""
        self._captured, self._programs = {}, {}
        self._store = WeightStore(self._device.name)

    def _capture(self, lane: Lane, instance: str, run: Callable[[], dict[str, Any]]) -> tuple[Captured, str | None]:
        """Return `run` captured on `lane`, and why the driver refuses that, None if it takes it."""
        captured = self._memory.capture(lane, instance, run)
        problem = self._device.graph_problem(captured)
        if problem is not None:
            # such as a kernel whose thread-block clusters are too large for the partition
            with other_kernels():
                lane.warm_up(run)
                captured = self._memory.capture(lane, instance, run)
            problem = self._device.graph_problem(captured)
        if problem is not None and "CLUSTER" in problem and not self._device.spec.large_clusters:
            problem += " (try large_clusters: true)"
        return captured, problem

    def _program(self, path: Path, precision: Precision) -> Program:
        key = (path, precision.name)
        if key not in self._programs:
            with precision.applied():
                self._programs[key] = Program(path, precision, self._device.spec.batch, self._store)
            # weights are put there by another stream than the lanes'
            self._device.synchronize()
        return self._programs[key]
