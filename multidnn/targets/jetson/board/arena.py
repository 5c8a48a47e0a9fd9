"""One block of anonymous shared memory that holds every tensor of a run, by instance and name."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

from .errors import BoardError

# no two tensors share a page, so no two accelerators share a cache line; TensorRT wants 256 bytes
_ALIGNMENT = mmap.PAGESIZE


@dataclass(frozen=True)
class Slot:
    """Where one float32 tensor lies in the arena: byte offset and shape."""

    offset: int
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return 4 * self.count


class Layout:
    """Gives every tensor of every instance its place."""

    def __init__(self) -> None:
        self.slots: dict[str, dict[str, Slot]] = {}
        # the first page holds the start time
        self.size = _ALIGNMENT

    def add(self, instance: str, name: str, shape: tuple[int, ...]) -> None:
        """Give the tensor a place."""
        if not shape or min(shape) < 1:
            raise BoardError(f"tensor {name!r} of {instance!r} has shape {list(shape)}; sizes must be 1 or more")
        slot = Slot(self.size, tuple(shape))
        self.slots.setdefault(instance, {})[name] = slot
        self.size += -(-slot.nbytes // _ALIGNMENT) * _ALIGNMENT

    def slot(self, instance: str, name: str) -> Slot:
        """Return the place of a tensor."""
        try:
            return self.slots[instance][name]
        except KeyError:
            raise BoardError(f"tensors has no {name!r} of instance {instance!r}") from None


class Arena:
    """Memory without a name that forked processes share; the kernel frees it with the last of them, however that ends."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._map = mmap.mmap(-1, layout.size)

    @property
    def address(self) -> int:
        """Address of the first byte in this process."""
        return int(np.frombuffer(self._map, dtype=np.uint8).ctypes.data)

    def tensor(self, slot: Slot) -> Any:
        """Return a view of `slot`; what is written to it every process sees."""
        flat = np.frombuffer(self._map, dtype=np.float32, count=slot.count, offset=slot.offset)
        return flat.reshape(slot.shape)

    def start_time(self) -> Any:
        """Return the one-element int64 view that holds the common start of an iteration, in monotonic nanoseconds."""
        return np.frombuffer(self._map, dtype=np.int64, count=1)

    def snapshot(self) -> bytes:
        """Return everything that is in it."""
        return self._map[:]

    def restore(self, content: bytes) -> None:
        """Write back what `snapshot` returned."""
        self._map[:] = content

    def write(self, instance: str, values: Mapping[str, Any]) -> None:
        """Write tensors of an instance by name."""
        for name, value in values.items():
            self.tensor(self.layout.slot(instance, name))[...] = value
