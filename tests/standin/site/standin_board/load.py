"""What the board does at this moment, by the shared state: demand on the memory, and who is busy."""

import math
import time

from standin_board.boards import board
from standin_board.settings import settings
from standin_board.state import ACCELERATORS, shared

_STEP_S = 0.02


class Load:
    """The running average that the memory controller keeps, followed by looking at the state often."""

    def __init__(self) -> None:
        self._average = self.demand_percent()
        self._looked = time.monotonic()
        # nothing is left of an old load after settle_s: 7 time constants are a thousandth
        self._constant = max(settings().settle_s, 1e-3) / 7

    def follow(self, seconds: float) -> None:
        """Look on for so long."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_STEP_S, self._constant / 4, left))
            now = time.monotonic()
            kept = math.exp(-(now - self._looked) / self._constant)
            self._average = self._average * kept + self.demand_percent() * (1 - kept)
            self._looked = now

    @property
    def emc_percent(self) -> int:
        """The average as tools show it."""
        return min(100, round(self._average))

    @staticmethod
    def demand_percent() -> float:
        """Return the present demand of all accelerators in percent of this board's memory clock."""
        now = time.monotonic_ns()
        peak = board().emc_mhz * 2 * board().bus_bytes / 1000
        return 100 * sum(plan.mean for plan in shared().plans() if plan.active(now)) / peak

    @staticmethod
    def busy() -> set[str]:
        """Return the accelerators that run something."""
        now = time.monotonic_ns()
        return {ACCELERATORS[plan.phases[0][2]] for plan in shared().plans() if plan.active(now)}


def power_mw(emc_percent: float, busy: set[str]) -> dict[str, int]:
    """Return made-up power in mW, which rises with load, under the names that this board's rails have.

    Memory is within the 5 V input on an AGX Orin, has a rail of its own on an AGX Xavier, and everything is within VDD_IN on
    the small modules.
    """
    gpu = 1600 + (9000 if "gpu" in busy else 0)
    dla = 400 + 1500 * len(busy & {"dla0", "dla1"})
    memory = 1000 + round(30 * emc_percent)
    if board().name == "xavier":
        return {"GPU": gpu, "CPU": 600, "SOC": 1100, "CV": dla, "VDDRQ": memory, "SYS5V": 2300}
    if board().name == "orin":
        return {"VDD_GPU_SOC": gpu, "VDD_CPU_CV": dla, "VIN_SYS_5V0": 2000 + memory, "VDDQ_VDD2_1V8AO": memory}
    return {"VDD_IN": 2000 + gpu + dla + memory, "VDD_CPU_GPU_CV": gpu + dla, "VDD_SOC": 1100}
