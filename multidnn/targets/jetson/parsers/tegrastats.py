"""Lines of tegrastats, L4T 32 (Xavier) to 39 (Orin, Thor): memory, GPU, DLA and power."""

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers.emc import Emc
from multidnn.targets.jetson.parsers.text import read_log

# directly before RAM, where whatever collected the lines may have put words in front
_TIME = re.compile(r"(?:^|\s)(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d)\s+(?=RAM )")
_RAM = re.compile(r"\bRAM (\d+)/(\d+)MB\b")
_EMC = re.compile(r"\bEMC_FREQ (\d+)%(?:@(\d+))?(?=\s|$)")
_GR3D = re.compile(r"\bGR3D_FREQ\s+(?:(\d+)%)?(?:@(?:\[([\d,]+)\]|(\d+)))?(off)?(?=\s|$)")
# "NVDLA0 off", "NVDLA0_FREQ off", "NVDLA0_FREQ @1600"
_DLA = re.compile(r"\b(NVDLA\d)(?:_FREQ)?\s+(?:(off)|@(\d+))(?=\s|$)")
_RAIL = re.compile(r"(?<=\s)([A-Za-z]\w*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/(\d+)(?:mW)?)?(?=\s|$)")
# what a line may end with: a temperature, a power, "off", a clock, a load; anything else was cut
_COMPLETE = re.compile(
    r"(?:.*@-?[\d.]+C(?:/-?[\d.]+C)?|\d+mW(?:/\d+mW)+|\d+(?:/\d+)+|off|\d+|\d+%|(?:\d+%)?@(?:\d+|\[[\d,]+\])|.*[\])]|\d+/\d+MB)$"
)


@dataclass(frozen=True)
class Gpu:
    """The GPU: load in percent (None: not printed, as on Thor) and the clock of each GPC in MHz (empty: not printed)."""

    percent: float | None
    mhz: tuple[int, ...]


@dataclass(frozen=True)
class Dla:
    """One DLA: switched on or not, and its clock in MHz. The clock is no load: tegrastats shows none for a DLA."""

    on: bool
    mhz: int | None


@dataclass(frozen=True)
class Rail:
    """Power of one rail in mW; `third_mw` is the last of the three numbers that L4T 39 prints, None before."""

    instant_mw: int
    average_mw: int
    third_mw: int | None


@dataclass(frozen=True)
class TegrastatsSample:
    """One line. `time` is the board's local time (ISO), None on L4T 32; `emc` is None without root, which is not 0 %.

    `dla` and `power` hold what the line shows; rails called NC are not connected and left out.
    """

    time: str | None
    ram_used_mb: int
    ram_total_mb: int
    emc: Emc | None
    gpu: Gpu | None
    dla: dict[str, Dla]
    power: dict[str, Rail]
    place: str = field(compare=False, repr=False)

    @property
    def time_s(self) -> float | None:
        """Seconds since 1970 by the board's clock face, for differences; None where the line has no time."""
        if self.time is None:
            return None
        return datetime.datetime.fromisoformat(self.time).replace(tzinfo=datetime.UTC).timestamp()


def read(path: Path) -> list[TegrastatsSample]:
    """Return the samples in the log at `path`."""
    return parse(read_log(path), str(path))


def parse(text: str, place: str) -> list[TegrastatsSample]:
    """Return one sample per line; empty lines are skipped.

    Raises:
        InputError: a line that is not tegrastats' (it has no RAM), or the last line was cut off.
    """
    samples = []
    lines = [(number, line.rstrip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, line in lines:
        samples.append(parse_line(line, f"{place}:{number}"))
    if not text.endswith("\n"):
        number, line = lines[-1]
        shorter = len(samples) > 1 and set(samples[-1].power) < set(samples[-2].power)
        if shorter or not _COMPLETE.match(line.split()[-1]):
            raise InputError(f"{place}:{number}: the last line ends with {line[-20:]!r}; the log is truncated")
    return samples


def parse_line(line: str, place: str) -> TegrastatsSample:
    """Return what one line of tegrastats says; `place` is FILE:LINE."""
    ram = _RAM.search(line)
    if not ram:
        raise InputError(f"{place}: found {line[:60]!r}, expected a line of tegrastats, with 'RAM USED/TOTALMB'")
    emc, gpu = _EMC.search(line), _GR3D.search(line)
    if "EMC_FREQ" in line and not emc:
        raise InputError(f"{place}: found {_around(line, 'EMC_FREQ')!r}, expected 'EMC_FREQ PERCENT%@MHZ'")
    if re.search(r"\bGR3D_FREQ\b", line) and not gpu:
        raise InputError(f"{place}: found {_around(line, 'GR3D_FREQ')!r}, expected 'GR3D_FREQ PERCENT%@MHZ'")
    power: dict[str, Rail] = {}
    for rail in _RAIL.finditer(line):
        if rail[1] == "NC":
            continue
        if rail[1] in power:
            raise InputError(f"{place}: the rail {rail[1]} is there twice; expected one line per sample")
        power[rail[1]] = Rail(int(rail[2]), int(rail[3]), int(rail[4]) if rail[4] else None)
    return TegrastatsSample(
        _time(line, place),
        int(ram[1]),
        int(ram[2]),
        Emc(int(emc[1]), int(emc[2]) if emc[2] else None) if emc else None,
        _gpu(gpu) if gpu else None,
        {found[1]: Dla(not found[2], int(found[3]) if found[3] else None) for found in _DLA.finditer(line)},
        power,
        place,
    )


def _around(line: str, word: str) -> str:
    return line[line.index(word) :][:30]


def _gpu(found: re.Match[str]) -> Gpu:
    clocks = found[2] or found[3]
    mhz = tuple(int(clock) for clock in clocks.split(",") if clock) if clocks else ()
    return Gpu(int(found[1]) if found[1] else None, mhz)


def _time(line: str, place: str) -> str | None:
    found = _TIME.search(line)
    if not found:
        return None
    month, day, year, hour, minute, second = map(int, found.groups())
    try:
        return datetime.datetime(year, month, day, hour, minute, second).isoformat()
    except ValueError as error:
        raise InputError(
            f"{place}: found the time {found[0].strip()!r}, expected MM-DD-YYYY HH:MM:SS ({error})"
        ) from None
