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
