"""The generator of memory traffic on a lane: a kernel that copies memory at a chosen share of full speed."""

import math
from time import sleep
from typing import Any

from multidnn.targets.cuda.device import Device, Lane
from multidnn.targets.cuda.kernels import (
    BLOCKS_PER_SM,
    CHUNK_BYTES,
    TRAFFIC_COUNTERS,
    TRAFFIC_THREADS,
    integer,
    pointer,
    unsigned,
)

# several times the L2 cache of any GPU so far, read and written
_BUFFER_BYTES = 512 << 20
# a generator whose host has died ends by itself
_LONGEST_LIFE_NS = 120 * 10**9
# how long a lane's full speed is measured for
_FULL_SPEED_S = 0.05


class TrafficBuffers:
    """The memory that traffic generators copy, one pair of buffers per lane, and how fast each lane alone can; made
    on first use."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffers: dict[str, tuple[Any, Any]] = {}
        self._chunk_ns: dict[str, float] = {}

    def of(self, lane: Lane) -> tuple[Any, Any]:
        """Return where the generator on `lane` reads and writes."""
        import torch

        if lane.name not in self._buffers:
            source, sink = (
                torch.rand(_BUFFER_BYTES // 8, dtype=torch.float32, device=self._device.name) for _ in range(2)
            )
            self._buffers[lane.name] = source, sink
            torch.cuda.current_stream().synchronize()
        return self._buffers[lane.name]

    def chunk_ns(self, lane: Lane) -> float:
        """Return how long a block on `lane` takes for a chunk at full speed; nothing else may run the first time."""
        if lane.name not in self._chunk_ns:
            full = TrafficLoad(self._device, lane, self, 1.0)
            full.start()
            sleep(_FULL_SPEED_S)
            moved, seconds = full.stop()
            self._chunk_ns[lane.name] = 1e9 * seconds * _blocks(lane) * 2 * CHUNK_BYTES / moved
        return self._chunk_ns[lane.name]


def _blocks(lane: Lane) -> int:
    return BLOCKS_PER_SM * lane.sms


class TrafficLoad:
    """The traffic generator on one lane: one kernel on all its multiprocessors that does not end by itself.

    Below full speed, blocks begin their chunks at fixed intervals. To rest for a share of what a chunk took would slow
    nothing down: a few blocks at full speed are enough for all that the memory gives, so the others' rests are free.
    """

    def __init__(self, device: Device, lane: Lane, buffers: TrafficBuffers, duty: float) -> None:
        import torch

        self._device = device
        self._lane = lane
        self._buffers = buffers.of(lane)
        self._period_ns = 0 if duty >= 1 else math.ceil(buffers.chunk_ns(lane) / duty)
        self._stop = torch.zeros(1, dtype=torch.int32).pin_memory()
        self._stopped = torch.zeros(1, dtype=torch.int32, device=device.name)
        self._counters = torch.zeros(TRAFFIC_COUNTERS, dtype=torch.int64, device=device.name)
        self._counters[1] = torch.iinfo(torch.int64).max
        torch.cuda.current_stream().synchronize()

    def start(self) -> None:
        """See `Load.start`."""
        source, sink = self._buffers
        self._device.kernels.launch(
            "traffic",
            _blocks(self._lane),
            TRAFFIC_THREADS,
            self._lane.address,
            [
                pointer(source.data_ptr()),
                pointer(sink.data_ptr()),
                unsigned(source.numel() * 4 // CHUNK_BYTES // _blocks(self._lane)),
                integer(CHUNK_BYTES // 16),
                unsigned(self._period_ns),
                pointer(self._stop.data_ptr()),
                pointer(self._stopped.data_ptr()),
                pointer(self._counters.data_ptr()),
                unsigned(_LONGEST_LIFE_NS),
            ],
        )

    def stop(self) -> tuple[float, float]:
        """End it; return the bytes read and written, and the seconds from its first block's start to its last's end."""
        self._stop[0] = 1
        self._lane.stream.synchronize()
        chunks, begin, end = self._counters.tolist()
        return 2.0 * CHUNK_BYTES * chunks, (end - begin) / 1e9
