"""A stand-in for a GPU: lanes whose captured work is run on the CPU when it is launched, with torch's CUDA calls gone."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from multidnn.targets.cuda.device import Lane
from multidnn.targets.cuda.spec import CudaSpec
from multidnn.targets.cuda.target import CudaTarget


class CpuStream:
    """Does nothing, as everything has ended when the host's call returns."""

    cuda_stream = 0

    def synchronize(self) -> None:
        """See torch.cuda.Stream."""

    def query(self) -> bool:
        """See torch.cuda.Stream."""
        return True

    def wait_event(self, event: "CpuEvent") -> None:
        """An event that is waited for before it was recorded would not hold a real stream back."""
        assert event.recorded, "a wait for an event that has not been recorded"


class CpuEvent:
    """Knows whether it was recorded."""

    def __init__(self) -> None:
        self.recorded = False

    def record(self, stream: CpuStream) -> None:
        """See torch.cuda.Event."""
        self.recorded = True

    def synchronize(self) -> None:
        """See torch.cuda.Event."""


class CpuCaptured:
    """A function to call again, where its results stay, and which lane and memory pool it was captured with."""

    def __init__(self, function: Callable[[], Any], lane: "CpuLane", pool: Any) -> None:
        self.lane, self.pool = lane, pool
        self.function = function
        self.result = function()

    def run(self) -> None:
        """Write new results where the first ones were."""
        fresh = self.function()
        pairs = [(self.result[k], fresh[k]) for k in fresh] if isinstance(fresh, Mapping) else [(self.result, fresh)]
        for place, value in pairs:
            if place is not value:
                place.copy_(value)


class CpuLane(Lane):
    """A lane on the CPU, which keeps what was captured on it."""

    def __init__(self, *description: Any) -> None:
        super().__init__(*description)
        self.captured: list[CpuCaptured] = []

    def warm_up(self, function: Callable[[], Any]) -> None:
        """See Lane."""
        with self.precision.applied():
            function()

    def capture(self, function: Callable[[], Any], pool: Any) -> Any:
        """See Lane."""
        with self.precision.applied():
            self.captured.append(CpuCaptured(function, self, pool))
        return self.captured[-1]


class CpuChain:
    """Runs its parts when it is launched."""

    def __init__(self, device: Any, lane: Any, stamps: int) -> None:
        self.lane = lane
        self.work: list[Any] = []
        self._times: list[int] = []

    def stamp(self) -> None:
        """See Chain."""
        self.work.append(None)

    def add(self, parts: Sequence[CpuCaptured]) -> None:
        """See Chain."""
        self.work += parts

    def ready(self) -> "CpuChain":
        """See Chain."""
        return self

    def launch(self) -> None:
        """See Chain."""
        self._times = []
        with self.lane.precision.applied():
            for part in self.work:
                if part is None:
                    self._times.append(time.perf_counter_ns())
                else:
                    part.run()

    def times(self) -> list[int]:
        """See Chain."""
        return self._times

    def close(self) -> None:
        """See Chain."""


class CpuGate:
    """Lets everything through."""

    def __init__(self, device: Any) -> None:
        self._opened = 0

    @contextmanager
    def closed(self, streams: Sequence[Any]) -> Iterator[None]:
        """See Gate."""
        self._opened = time.perf_counter_ns()
        yield

    def opened_ns(self) -> int:
        """See Gate."""
        return self._opened


class CpuTraffic:
    """Says that it copied a gigabyte per second."""

    def __init__(self, device: Any, lane: Any, buffers: Any, duty: float) -> None:
        self._begin, self._duty = 0.0, duty

    def start(self) -> None:
        """See Load."""
        self._begin = time.monotonic()

    def stop(self) -> tuple[float, float]:
        """See Load."""
        seconds = time.monotonic() - self._begin
        return 1e9 * self._duty * seconds, seconds


class CpuDevice:
    """A device of 132 multiprocessors on the CPU."""

    def __init__(self, target: str, spec: CudaSpec) -> None:
        self.spec = spec
        self.name = "cpu"
        self.total_sms, self.granularity = 132, 8
        self.main_stream = CpuStream()
        self.lanes = {p.name: CpuLane(p.name, p.precision, CpuStream(), None, p.sms or 100) for p in spec.partitions}

    def chip_lane(self, number: int, name: str, precision: Any) -> CpuLane:
        """See Device."""
        return CpuLane(name, precision, CpuStream(), None, 132)

    def urgent_lane(self, name: str, precision: Any) -> CpuLane:
        """See Device."""
        return CpuLane(name, precision, CpuStream(), None, 132)

    def graph_problem(self, captured: CpuCaptured) -> str | None:
        """See Device."""
        return None

    def bind(self) -> None:
        """See Device."""

    def synchronize(self) -> None:
        """See Device."""


@pytest.fixture
def cpu_target(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Mapping[str, Any]], CudaTarget]]:
    """Opens a cuda target whose device is the CPU."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from multidnn.targets.cuda import background, device, graphs, session, timing, transition

    for name, replacement in {
        "current_stream": CpuStream,
        "stream": lambda stream: nullcontext(),
        "Event": CpuEvent,
        "graph_pool_handle": object,
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, replacement)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(device, "Device", CpuDevice)
    for module in (graphs, timing, transition):
        monkeypatch.setattr(module, "Chain", CpuChain)
    monkeypatch.setattr(session, "Gate", CpuGate)
    monkeypatch.setattr(background, "TrafficLoad", CpuTraffic)
    monkeypatch.setattr(CudaTarget, "facts", lambda self: {"target": self.name})
    monkeypatch.setattr(CudaTarget, "clocks", lambda self: {})
    monkeypatch.setattr(CudaTarget, "traffic_counter", lambda self: (None, "a stand-in has no counters"))
    # on a busy machine each small operator would wait for a second thread that gets no core
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield lambda spec: CudaTarget("gpu", spec)
    torch.set_num_threads(threads)
