"""How many bytes per second each group moves: hardware counters over measured time."""

from collections.abc import Mapping, Sequence

import numpy as np

from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Timed
from multidnn.targets.cuda.counting import counted_bytes
from multidnn.targets.cuda.device import Lane
from multidnn.targets.cuda.spec import CudaSpec
from multidnn.targets.cuda.timing import Timing

_REPEATS = 20
_PASSES = 5


class Demand:
    """Memory traffic of groups that are loaded.

    The bytes come from hardware counters of a child process that runs each network once, kernel by kernel, under
    Nsight Compute; the time is measured here.
    """

    def __init__(self, spec: CudaSpec, instances: Mapping[str, ExportedNetwork], timing: Timing) -> None:
        self._spec = spec
        self._instances = instances
        self._timing = timing
        self._bytes: dict[tuple[str, str, int], float] = {}

    def rates(self, lane: Lane, groups: Sequence[tuple[str, int]]) -> list[float]:
        """Return the bytes per second that each group (instance, group) moves, alone on `lane`.

        Raises:
            InputError: the counters cannot be read (ask `CudaTarget.traffic_counter` first).
        """
        precision = lane.precision.name
        missing = {name for name, group in groups if (precision, name, group) not in self._bytes}
        if missing:
            networks = {name: self._instances[name] for name in sorted(missing)}
            for (name, group), moved in counted_bytes(self._spec, precision, networks).items():
                self._bytes[precision, name, group] = moved
        timed = [Timed(name, group, _REPEATS) for name, group in groups]
        times = np.median(self._timing.time(lane, timed, _PASSES), axis=0)
        return [
            self._bytes[precision, name, group] / (float(ms) / 1e3)
            for (name, group), ms in zip(groups, times, strict=True)
        ]
