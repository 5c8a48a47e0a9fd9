"""A memory-traffic generator: copies a block larger than the caches at a chosen share of full speed."""

from collections.abc import Callable
from time import perf_counter_ns

import numpy as np

_BLOCK_BYTES = 96 << 20
_CHUNK_BYTES = 1 << 20


class TrafficGenerator:
    """Copies chunk after chunk through a block that no cache here holds, resting between chunks.

    Bandwidth counts each byte copied twice, once read and once written.
    """

    def __init__(self) -> None:
        count = _BLOCK_BYTES // 4
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
