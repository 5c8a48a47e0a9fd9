"""One block of anonymous shared memory that holds every tensor which crosses a process, by name."""

import math
import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# runtimes want SIMD-aligned buffers, and two accelerators must not share a page by accident
_ALIGNMENT = 4096

Tensor = NDArray[np.float32]


@dataclass(frozen=True)
class Slot:
    """Where one float32 tensor lies in the arena: byte offset and shape."""

    offset: int
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return 4 * math.prod(self.shape)


class Layout:
    """Gives every named tensor its place; the same layout is used by all processes."""

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}
        self.size = _ALIGNMENT

    def add(self, name: str, shape: tuple[int, ...]) -> Slot:
        """Return the slot of `name`, making it on the first call; another shape later is a ValueError."""
        slot = self.slots.get(name)
        if slot is None:
            slot = self.slots[name] = Slot(self.size, tuple(shape))
            self.size += -(-max(slot.nbytes, 1) // _ALIGNMENT) * _ALIGNMENT
        elif slot.shape != tuple(shape):
            raise ValueError(f"tensor {name} has shape {slot.shape}, asked for again as {tuple(shape)}")
        return slot


class Arena:
    """A memory file without a name: the kernel frees it with the last process that maps it, however that ends.

    Args:
        size: bytes.
        descriptor: file descriptor of an arena made elsewhere; None makes one.
    """

    def __init__(self, size: int, descriptor: int | None = None) -> None:
        self.size = size
        if descriptor is None:
            descriptor = os.memfd_create("multidnn", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, size)

    def tensor(self, slot: Slot) -> Tensor:
        """Return a view of `slot`; writes are seen by every process that maps the arena."""
        flat = np.frombuffer(self._map, dtype=np.float32, count=math.prod(slot.shape), offset=slot.offset)
        return flat.reshape(slot.shape)

    def tensors(self, slots: Mapping[str, Slot]) -> dict[str, Tensor]:
        """Return a view per name."""
        return {name: self.tensor(slot) for name, slot in slots.items()}

    def start_time(self) -> NDArray[np.int64]:
        """Return the one-element view that holds the common start of an iteration, in monotonic nanoseconds."""
        return np.frombuffer(self._map, dtype=np.int64, count=1)

    def close(self) -> None:
        """Give the descriptor back; views that still exist keep the mapping alive."""
        os.close(self.descriptor)
        with suppress(BufferError):
            self._map.close()
