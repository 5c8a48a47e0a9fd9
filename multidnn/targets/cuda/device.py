"""An opened GPU: its kernels, its partitions as lanes, and ordinary streams for the chip used whole."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.cuda import green
from multidnn.targets.cuda.driver import check, require_gpu
from multidnn.targets.cuda.kernels import kernels_of
from multidnn.targets.cuda.precision import Precision
from multidnn.targets.cuda.spec import CudaSpec

_WARM_UP_RUNS = 3


@dataclass(frozen=True, eq=False)
class Captured:
    """Work captured from a stream: torch's graph, which keeps the memory, and what the captured function returned.

    Each is itself only: two captures of one function write to different memory.
    """

    graph: Any
    result: Any

    @property
    def handle(self) -> Any:
        """The driver's graph, to be made a part of larger ones."""
        from cuda.bindings import driver

        return driver.CUgraph(int(self.graph.raw_cuda_graph()))


class Lane:
    """A stream on which one thing runs at a time: a partition, or the whole chip for one instance.

    Args:
        stream: torch's stream; context: the driver's context that its kernels run in; sms: multiprocessors.
    """

    def __init__(self, name: str, precision: Precision, stream: Any, context: Any, sms: int) -> None:
        self.name = name
        self.precision = precision
        self.stream = stream
        self.context = context
        self.sms = sms

    @property
    def address(self) -> int:
        """The driver's handle of the stream."""
        return int(self.stream.cuda_stream)

    def warm_up(self, function: Callable[[], Any]) -> None:
        """Call `function` on this lane until everything it sets up on first use is there."""
        import torch

        with self.precision.applied(), torch.cuda.stream(self.stream):
            for _ in range(_WARM_UP_RUNS):
                function()
        self.stream.synchronize()

    def capture(self, function: Callable[[], Any], pool: Any) -> Captured:
        """Return what `function` enqueues as a graph. Its temporaries are in `pool`, shared with other graphs that are
        replayed in the order of their capture; what it returns stays."""
        import torch

        graph = torch.cuda.CUDAGraph(keep_graph=True)
        with self.precision.applied(), torch.cuda.stream(self.stream):
            # other threads may go on launching
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                result = function()
            finally:
                graph.capture_end()
        return Captured(graph, result)


class Device:
    """One GPU opened under one spec; lives as long as the process, as torch keeps workspaces per stream.

    Raises:
        InputError: there is no such GPU, PyTorch or cuda-bindings is missing, or the partitions do not fit.
    """

    def __init__(self, target: str, spec: CudaSpec) -> None:
        require_gpu(spec.device)
        import torch
        from cuda.bindings import driver

        self.spec = spec
        self.name = f"cuda:{spec.device}"
        self.kernels = kernels_of(spec.device)
        self.total_sms, self.granularity = green.multiprocessors(spec.device, spec.large_clusters)
        self._primary = check(driver.cuCtxGetCurrent(), "reading the current context")
        self.main_stream = torch.cuda.Stream()
        self.lanes: dict[str, Lane] = {}
        self.clusters: dict[str, bool] = {}
        for split, partitions in spec.splits.items():
            wanted = {partition.name: partition.sms for partition in partitions}
            place = f"target {target!r}, {split}"
            for name, context in green.create(spec.device, wanted, spec.large_clusters, place).items():
                (precision,) = [partition.precision for partition in partitions if partition.name == name]
                stream = torch.cuda.ExternalStream(context.stream)
                self.lanes[name] = Lane(name, precision, stream, context.context, context.sms)
                self.clusters[name] = context.clusters
        self._chip_streams: list[Any] = []
        self._urgent_stream: Any = None

    def chip_lane(self, number: int, name: str, precision: Precision) -> Lane:
        """Return the lane of the `number`-th instance on the whole chip: an ordinary stream of its own."""
        import torch

        while len(self._chip_streams) <= number:
            self._chip_streams.append(torch.cuda.Stream())
        return Lane(name, precision, self._chip_streams[number], self._primary, self.total_sms)

    def urgent_lane(self, name: str, precision: Precision) -> Lane:
        """Return a lane on the whole chip whose kernels go ahead of those that wait in ordinary streams: the highest
        priority that PyTorch offers. What runs already is not taken off the multiprocessors.

        A graph runs at the priority of the stream that it is launched into, unless it was instantiated with
        CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY (`cuGraphInstantiate` in the CUDA driver API), which none here is:
        so what was captured on an ordinary lane runs urgently on this one.
        """
        import torch

        if self._urgent_stream is None:
            _, highest = torch.cuda.Stream.priority_range()
            self._urgent_stream = torch.cuda.Stream(priority=highest)
        return Lane(name, precision, self._urgent_stream, self._primary, self.total_sms)

    def bind(self) -> None:
        """Make the device usable from the calling thread, which each thread but the first must do."""
        from cuda.bindings import driver

        check(driver.cuCtxSetCurrent(self._primary), "using the GPU from another thread")

    def synchronize(self) -> None:
        """Wait for everything on the device; not beside background load."""
        import torch

        torch.cuda.synchronize(self.spec.device)

    def graph_problem(self, captured: Captured) -> str | None:
        """Return why the driver refuses to run what was captured, None if it takes it."""
        from cuda.bindings import driver

        status, executable = driver.cuGraphInstantiate(captured.handle, 0)
        if int(status) != 0:
            return str(getattr(status, "name", status))
        driver.cuGraphExecDestroy(executable)
        return None

    def launch(self, executable: Any, lane: Lane) -> None:
        """Enqueue an instantiated graph on a lane."""
        from cuda.bindings import driver

        check(driver.cuGraphLaunch(executable, driver.CUstream(lane.address)), f"launching work on {lane.name}")


def memory_error(error: BaseException, what: str) -> InputError:
    """Return the message for a GPU whose memory is full."""
    return InputError(
        f"the GPU's memory is full while {what}: {str(error).splitlines()[0]}; use fewer networks, splits or a "
        "smaller batch at once"
    )
