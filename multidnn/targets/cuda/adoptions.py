"""Copies by which a lane takes over a tensor from the lane that made it, in its own precision and layout."""

from multidnn.targets.cuda.device import Captured, Lane
from multidnn.targets.cuda.memory import GraphMemory
from multidnn.targets.cuda.tensors import Tensors


class Adoptions:
    """Captured copies, each made when it is first asked for."""

    def __init__(self, tensors: Tensors, memory: GraphMemory) -> None:
        self._tensors = tensors
        self._memory = memory
        self._captured: dict[tuple[str, str, str, str], Captured] = {}

    def part(self, lane: Lane, maker: Lane, instance: str, tensor: str) -> Captured:
        """Return work on `lane` that copies a tensor from `maker`'s place to its own."""
        key = (lane.name, maker.name, instance, tensor)
        if key not in self._captured:
            source = self._tensors.place(maker, instance, tensor)
            place = self._tensors.place(lane, instance, tensor)
            lane.warm_up(lambda: place.copy_(source))
            self._captured[key] = self._memory.capture(lane, instance, lambda: place.copy_(source))
        return self._captured[key]

    def close(self) -> None:
        """Free all of them."""
        self._captured = {}
