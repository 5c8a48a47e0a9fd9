"""What tegrastats or jtop printed during a call to the board, by the board's monotonic clock."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers import jtop, tegrastats
from multidnn.targets.jetson.parsers.emc import Emc, demand_gb_s, emc_of

# how often the tools are asked to print; the counters behind them are not read more often
SAMPLING_MS = 100


@dataclass(frozen=True)
class Reading:
    """One printed line: when (monotonic ns of the board), the memory controller's utilisation, and mW per power rail.

    `emc` is None where the tool may not read it, which is not 0 %.
    """

    time_ns: int
    emc: Emc | None
    power_mw: Mapping[str, float]
    place: str

    @property
    def time_s(self) -> float:
        """Seconds of the board's monotonic clock."""
        return self.time_ns / 1e9


def readings(tool: str, lines: Sequence[tuple[int, str]]) -> list[Reading]:
    """Return the lines that `tool` (``tegrastats`` or ``jtop``) printed, each with its time.

    Raises:
        InputError: a line is not one of that tool.
    """
    found = []
    for number, (time_ns, line) in enumerate(lines, start=1):
        place = f"{tool} on the board, line {number}"
        if tool == "tegrastats":
            sample = tegrastats.parse_line(line, place)
            power: Mapping[str, float] = {rail: float(entry.instant_mw) for rail, entry in sample.power.items()}
            found.append(Reading(time_ns, sample.emc, power, place))
        else:
            said = jtop.parse_line(line, place)
            found.append(Reading(time_ns, said.emc, said.power_mw, place))
    return found


def within(found: Sequence[Reading], begin_ns: int, end_ns: int) -> list[Reading]:
    """Return the readings from `begin_ns` to `end_ns`; none at all is an `InputError`."""
    chosen = [reading for reading in found if begin_ns <= reading.time_ns <= end_ns]
    if not chosen:
        raise InputError(
            f"no reading of the board's sensors within {(end_ns - begin_ns) / 1e9:.1f} s; measure longer, or see whether "
            "the tool prints at all"
        )
    return chosen


def demand(found: Sequence[Reading], bus_bytes: int) -> float:
    """Return the median traffic of `found` in GB/s, each reading at its own clock."""
    return statistics.median(demand_gb_s(emc_of(reading), bus_bytes) for reading in found)
