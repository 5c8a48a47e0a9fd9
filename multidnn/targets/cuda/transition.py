"""Measures what a hand-over between two partitions costs, with the very events, copies and stamps of a run."""

from multidnn.targets.cuda.device import Captured, Device, Lane
from multidnn.targets.cuda.gate import Gate
from multidnn.targets.cuda.graphs import Chain


class Handover:
    """One tensor handed from `source` to `destination`, over and over.

    Args:
        touch: work that writes the tensor on the source.
        adopt: work that copies it to the destination's place.
    """

    def __init__(
        self, device: Device, gate: Gate, source: Lane, destination: Lane, touch: Captured, adopt: Captured
    ) -> None:
        import torch

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
