"""The memory of captured work: a pool per lane and instance."""

from collections.abc import Callable
from typing import Any

import torch

from multidnn.targets.cuda.device import Captured, Device, Lane

# of a pool's first kernel: one pass over half a megabyte
_ANCHOR_FLOATS = 1 << 17


class GraphMemory:
    """Pools that captured work takes its temporaries and results from, one per instance on a lane.

    A captured group writes its temporaries to whatever was free when it was captured, and what a group captured later
    returns may lie there too. So groups that share a pool must run in the order of their capture, as those of one
    instance do; those of two instances run in any.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pools: dict[tuple[str, str], Any] = {}
        self._anchors: dict[str, list[Captured]] = {}

    def capture(self, lane: Lane, instance: str, function: Callable[[], Any]) -> Captured:
        """Return what `function` enqueues on `lane`, which must be warm; its memory is of the instance's pool there."""
        return lane.capture(function, self._pool(lane, instance))

    def small_kernel(self, lane: Lane) -> Captured:
        """Return a kernel of a few microseconds on `lane`, where something has been captured before."""
        return self._anchors[lane.name][0]

    def close(self) -> None:
        """Let go of all pools, which are freed with the last graph that was captured in them."""
        self._pools, self._anchors = {}, {}

    def _pool(self, lane: Lane, instance: str) -> Any:
        key = (lane.name, instance)
        if key not in self._pools:
            pool = torch.cuda.graph_pool_handle()
            # a pool lasts as long as a graph that was captured with it
            self._anchors.setdefault(lane.name, []).append(lane.capture(self._small_work(), pool))
            self._pools[key] = pool
        return self._pools[key]

    def _small_work(self) -> Callable[[], Any]:
        values = torch.zeros(_ANCHOR_FLOATS, device=self._device.name)
        # loads the kernel, which a capture may not do
        values.relu_()
        self._device.synchronize()
        return lambda: values.relu_()
