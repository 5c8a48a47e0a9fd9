"""Measures what a hand-over between two partitions costs, with the very events, copies and stamps of a run."""

import torch

from multidnn.targets.cuda.adoptions import Adoptions
from multidnn.targets.cuda.device import Captured, Device, Lane
from multidnn.targets.cuda.gate import Gate
from multidnn.targets.cuda.graphs import Chain
from multidnn.targets.cuda.memory import GraphMemory
from multidnn.targets.cuda.tensors import Tensors


class Handover:
    """One tensor handed from `source` to `destination`, over and over.

    Args:
        touch: work that writes the tensor on the source.
        adopt: work that copies it to the destination's place.
    """

    def __init__(
        self, device: Device, gate: Gate, source: Lane, destination: Lane, touch: Captured, adopt: Captured
    ) -> None:
        self._gate = gate
        self._source = source
        self._destination = destination
        self._event = torch.cuda.Event()
        self._writing = Chain(device, source, 1)
        self._writing.add([touch])
        self._writing.stamp()
        # what the source does next, once right behind the event and once behind itself
        self._next, self._after_next = Chain(device, source, 1), Chain(device, source, 1)
        self._next.stamp()
        self._after_next.stamp()
        self._reading = Chain(device, destination, 3)
        self._reading.stamp()
        self._reading.stamp()
        self._reading.add([adopt])
        self._reading.stamp()
        self._chains = (self._writing, self._next, self._after_next, self._reading)
        for chain in self._chains:
            chain.ready()

    def measure(self, rounds: int) -> tuple[list[float], list[float], list[float]]:
        """Hand over `rounds` times.

        Returns:
            Per round, in ms: by how much recording the event delays what the source does next; from then to the first
            kernel on the destination; what the copy there adds.
        """
        held, arrival, copied = [], [], []
        for _ in range(rounds):
            with self._gate.closed([self._source.stream, self._destination.stream]):
                self._writing.launch()
                self._event.record(self._source.stream)
                self._next.launch()
                self._after_next.launch()
                self._destination.stream.wait_event(self._event)
                self._reading.launch()
            self._source.stream.synchronize()
            self._destination.stream.synchronize()
            (written,), (following,), (later,) = (c.times() for c in (self._writing, self._next, self._after_next))
            begun, reading, done = self._reading.times()
            delay = max(0, (following - written) - (later - following))
            held.append(delay / 1e6)
            arrival.append(max(0, begun - written - delay) / 1e6)
            # a stamp behind a stamp takes what a first group's kernel would
            copied.append(max(0, (done - reading) - (reading - begun)) / 1e6)
        return held, arrival, copied

    def close(self) -> None:
        """Free its graphs."""
        for chain in self._chains:
            chain.close()


class Transitions:
    """Hands any tensor from any lane to any other."""

    def __init__(self, device: Device, tensors: Tensors, memory: GraphMemory, adoptions: Adoptions, gate: Gate) -> None:
        self._device = device
        self._tensors = tensors
        self._memory = memory
        self._adoptions = adoptions
        self._gate = gate

    def measure(
        self, source: Lane, destination: Lane, instance: str, tensor: str, rounds: int
    ) -> tuple[list[float], list[float], list[float]]:
        """Hand a tensor over `rounds` times; see `Handover.measure` for what is returned."""
        touch = self._touched(source, instance, tensor)
        adopt = self._adoptions.part(destination, source, instance, tensor)
        handover = Handover(self._device, self._gate, source, destination, touch, adopt)
        try:
            return handover.measure(rounds)
        finally:
            handover.close()

    def _touched(self, lane: Lane, instance: str, tensor: str) -> Captured:
        """Return work that writes a tensor on `lane`, as its group would."""
        place = self._tensors.place(lane, instance, tensor)
        lane.warm_up(lambda: place.mul_(1))
        return self._memory.capture(lane, instance, lambda: place.mul_(1))
