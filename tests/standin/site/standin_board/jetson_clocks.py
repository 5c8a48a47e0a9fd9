"""STAND-IN for jetson_clocks: shows clocks to root, and lets nobody change them."""

import sys

from standin_board.boards import board
from standin_board.settings import settings


def main() -> int:
    """Run the program."""
    if sys.argv[1:] != ["--show"] or not settings().root:
        print("Error: Please run as root, with --show only (STAND-IN)", file=sys.stderr)
        return 1
    the, locked = board(), settings().clocks_locked
    print(f"SOC family:tegra  Machine:{the.name} (STAND-IN)")
    print(f"Online CPUs: 0-{the.cpus - 1}")
    low = 2201600 if locked else 729600
    for cpu in range(the.cpus):
        print(
            f"cpu{cpu}: Online=1 Governor=schedutil MinFreq={low} MaxFreq=2201600 CurrentFreq=2201600 IdleStates: WFI=0"
        )
    gpu = the.gpu_mhz * 1000000
    print(f"GPU MinFreq={gpu if locked else 306000000} MaxFreq={gpu} CurrentFreq={gpu}")
    emc = the.emc_mhz * 1000000
    print(f"EMC MinFreq=204000000 MaxFreq={emc} CurrentFreq={emc} FreqOverride={int(locked)}")
    print(f"NV Power Mode: {the.power_modes[settings().power_mode]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
