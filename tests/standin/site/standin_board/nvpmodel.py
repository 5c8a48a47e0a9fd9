"""STAND-IN for nvpmodel: tells the power mode, and lets nobody change it."""

import sys

from standin_board.boards import board
from standin_board.settings import settings


def main() -> int:
    """Run the program."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-q"], ["--query"]):
        mode = settings().power_mode
        print(f"NV Power Mode: {board().power_modes[mode]}\n{mode}")
        return 0
    if arguments[:1] in (["-m"], ["--mode"]):
        # tests must not come to depend on changing a board's mode
        print("NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13 (STAND-IN: run as root to change the mode)")
        return 1
    print("Usage: nvpmodel [-q] [-m MODE] (STAND-IN)", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
