"""Networks captured on the partitions of a GPU, ready to be timed, co-run or executed by plans; all in this process."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Loop, Served, Service, Step, StepTimes, Timed, Traffic, chip_worker
from multidnn.targets.cuda.adoptions import Adoptions
from multidnn.targets.cuda.background import Background
from multidnn.targets.cuda.demand import Demand
from multidnn.targets.cuda.device import Device, Lane
from multidnn.targets.cuda.execution import Execution
from multidnn.targets.cuda.gate import Gate
from multidnn.targets.cuda.graphs import Chains
from multidnn.targets.cuda.groups import WHOLE
from multidnn.targets.cuda.loading import LoadedGroups
from multidnn.targets.cuda.loops import Loops
from multidnn.targets.cuda.memory import GraphMemory
from multidnn.targets.cuda.precision import Precision
from multidnn.targets.cuda.serving import Serving
from multidnn.targets.cuda.tensors import Tensors
from multidnn.targets.cuda.timing import Timing
from multidnn.targets.cuda.transition import Transitions


class CudaSession:
    """One lane per partition (and per instance for the chip used whole), on which every group is captured once.

    A segment is its groups' graphs joined into one; a plan is a launch per segment, all enqueued before a gate opens,
    with events between partitions. See `targets.base.Session`; a worker is a lane, and all are in this process, so a
    fault of the GPU ends the process's use of it.

    Tensors: `tensor` gives a mirror in the host's memory. What has been asked for is uploaded before and downloaded
    after every `time`, `time_whole`, `serve` and `iterate`, outside of what is timed.
    """

    def __init__(self, device: Device, instances: Mapping[str, ExportedNetwork], chip: Mapping[str, str]) -> None:
        self._device = device
        self._instances = dict(instances)
        self._chip = tuple(chip)
        self._lanes: dict[str, Lane] = dict(device.lanes)
        for number, (instance, runtime) in enumerate(chip.items()):
            name = chip_worker(instance)
            self._lanes[name] = device.chip_lane(number, name, Precision.of_runtime(runtime))
        self._tensors = Tensors(device, self._instances)
        self._memory = GraphMemory(device)
        self._loaded = LoadedGroups(device, self._instances, self._tensors, self._memory)
        self._adoptions = Adoptions(self._tensors, self._memory)
        self._chains = Chains(device)
        self._timing = Timing(device, self._loaded, self._chains, self._memory, self._tensors)
        self._demand = Demand(device.spec, self._instances, self._timing)
        loops, gate = Loops(device, self._loaded, self._chains), Gate(device)
        self._background = Background(device, self._lanes, loops)
        self._serving = Serving(device, self._lanes, self._loaded, self._chains, loops, self._tensors)
        self._transitions = Transitions(device, self._tensors, self._memory, self._adoptions, gate)
        self._execution = Execution(
            self._instances, self._lanes, self._loaded, self._adoptions, self._chains, gate, self._tensors
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Free graphs, tensors and weights; a second call does nothing."""
        self._chains.close()
        self._adoptions.close()
        self._loaded.close()
        self._memory.close()
        self._tensors.close()
        self._background.close()
        torch.cuda.empty_cache()

    def load(self, only: Mapping[str, Sequence[int]] | None = None) -> None:
        """Capture groups on every partition, and the chip's whole networks. See `Session.load`."""
        for name in self._device.lanes:
            for instance, network in self._instances.items():
                for group in network.groups:
                    if only is None or group.index in only.get(instance, ()):
                        self._loaded.load(self._lanes[name], instance, group.index)
        for instance in self._chip:
            self._loaded.load(self._lanes[chip_worker(instance)], instance, WHOLE)

    def load_whole(self, accelerator: str, instance: str) -> str | None:
        """See `Session.load_whole`."""
        self._loaded.load(self._lanes[accelerator], instance, WHOLE)
        return self.refusal(accelerator, instance, WHOLE)

    def refusal(self, accelerator: str, instance: str, group: int) -> str | None:
        """See `Session.refusal`."""
        return self._loaded.refusal(self._lanes[accelerator], instance, group)

    def refusal_whole(self, instance: str) -> str | None:
        """See `Session.refusal_whole`."""
        return self.refusal(chip_worker(instance), instance, WHOLE)

    def tensor(self, instance: str, name: str) -> NDArray[np.float32]:
        """Return the host's mirror of a tensor, shaped for the batch; see the class for when it is copied."""
        return self._tensors.mirror(instance, name)

    def fill_inputs(self, rng: np.random.Generator) -> None:
        """See `Session.fill_inputs`."""
        self._tensors.fill(rng, only_inputs=True)

    def fill_tensors(self, rng: np.random.Generator) -> None:
        """See `Session.fill_tensors`: every place of every tensor."""
        self._tensors.fill(rng, only_inputs=False)

    def process_ids(self) -> dict[str, int]:
        """Return this process's id for each worker."""
        return dict.fromkeys(self._lanes, os.getpid())

    def time(self, accelerator: str, groups: Sequence[Timed], passes: int) -> list[list[float]]:
        """See `Session.time`: one launch per pass, timed by the device's clock between groups, less what writing that
        clock down takes."""
        return self._timing.time(self._lanes[accelerator], groups, passes)

    def time_whole(self, instance: str, passes: int) -> list[float]:
        """See `Session.time_whole`."""
        return [row[0] for row in self.time(chip_worker(instance), [Timed(instance, WHOLE)], passes)]

    def background(self, loads: Mapping[str, Traffic | Loop]) -> AbstractContextManager[dict[str, Any]]:
        """See `Session.background`."""
        return self._background.running(loads)

    def peak_traffic(self, seconds: float) -> float:
        """Run the generator at full speed on all partitions of a split at once; return the largest sum over splits in
        bytes per second."""
        splits = self._device.spec.splits.values()
        return self._background.peak_traffic([[partition.name for partition in split] for split in splits], seconds)

    def count_traffic(self, accelerator: str, groups: Sequence[tuple[str, int]], seconds: float) -> list[float]:
        """Return the bytes per second that each group moves between the GPU and its memory, alone on `accelerator`, by
        hardware counters. `seconds` is not used.

        Raises:
            InputError: the counters cannot be read (ask `CudaTarget.traffic_counter` first).
        """
        return self._demand.rates(self._lanes[accelerator], groups)

    def serve(
        self, protected: Service, beside: Sequence[Service], requests: int, warmup: int, *, urgent: bool = False
    ) -> Served:
        """See `Session.serve`. A request is from before the launch of the network's graph to the return of the wait for
        its stream, by the host's clock: what a caller with its input on the GPU sees."""
        return self._serving.serve(protected, beside, requests, warmup, urgent)

    def time_transition(
        self, source: str, destination: str, instance: str, tensor: str, rounds: int
    ) -> tuple[list[float], list[float], list[float]]:
        """See `Session.time_transition`: an event, and a copy to the destination's own place of the tensor.

        The second list holds from the source's end (plus the first list) to the destination's start; the third what
        copying the tensor to the destination's place takes, in its precision and layout.
        """
        return self._transitions.measure(self._lanes[source], self._lanes[destination], instance, tensor, rounds)

    def plan(self, worker: str, name: str, steps: Sequence[Step], spin: bool) -> None:
        """See `Session.plan`; `spin` makes no difference, as streams wait on the device."""
        self._execution.plan(worker, name, steps)

    def iterate(self, name: str, workers: Sequence[str], timeout_s: float) -> tuple[int, dict[str, list[StepTimes]]]:
        """See `Session.iterate`. Times are of the device's clock (ns); of a step's calls only the last one's end is
        known."""
        return self._execution.iterate(name, workers, timeout_s)
