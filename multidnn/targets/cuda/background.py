"""Background load on lanes by name: the traffic generator, or groups over and over."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import sleep
from typing import Any

from multidnn.targets.base import Loop, Traffic
from multidnn.targets.cuda.device import Device, Lane
from multidnn.targets.cuda.loads import Load, running
from multidnn.targets.cuda.loops import Loops
from multidnn.targets.cuda.traffic import TrafficBuffers, TrafficLoad

# a looping chain is about this many groups long, so that the host launches seldom
_LOOP_GROUPS = 24


class Background:
    """Runs what `targets.base` calls loads."""

    def __init__(self, device: Device, lanes: Mapping[str, Lane], loops: Loops) -> None:
        self._device = device
        self._lanes = lanes
        self._loops = loops
        self._buffers = TrafficBuffers(device)

    @contextmanager
    def running(self, loads: Mapping[str, Traffic | Loop]) -> Iterator[dict[str, Any]]:
        """See `Session.background`."""
        made: dict[str, Load] = {}
        for name, load in loads.items():
            lane = self._lanes[name]
            if isinstance(load, Traffic):
                made[name] = TrafficLoad(self._device, lane, self._buffers, load.duty)
            else:
                made[name] = self._loops.of(lane, load.groups, _LOOP_GROUPS)
        with running(made) as answers:
            yield answers

    def peak_traffic(self, splits: Iterable[Sequence[str]], seconds: float) -> float:
        """Run the generator at full speed on all lanes of a split at once; return the largest sum over `splits` in
        bytes per second."""
        sums = []
        for names in splits:
            with self.running(dict.fromkeys(names, Traffic(1.0))) as answers:
                sleep(seconds)
            sums.append(sum(moved / taken for moved, taken in answers.values()))
        return float(max(sums))

    def close(self) -> None:
        """Free what the generators copy."""
        self._buffers = TrafficBuffers(self._device)
