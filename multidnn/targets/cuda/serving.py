"""Answers requests with one network while others run, all of them uncut."""

from collections.abc import Mapping, Sequence
from time import perf_counter_ns

import numpy as np

from multidnn.targets.base import Served, Service, chip_worker
from multidnn.targets.cuda.device import Device, Lane
from multidnn.targets.cuda.graphs import Chain, Chains
from multidnn.targets.cuda.groups import WHOLE
from multidnn.targets.cuda.loading import LoadedGroups
from multidnn.targets.cuda.loads import running
from multidnn.targets.cuda.loops import Loops
from multidnn.targets.cuda.tensors import Tensors

# executions a launch of the others: 5 to 20 ms of work, and 50 us of Python that a request may have to wait for
_LOOP_NETWORKS = 8


class Serving:
    """Serves with networks that are loaded uncut.

    The others are launched from threads of this process, `_LOOP_NETWORKS` executions at once and three launches ahead.
    Launching and waiting release Python's lock, so neither side keeps the other from the GPU; a request that ends while
    such a thread prepares its next launch is seen later by what that takes.
    """

    def __init__(
        self,
        device: Device,
        lanes: Mapping[str, Lane],
        loaded: LoadedGroups,
        chains: Chains,
        loops: Loops,
        tensors: Tensors,
    ) -> None:
        self._device = device
        self._lanes = lanes
        self._loaded = loaded
        self._chains = chains
        self._loops = loops
        self._tensors = tensors

    def serve(self, protected: Service, beside: Sequence[Service], requests: int, warmup: int, urgent: bool) -> Served:
        """See `CudaSession.serve`."""
        chain, lane = self._request(protected, urgent)
        turns: dict[str, list[str]] = {}
        for service in beside:
            turns.setdefault(self._lane(service).name, []).append(service.instance)
        loops = {
            name: self._loops.of(self._lanes[name], [(instance, WHOLE) for instance in listed], _LOOP_NETWORKS)
            for name, listed in turns.items()
        }
        # made before, so that nothing is allocated between two requests
        times = np.zeros((requests, 2), dtype=np.int64)
        self._tensors.upload()
        with running(loops):
            for number in range(-warmup, requests):
                begin = perf_counter_ns()
                chain.launch()
                lane.stream.synchronize()
                end = perf_counter_ns()
                if number >= 0:
                    times[number] = begin, end
        for service in (protected, *beside):
            self._tensors.written(self._lane(service), service.instance, WHOLE)
        self._tensors.download()
        ends = {instance: loops[name].ends_ns for name, listed in turns.items() for instance in listed}
        each = {instance: loops[name].rounds for name, listed in turns.items() for instance in listed}
        return Served.of(times, ends, each)

    def _lane(self, service: Service) -> Lane:
        return self._lanes[chip_worker(service.instance) if service.accelerator is None else service.accelerator]

    def _request(self, service: Service, urgent: bool) -> tuple[Chain, Lane]:
        """Return the graph that answers a request, and the lane that it is launched on."""
        own = self._lane(service)
        lane = self._device.urgent_lane(f"urgent {own.name}", own.precision) if urgent else own
        return self._chains.of(lane, [self._loaded.part(own, service.instance, WHOLE)]), lane
