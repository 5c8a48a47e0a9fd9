"""The common start of a run: nothing begins before the host has enqueued everything, and then all begins at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from multidnn.targets.cuda.device import Device
from multidnn.targets.cuda.kernels import pointer, unsigned

# a gate whose host has died opens by itself
_LIMIT_NS = 10 * 10**9


class Gate:
    """One thread on the device that waits for a flag in the host's memory; streams wait for its event."""

    def __init__(self, device: Device) -> None:
        import torch

        self._device = device
        self._open = torch.zeros(1, dtype=torch.int32).pin_memory()
        self._time = torch.zeros(1, dtype=torch.int64, device=device.name)
        self._event = torch.cuda.Event()
        torch.cuda.current_stream().synchronize()

    @contextmanager
    def closed(self, streams: Sequence[Any]) -> Iterator[None]:
        """Hold back what is enqueued on `streams` within the block until the block ends."""
        stream = self._device.main_stream
        self._open[0] = 0
        self._device.kernels.launch(
            "gate",
            1,
            1,
            int(stream.cuda_stream),
            [pointer(self._open.data_ptr()), pointer(self._time.data_ptr()), unsigned(_LIMIT_NS)],
        )
        self._event.record(stream)
        for waiting in streams:
            waiting.wait_event(self._event)
        try:
            yield
        finally:
            self._open[0] = 1

    def opened_ns(self) -> int:
        """Return when the last gate opened, on the device's clock."""
        return int(self._time.item())
