"""Times groups on a lane by the device's clock."""

from collections.abc import Sequence

import numpy as np

from multidnn.targets.base import Timed
from multidnn.targets.cuda.device import Captured, Device, Lane
from multidnn.targets.cuda.graphs import Chain, Chains, Mark
from multidnn.targets.cuda.loading import LoadedGroups
from multidnn.targets.cuda.memory import GraphMemory
from multidnn.targets.cuda.tensors import Tensors

_CALIBRATION_KERNELS = 32
_CALIBRATION_PASSES = 15


class Timing:
    """Times loaded groups, one launch per pass, less what writing the time down between them takes."""

    def __init__(
        self, device: Device, loaded: LoadedGroups, chains: Chains, memory: GraphMemory, tensors: Tensors
    ) -> None:
        self._device = device
        self._loaded = loaded
        self._chains = chains
        self._memory = memory
        self._tensors = tensors
        self._stamp_ms: dict[str, float] = {}

    def time(self, lane: Lane, groups: Sequence[Timed], passes: int) -> list[list[float]]:
        """Run `groups` in order on `lane`, `passes` times; return milliseconds per pass and group.

        Raises:
            InputError: one of them is not loaded.
        """
        work: list[Captured | Mark] = [Mark.STAMP]
        for timed in groups:
            work += [self._loaded.part(lane, timed.instance, timed.group)] * timed.repeats
            work.append(Mark.STAMP)
        chain = self._chains.of(lane, work)
        own = self._stamp_cost(lane)
        self._tensors.upload()
        rows = []
        for _ in range(passes):
            chain.launch()
            lane.stream.synchronize()
            times = chain.times()
            rows.append(
                [
                    max(1e-6, (end - begin) / 1e6 - own) / timed.repeats
                    for begin, end, timed in zip(times, times[1:], groups, strict=False)
                ]
            )
        for timed in groups:
            self._tensors.written(lane, timed.instance, timed.group)
        self._tensors.download()
        return rows

    def _stamp_cost(self, lane: Lane) -> float:
        """Return by how many ms a time stamp between two kernels delays the second."""
        if lane.name not in self._stamp_ms:
            kernel = self._memory.small_kernel(lane)
            plain, stamped = Chain(self._device, lane, 2), Chain(self._device, lane, _CALIBRATION_KERNELS + 1)
            plain.stamp()
            stamped.stamp()
            for _ in range(_CALIBRATION_KERNELS):
                plain.add([kernel])
                stamped.add([kernel])
                stamped.stamp()
            plain.stamp()
            spans: list[list[int]] = [[], []]
            for chain, found in zip((plain.ready(), stamped.ready()), spans, strict=True):
                for _ in range(_CALIBRATION_PASSES):
                    chain.launch()
                    lane.stream.synchronize()
                    times = chain.times()
                    found.append(times[-1] - times[0])
                chain.close()
            without, with_stamps = (float(np.median(found)) for found in spans)
            self._stamp_ms[lane.name] = max(0.0, with_stamps - without) / (_CALIBRATION_KERNELS - 1) / 1e6
        return self._stamp_ms[lane.name]
