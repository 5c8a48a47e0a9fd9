"""What can be read of a board without any library."""

from pathlib import Path

import pytest

from multidnn.targets.jetson.board import facts


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text + "\n")


def board(root: Path, gpu: str, gpu_min: int, emc_locked: int | None) -> None:
    for name, value in {"cur_freq": 1_300_500_000, "min_freq": gpu_min, "max_freq": 1_300_500_000}.items():
        write(root, f"sys/class/devfreq/{gpu}/{name}", str(value))
    cpu = "sys/devices/system/cpu/cpu0/cpufreq"
    for name in ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq"):
        write(root, f"{cpu}/{name}", "2201600")
    if emc_locked is not None:
        emc = "sys/kernel/debug/bpmp/debug/clk/emc"
        for name, value in {"rate": 3_199_000_000, "min_rate": 204_000_000, "max_rate": 3_199_000_000}.items():
            write(root, f"{emc}/{name}", str(value))
        write(root, f"{emc}/mrq_rate_locked", str(emc_locked))


@pytest.mark.parametrize("gpu", ["17000000.gpu", "17000000.ga10b", "17000000.gv11b"])
@pytest.mark.parametrize(
    ("gpu_min", "emc_locked", "locked"),
    [(1_300_500_000, 1, True), (1_300_500_000, None, True), (1_300_500_000, 0, False), (306_000_000, 1, False)],
)
def test_clocks(tmp_path: Path, gpu: str, gpu_min: int, emc_locked: int | None, locked: bool) -> None:
    board(tmp_path, gpu, gpu_min, emc_locked)
    clocks, found = facts.read_clocks(tmp_path)
    assert found is locked
    assert clocks["gpu"] == {"cur_hz": 1_300_500_000, "min_hz": gpu_min, "max_hz": 1_300_500_000}
    assert clocks["cpu0"]["max_hz"] == 2_201_600_000
    assert ("emc" in clocks) == (emc_locked is not None)


def test_clocks_that_cannot_be_read(tmp_path: Path) -> None:
    assert facts.read_clocks(tmp_path) == ({}, None)


@pytest.mark.parametrize(
    "text",
    [
        "NV Power Mode: MODE_30W\n2\n",
        "NVPM WARN: fan mode is not set!\nNV Fan Mode:quiet\nNV Power Mode: MODE_30W\n2\n",
    ],
)
def test_power_mode(text: str) -> None:
    assert facts.parse_nvpmodel(text) == {"id": 2, "name": "MODE_30W"}


def test_nvpmodel_is_found_beside_a_short_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(facts.shutil, "which", lambda name, path: f"{path.split(':')[1]}/{name}")
    assert facts._nvpmodel_path() == "/usr/sbin/nvpmodel"
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "nvpmodel").write_text("#!/bin/sh\necho NV Power Mode: MAXN; echo 0\n")
    (tmp_path / "nvpmodel").chmod(0o755)
    assert facts._nvpmodel() == {"nvpmodel": {"id": 0, "name": "MAXN"}}


def test_power_mode_that_is_not_told() -> None:
    assert facts.parse_nvpmodel("NVPM ERROR: Error opening /var/lib/nvpmodel/status\n") is None


def test_power_modes_are_those_of_the_configuration_of_nvpmodel(tmp_path: Path) -> None:
    assert facts.read_power_modes(tmp_path) == {}
    lines = ["# < POWER_MODEL ID=9 NAME=OFF >", "< POWER_MODEL ID=0 NAME=15W >", "CPU_ONLINE CORE_0 1"]
    write(
        tmp_path,
        "etc/nvpmodel.conf",
        "\n".join([*lines, "< POWER_MODEL ID=2 NAME=MAXN_SUPER >", "< PM_CONFIG DEFAULT=2 >"]),
    )
    assert facts.read_power_modes(tmp_path) == {"0": "15W", "2": "MAXN_SUPER"}
