"""A memory-traffic generator: copies a block larger than the caches at a chosen share of full speed."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    """Copies chunk after chunk through blocks that no cache here holds, resting between chunks.

    Bandwidth counts each byte copied twice, once read and once written.

    Args:
        threads: how many copy at once, each in a block of its own; one per core of the accelerator.
    """

    def __init__(self, threads: int) -> None:
        count = block_bytes() // 4
        self._sources = [np.ones(count, dtype=np.float32) for _ in range(threads)]
        # written once here: fresh pages would be charged to the first lap
        self._sinks = [np.full(count, 2, dtype=np.float32) for _ in range(threads)]
        # numpy lets go of the interpreter lock while it copies
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def _copy(self, part: slice) -> None:
        pairs = list(zip(self._sources, self._sinks, strict=True))
        others = (
            [self._pool.submit(np.copyto, sink[part], source[part]) for source, sink in pairs[1:]] if self._pool else []
        )
        source, sink = pairs[0]
        np.copyto(sink[part], source[part])
        for other in others:
            other.result()

    def run(self, duty: float, stop: Callable[[], bool]) -> tuple[float, float]:
        """Copy until `stop` is true; after each chunk rest so that copying takes the share `duty` (0..1] of time.

        Returns:
            Bytes read and written, and the seconds that took.
        """
        # several threads need larger chunks: each costs a hand-over to the pool
        step = (_CHUNK_BYTES if self._pool is None else 8 * _CHUNK_BYTES) // 4
        starts = range(0, self._sources[0].size - step + 1, step)
        moved, begin = 0, perf_counter_ns()
        while True:
            for start in starts:
                chunk_begin = perf_counter_ns()
                self._copy(slice(start, start + step))
                moved += 2 * 4 * step * len(self._sources)
                chunk_end = perf_counter_ns()
                resume = chunk_begin + (chunk_end - chunk_begin) / duty
                if stop():
                    return float(moved), (perf_counter_ns() - begin) / 1e9
                # resting by spinning keeps the core awake, as a running network would
                while perf_counter_ns() < resume:
                    pass
