"""The constants of a network: random ones drawn on demand from a recorded seed, stored ones read on demand."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Weight:
    """A named constant whose values are made when asked for, so that describing a network draws and reads none."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    make: Callable[[], Array] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self) -> Array:
        """Return the values (shape `shape`, type `dtype`)."""
        values = np.asarray(self.make(), order="C")
        if values.shape != self.shape or values.dtype != self.dtype:
            raise ValueError(f"weight {self.name!r} came out as {values.dtype}{values.shape}")
        return values


class RandomWeights:
    """Draws a layer's weights from (seed, network, layer, role) alone, whatever the other layers are."""

    def __init__(self, seed: int, network: str) -> None:
        self._prefix = f"{seed}\0{network}"

    def _generator(self, name: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self._prefix}\0{name}".encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))

    def normal(self, name: str, shape: tuple[int, ...], std: float, mean: float = 0.0) -> Weight:
        """Return a weight ~ N(mean, std^2), fp32."""

        def make() -> Array:
            values = self._generator(name).standard_normal(shape, dtype=np.float32)
            values *= np.float32(std)
            values += np.float32(mean)
            return values

        return Weight(name, shape, np.dtype(np.float32), make)

    def filters(self, name: str, shape: tuple[int, ...], std: float, axes: tuple[int, ...], removed: float) -> Weight:
        """Return a weight ~ N(0, std^2), fp32, less the share `removed` of each filter's mean over `axes`."""

        def make() -> Array:
            values = self._generator(name).standard_normal(shape, dtype=np.float32)
            values -= (removed * values.mean(axis=axes, keepdims=True, dtype=np.float64)).astype(np.float32)
            values *= np.float32(std)
            return values

        return Weight(name, shape, np.dtype(np.float32), make)

    def uniform(self, name: str, shape: tuple[int, ...], low: float, high: float) -> Weight:
        """Return a weight ~ U(low, high), fp32."""

        def make() -> Array:
            values = self._generator(name).random(shape, dtype=np.float32)
            return values * np.float32(high - low) + np.float32(low)

        return Weight(name, shape, np.dtype(np.float32), make)


def constant(name: str, values: Array) -> Weight:
    """Return a weight with these values."""
    return Weight(name, values.shape, values.dtype, lambda: values)
