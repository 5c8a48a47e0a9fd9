"""Background load on a lane: a kernel that copies memory at a chosen share of full speed, or groups over and over."""

import math
import threading
from collections.abc import Callable, Mapping
from time import perf_counter_ns, sleep
from typing import Any, Protocol

from multidnn.errors import InputError
from multidnn.targets.cuda.device import Device, Lane
from multidnn.targets.cuda.graphs import Chain
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
# launches ahead of the GPU: enough that it never waits for the host, few enough to stop within milliseconds
_AHEAD = 2
# how long a lane's full speed is measured for
_FULL_SPEED_S = 0.05


class Load(Protocol):
    """Something that runs on a lane until it is stopped."""

    def start(self) -> None:
        """Begin; returns once it is running or about to."""
        ...

    def stop(self) -> Any:
        """End, and return what it did."""
        ...


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


class LoopLoad:
    """Groups of networks on one lane over and over, launched from a thread of the host, a few ahead.

    Args:
        chain: `rounds` rounds of the groups.

    Attributes:
        ends_ns: when the host saw each launch end (monotonic); all but the last few.
    """

    def __init__(self, device: Device, lane: Lane, chain: Chain, rounds: int) -> None:
        self._device = device
        self._lane = lane
        self._chain = chain
        self._rounds = rounds
        self._finished = 0
        self.ends_ns: list[int] = []
        self._error: InputError | None = None
        self._ending = threading.Event()
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """See `Load.start`."""
        self._thread.start()
        self._running.wait()

    def _run(self) -> None:
        import torch

        pending: list[Any] = []
        try:
            self._device.bind()
            while not self._ending.is_set():
                self._chain.launch()
                event = torch.cuda.Event()
                event.record(self._lane.stream)
                pending.append(event)
                if len(pending) > _AHEAD:
                    pending.pop(0).synchronize()
                    self.ends_ns.append(perf_counter_ns())
                    self._finished += self._rounds
                    self._running.set()
            self._finished += self._rounds * len(pending)
        except InputError as error:
            self._error = error
        finally:
            self._running.set()
            self._lane.stream.synchronize()

    def stop(self) -> int:
        """End it; return how many rounds were finished."""
        self._ending.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._finished


def started(loads: Mapping[str, Load], stop: Callable[[], None]) -> None:
    """Start all `loads`; if one cannot, `stop` what runs and raise."""
    try:
        for load in loads.values():
            load.start()
    except BaseException:
        stop()
        raise
