"""CUDA graphs put together from captured parts and time stamps, to be launched as one."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

from multidnn.targets.cuda.device import Captured, Device, Lane
from multidnn.targets.cuda.driver import check
from multidnn.targets.cuda.kernels import packed, pointer


class Chain:
    """Parts one after another on one lane, with the device's clock written down between them.

    A part is not copied into new work, only its nodes are: launching the chain runs the captured kernels with the
    memory they were captured with. Ten parts of ten kernels take as long as one graph of a hundred.

    Args:
        stamps: how many times are written down at most.
    """

    def __init__(self, device: Device, lane: Lane, stamps: int) -> None:
        import torch
        from cuda.bindings import driver

        self._device = device
        self._lane = lane
        self._graph = check(driver.cuGraphCreate(0), "making a graph")
        self._last: list[Any] = []
        self._times = torch.zeros(max(stamps, 1), dtype=torch.int64, device=device.name)
        self._stamps = 0
        self._parts: list[Captured] = []
        self._executable: Any = None

    def stamp(self) -> None:
        """Write the time down when everything before has ended, in its own kernel (about a microsecond)."""
        from cuda.bindings import driver

        parameters = driver.CUDA_KERNEL_NODE_PARAMS()
        parameters.kern = self._device.kernels.handle("stamp")
        parameters.ctx = self._lane.context
        parameters.gridDimX = parameters.gridDimY = parameters.gridDimZ = 1
        parameters.blockDimX = parameters.blockDimY = parameters.blockDimZ = 1
        parameters.sharedMemBytes = 0
        parameters.kernelParams = packed([pointer(self._times.data_ptr() + 8 * self._stamps)])
        node = check(
            driver.cuGraphAddKernelNode(self._graph, self._last, len(self._last), parameters), "adding a time stamp"
        )
        self._last = [node]
        self._stamps += 1

    def add(self, parts: Sequence[Captured]) -> None:
        """Append captured parts; each starts when the one before has ended."""
        from cuda.bindings import driver

        for part in parts:
            node = check(
                driver.cuGraphAddChildGraphNode(self._graph, self._last, len(self._last), part.handle),
                "adding a part to a graph",
            )
            self._last = [node]
            self._parts.append(part)

    def ready(self) -> "Chain":
        """Make it launchable, and its memory on the device with it."""
        import torch
        from cuda.bindings import driver

        # the zeros of the stamps are written on torch's current stream
        torch.cuda.current_stream().synchronize()
        self._executable = check(driver.cuGraphInstantiate(self._graph, 0), "preparing a graph")
        check(driver.cuGraphUpload(self._executable, driver.CUstream(self._lane.address)), "uploading a graph")
        return self

    def launch(self) -> None:
        """Enqueue it on its lane."""
        self._device.launch(self._executable, self._lane)

    def times(self) -> list[int]:
        """Return what the stamps of the last launch say (ns on the device's clock), which must have ended."""
        return [int(value) for value in self._times[: self._stamps].tolist()]

    def close(self) -> None:
        """Free the graph; the parts stay."""
        from cuda.bindings import driver

        if self._executable is not None:
            driver.cuGraphExecDestroy(self._executable)
        driver.cuGraphDestroy(self._graph)


class Mark(Enum):
    """What a chain holds besides captured parts."""

    STAMP = "stamp"


class Chains:
    """Ready chains by what they are made of: asking for the same again gives the same one."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._chains: dict[tuple[str, tuple[Captured | Mark, ...]], Chain] = {}

    def of(self, lane: Lane, work: Sequence[Captured | Mark]) -> Chain:
        """Return the chain that does `work` on `lane`, in this order, ready to be launched."""
        key = (lane.name, tuple(work))
        if key not in self._chains:
            chain = Chain(self._device, lane, sum(item is Mark.STAMP for item in work))
            for item in work:
                if isinstance(item, Mark):
                    chain.stamp()
                else:
                    chain.add([item])
            self._chains[key] = chain.ready()
        return self._chains[key]

    def close(self) -> None:
        """Free all of them; the parts stay."""
        for chain in self._chains.values():
            chain.close()
        self._chains = {}
