"""What a memory controller's utilisation means, whoever reports it: tegrastats and jtop read the same counter.

The percentage is an integer, relative to the controller's clock at that moment, and a running average: when a load
begins it needs about nine seconds to settle (recorded on Xavier AGX: 1 1 14 56 74 82 86 88 88 89 89 89 %, one per second).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from multidnn.errors import InputError

# bytes per transfer of the memory bus; two transfers per clock
BUS_BYTES = {"AGX": 32, "NX": 16}
SETTLE_S = 9.0


@dataclass(frozen=True)
class Emc:
    """Utilisation of the memory controller: `percent` of what `mhz` allows; `mhz` None where the clock is not given."""

    percent: float
    mhz: float | None


class Sample(Protocol):
    """A sample of tegrastats or jtop: `time_s` in seconds from any zero, None if it has none; `place` is FILE:LINE."""

    @property
    def time_s(self) -> float | None: ...
    @property
    def emc(self) -> Emc | None: ...
    @property
    def place(self) -> str: ...


S = TypeVar("S", bound=Sample)


@dataclass(frozen=True)
class SettledEmc:
    """Medians over the samples after the settling time; `low` and `high`: the least and the greatest percentage there."""

    percent: float
    mhz: float
    low: float
    high: float
    samples: int


def emc_of(sample: Sample) -> Emc:
    """Return the utilisation of one sample, or raise an `InputError`: what cannot be read is not 0 %."""
    if sample.emc is None:
        raise InputError(
            f"{sample.place}: no EMC utilisation; tegrastats shows none without root: run `sudo tegrastats --interval 1000 "
            "--logfile FILE`, or use jtop, whose service runs as root (`sudo systemctl restart jtop.service`)"
        )
    if sample.emc.mhz is None or sample.emc.mhz <= 0:
        raise InputError(
            f"{sample.place}: EMC utilisation without the clock that it is relative to; the clock needs root: run `sudo "
            "tegrastats --interval 1000 --logfile FILE`"
        )
    return sample.emc


def emc_percent(samples: Sequence[Sample]) -> list[float]:
    """Return the utilisation of every sample in percent of its clock; a sample without one is an `InputError`."""
    return [emc_of(sample).percent for sample in samples]


def demand_gb_s(emc: Emc, bus_bytes: int) -> float:
    """Return the traffic in GB/s: percent x MHz x 2 transfers x bytes of the bus (`BUS_BYTES`)."""
    if emc.mhz is None:
        raise ValueError("the utilisation has no clock")
    return emc.percent / 100 * emc.mhz * 2 * bus_bytes / 1000


def peak_gb_s(mhz: float, bus_bytes: int) -> float:
    """Return the most that the memory can carry at `mhz`, in GB/s."""
    return demand_gb_s(Emc(100, mhz), bus_bytes)


def emc_demand_gb_s(samples: Sequence[Sample], bus_bytes: int) -> list[float]:
    """Return the traffic of every sample in GB/s, each at its own clock."""
    return [demand_gb_s(emc_of(sample), bus_bytes) for sample in samples]


def settled(samples: Sequence[S], settle_s: float = SETTLE_S, interval_s: float | None = None) -> list[S]:
    """Return the samples from `settle_s` after the first one on; the load must run from the first sample to the last.

    Times come from the samples; `interval_s` replaces them where the log has none (L4T 32).

    Raises:
        InputError: the log ends before it has settled, its times go backwards, or it has none and no interval is given.
    """
    if not samples:
        raise InputError("no sample to take an EMC utilisation from")
    times = [index * interval_s if interval_s is not None else sample.time_s for index, sample in enumerate(samples)]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        missing = samples[times.index(None)]
        raise InputError(f"{missing.place}: the sample has no time; say how far apart samples are (interval)")
    for sample, before, after in zip(samples[1:], known, known[1:], strict=False):
        if after < before:
            raise InputError(f"{sample.place}: the sample is {before - after:g} s older than the one before it")
    chosen = [sample for sample, time in zip(samples, known, strict=True) if time - known[0] >= settle_s]
    if not chosen:
        raise InputError(
            f"{samples[-1].place}: the samples span {known[-1] - known[0]:g} s, the running average needs {settle_s:g} s to "
            "settle; measure longer"
        )
    return chosen


def settled_emc(samples: Sequence[Sample], settle_s: float = SETTLE_S, interval_s: float | None = None) -> SettledEmc:
    """Return the utilisation once the running average has settled: medians of the samples of `settled`."""
    readings = [emc_of(sample) for sample in settled(samples, settle_s, interval_s)]
    percents = [reading.percent for reading in readings]
    clock = statistics.median(reading.mhz or math.nan for reading in readings)
    return SettledEmc(statistics.median(percents), clock, min(percents), max(percents), len(percents))


def settled_demand_gb_s(
    samples: Sequence[Sample], bus_bytes: int, settle_s: float = SETTLE_S, interval_s: float | None = None
) -> float:
    """Return the median traffic in GB/s once the average has settled, every sample at its own clock."""
    return statistics.median(emc_demand_gb_s(settled(samples, settle_s, interval_s), bus_bytes))
