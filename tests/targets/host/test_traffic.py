"""The traffic generator's block is sized by the caches that the kernel lists."""

from pathlib import Path

import numpy as np
import pytest

from multidnn.targets.host import traffic
from multidnn.targets.host.traffic import TrafficGenerator, block_bytes


def test_block_is_three_times_the_largest_cache(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "2048K", "512M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n", encoding="ascii")
    assert block_bytes(tmp_path) == 3 * 512 * 2**20


def test_block_without_listed_caches(tmp_path: Path) -> None:
    assert block_bytes(tmp_path / "none") == 96 * 2**20


@pytest.mark.parametrize("threads", [1, 3])
def test_every_byte_that_is_counted_was_copied(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "block_bytes", lambda: 32 << 20)
    generator = TrafficGenerator(threads)
    laps = iter([False, True])
    moved, seconds = generator.run(1.0, lambda: next(laps))
    copied = sum(int(np.count_nonzero(sink == 1)) * 4 for sink in generator._sinks)
    assert moved == 2 * copied > 0
    assert seconds > 0


@pytest.mark.parametrize("duty", [1.0, 0.5, 0.2])
def test_copying_takes_its_share_of_the_time(duty: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0

    def clock() -> int:
        nonlocal now
        now += 10
        return now

    def copy(part: slice) -> None:
        nonlocal now
        now += 100_000

    monkeypatch.setattr(traffic, "block_bytes", lambda: 32 << 20)
    monkeypatch.setattr(traffic, "perf_counter_ns", clock)
    generator = TrafficGenerator(1)
    monkeypatch.setattr(generator, "_copy", copy)
    laps = iter([False] * 50 + [True])
    moved, seconds = generator.run(duty, lambda: next(laps))
    assert moved == 51 * 2 * 2**20
    # it does not rest after the last
    assert seconds == pytest.approx((50 / duty + 1) * 1e-4, rel=0.01)
