"""The traffic generator's block is sized by the caches that the kernel lists."""

from pathlib import Path

from multidnn.targets.host.traffic import block_bytes


def test_block_is_three_times_the_largest_cache(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "2048K", "512M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n", encoding="ascii")
    assert block_bytes(tmp_path) == 3 * 512 * 2**20


def test_block_without_listed_caches(tmp_path: Path) -> None:
    assert block_bytes(tmp_path / "none") == 96 * 2**20
