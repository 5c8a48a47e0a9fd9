"""A memory-traffic generator: copies a block larger than the caches at a chosen share of full speed."""

import re
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import numpy as np

# for machines whose kernel shows no cache sizes
_SMALLEST_BLOCK_BYTES = 96 << 20
_CHUNK_BYTES = 1 << 20


def block_bytes(caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Return three times the largest cache that the kernel lists below `caches`, and at least 96 MiB."""
    largest = 0
    for path in caches.glob("index*/size"):
        size = re.fullmatch(r"(\d+)([KM])", path.read_text(encoding="ascii").strip())
        if size:
            largest = max(largest, int(size[1]) << {"K": 10, "M": 20}[size[2]])
    return max(_SMALLEST_BLOCK_BYTES, -(-3 * largest // _CHUNK_BYTES) * _CHUNK_BYTES)


class TrafficGenerator:
    """Copies chunk after chunk through a block that no cache here holds, resting between chunks.

    Bandwidth counts each byte copied twice, once read and once written.
    """

    def __init__(self) -> None:
        count = block_bytes() // 4
        self._source = np.ones(count, dtype=np.float32)
        # written once here: fresh pages would be charged to the first lap
        self._sink = np.full(count, 2, dtype=np.float32)

    def run(self, duty: float, stop: Callable[[], bool]) -> tuple[float, float]:
        """Copy until `stop` is true; after each chunk rest so that copying takes the share `duty` (0..1] of time.

        Returns:
            Bytes read and written, and the seconds that took.
        """
        step = _CHUNK_BYTES // 4
        starts = range(0, self._source.size, step)
        moved, begin = 0, perf_counter_ns()
        while True:
            for start in starts:
                chunk_begin = perf_counter_ns()
                np.copyto(self._sink[start : start + step], self._source[start : start + step])
                moved += 2 * _CHUNK_BYTES
                chunk_end = perf_counter_ns()
                resume = chunk_begin + (chunk_end - chunk_begin) / duty
                if stop():
                    return float(moved), (perf_counter_ns() - begin) / 1e9
                # resting by spinning keeps the core awake, as a running network would
                while perf_counter_ns() < resume:
                    pass
