"""Groups of networks over and over on a lane."""

import threading
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import torch

from multidnn.errors import InputError
from multidnn.targets.cuda.device import Device, Lane
from multidnn.targets.cuda.graphs import Chain, Chains
from multidnn.targets.cuda.loading import LoadedGroups

# launches ahead of the GPU: enough that it never waits for the host, few enough to stop within milliseconds
_AHEAD = 2


class LoopLoad:
    """Groups of networks on one lane over and over, launched from a thread of the host, a few ahead.

    Args:
        chain: `rounds` rounds of the groups.

    Attributes:
        rounds: how many rounds a launch is.
        ends_ns: when the host saw each launch end (monotonic); all but the last few.
    """

    def __init__(self, device: Device, lane: Lane, chain: Chain, rounds: int) -> None:
        self._device = device
        self._lane = lane
        self._chain = chain
        self.rounds = rounds
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
                    self._finished += self.rounds
                    self._running.set()
            self._finished += self.rounds * len(pending)
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


class Loops:
    """Makes loops of loaded groups."""

    def __init__(self, device: Device, loaded: LoadedGroups, chains: Chains) -> None:
        self._device = device
        self._loaded = loaded
        self._chains = chains

    def of(self, lane: Lane, groups: Sequence[tuple[str, int]], length: int) -> LoopLoad:
        """Return a loop of `groups` (instance, group) on `lane`, as many rounds a launch as have about `length` groups.

        Raises:
            InputError: one of them is not loaded.
        """
        rounds = max(1, length // len(groups))
        parts = [self._loaded.part(lane, *group) for group in groups]
        return LoopLoad(self._device, lane, self._chains.of(lane, parts * rounds), rounds)
