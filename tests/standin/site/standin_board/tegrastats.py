"""STAND-IN for tegrastats: lines in the form of the board's L4T."""

import argparse
import sys
import time
from pathlib import Path

from standin_board.boards import board, l4t
from standin_board.load import Load, power_mw
from standin_board.settings import settings


def line(load: Load, sums: dict[str, list[int]]) -> str:
    """Return one line; `sums` keeps each rail's values for its mean."""
    the, busy, emc = board(), load.busy(), load.emc_percent
    cpus = ",".join(["3%@1190"] * the.cpus)
    parts = [time.strftime("%m-%d-%Y %H:%M:%S") + f" RAM 4100/{the.memory_mb}MB (lfb 1849x4MB)"]
    parts.append(f"SWAP 0/{the.memory_mb // 2}MB (cached 0MB) CPU [{cpus}]")
    if settings().root:
        parts.append(f"EMC_FREQ {emc}%@{the.emc_mhz}")
    gpu = 99 if "gpu" in busy else 0
    if l4t() >= 36:
        parts.append(f"GR3D_FREQ {gpu}%@[{the.gpu_mhz},{the.gpu_mhz}] NVENC off NVDEC off VIC off OFA off")
        for core in range(the.dla_cores):
            parts.append(f"NVDLA{core}_FREQ @1600" if f"dla{core}" in busy else f"NVDLA{core} off")
    else:
        parts.append(f"GR3D_FREQ {gpu}%@{the.gpu_mhz} VIC_FREQ 115")
    parts.append("APE 174 CPU@49.3C Tboard@37C SOC2@45.1C Tdiode@39C SOC0@46.2C GPU@45.3C tj@49.3C SOC1@46.5C")
    for rail, value in power_mw(emc, busy).items():
        values = sums.setdefault(rail, [])
        values.append(value)
        parts.append(f"{rail} {value}mW/{sum(values) // len(values)}mW")
    return " ".join(parts)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="tegrastats", description="STAND-IN for tegrastats")
    parser.add_argument("--interval", type=int, default=1000, metavar="MS")
    parser.add_argument("--logfile")
    arguments = parser.parse_args()
    if arguments.interval < 1:
        parser.error("interval must be positive")
    load, sums = Load(), dict[str, list[int]]()
    if arguments.logfile:
        sys.stdout = Path(arguments.logfile).open("a", encoding="utf-8")  # noqa: SIM115  until the end
    try:
        while True:
            load.follow(arguments.interval / 1e3)
            print(line(load, sums), flush=True)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()


if __name__ == "__main__":
    main()
