"""What the boards that can be stood in for have. Demands in GB/s are the recorded ones on all of them; the percentage that
tools show is of a board's own memory clock, so that it is the recorded percentage on a Xavier."""

from dataclasses import dataclass

from standin_board.settings import settings


@dataclass(frozen=True)
class Board:
    """One board. `l4t` chooses the form of tegrastats' lines; `dla_softmax`: whether its DLA knows softmax at all."""

    name: str
    l4t: int
    dla_cores: int
    compute_capability: tuple[int, int]
    gpu: str
    memory_mb: int
    cpus: int
    emc_mhz: int
    bus_bytes: int
    gpu_mhz: int
    dla_softmax: bool
    average_inclusive_only: bool
    power_modes: tuple[str, ...]


BOARDS = {
    "xavier": Board("xavier", 35, 2, (7, 2), "Xavier", 31919, 8, 2133, 32, 1377, False, True, ("MAXN", "MODE_15W")),
    "orin": Board("orin", 35, 2, (8, 7), "Orin", 62780, 12, 3199, 32, 1300, True, False, ("MAXN", "MODE_30W")),
    "orin-nano": Board("orin-nano", 36, 0, (8, 7), "Orin", 7620, 6, 2133, 16, 624, True, False, ("15W", "7W")),
}


def board() -> Board:
    """Return the board that is set."""
    found = BOARDS.get(settings().board)
    if found is None:
        raise SystemExit(f"stand-in: board {settings().board!r} is unknown; known: {', '.join(BOARDS)}")
    return found


def l4t() -> int:
    """Return L4T's major version, by the TensorRT version that came with it (35: JetPack 5, 36: JetPack 6)."""
    return 36 if int(settings().tensorrt.split(".")[0]) >= 10 or settings().tensorrt.startswith("8.6") else board().l4t
