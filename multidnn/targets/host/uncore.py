"""Memory traffic of the whole machine by the counters in Intel's memory controllers, through perf_event_open."""

import ctypes
import errno
import os
import platform
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from multidnn.errors import InputError
from multidnn.targets.host.bandwidth import NotAvailableError, Opened

# Units and pairs of events that the kernel names for reads and writes at the memory (arch/x86/events/intel/uncore_*.c),
# in the order of preference; a unit may count with only one of them, or traffic would count twice. AMD's data fabric
# has no events named in sysfs (perf carries its own list), and AMD processors count through resctrl.
_SCHEMES = (
    (re.compile(r"uncore_imc(_\d+)?"), re.compile(r"cas_count_(read|write)(_sch\d+)?")),
    (re.compile(r"uncore_imc_free_running(_\d+)?"), re.compile(r"data_(read|write)")),
    (re.compile(r"uncore_imc(_\d+)?"), re.compile(r"data_(read|write)s")),
)
_UNIT_BYTES = {"Bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20}

# linux/perf_event.h: struct perf_event_attr up to config2, total times in the read format, close-on-exec
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQQ")
_READ_TIMES = 0b11
_CLOSE_ON_EXEC = 1 << 3
_READING = struct.Struct("=QQQ")
_SYSCALL = {"x86_64": 298}


@dataclass(frozen=True)
class UncoreEvent:
    """One event of one memory controller: perf type and config words, the processors to open it on, bytes per count."""

    name: str
    type: int
    config: tuple[int, int, int]
    processors: tuple[int, ...]
    bytes_per_count: float


class UncoreCounter(Opened):
    """All memory controllers together, reads and writes.

    Args:
        devices: sysfs folder of the event sources.
        proc: where procfs is mounted.

    Raises:
        NotAvailableError: no memory controller among the event sources, or no permission to count machine-wide.
    """

    method = "perf-uncore-imc"
    scope = "machine"

    def __init__(self, devices: Path, proc: Path) -> None:
        events = find_events(devices)
        self._opened: list[tuple[int, float, str]] = []
        try:
            for event in events:
                for processor in event.processors:
                    descriptor = _open(event, processor, proc)
                    self._opened.append((descriptor, event.bytes_per_count, event.name))
        except BaseException:
            self.close()
            raise

    def read(self) -> float:
        """See `Counter.read`."""
        total = 0.0
        for descriptor, bytes_per_count, name in self._opened:
            count, enabled, running = _READING.unpack(os.read(descriptor, _READING.size))
            if running == 0 and enabled > 0:
                raise InputError(f"perf event {name} is never scheduled: another program holds the counters")
            # the kernel shares a counter out when there are more events than counters
            total += bytes_per_count * count * (enabled / running if running else 1.0)
        return total

    def close(self) -> None:
        """Close the events."""
        for descriptor, _, _ in self._opened:
            os.close(descriptor)
        self._opened = []


def find_events(devices: Path) -> list[UncoreEvent]:
    """Return the events that together count every byte read and written at the memory.

    Raises:
        NotAvailableError: there are none, or one is described in a way that is not understood.
    """
    units = sorted(devices.iterdir()) if devices.is_dir() else []
    for unit_name, event_name in _SCHEMES:
        events, directions = [], set()
        for unit in units:
            if unit_name.fullmatch(unit.name) and (unit / "events").is_dir():
                for path in sorted((unit / "events").iterdir()):
                    if match := event_name.fullmatch(path.name):
                        events.append(_event(unit, path))
                        directions.add(match.group(1))
        if directions == {"read", "write"}:
            return events
    raise NotAvailableError(f"no memory controller that counts reads and writes (uncore_imc*) in {devices}")


def _event(unit: Path, path: Path) -> UncoreEvent:
    try:
        words = [0, 0, 0]
        for term in path.read_text(encoding="ascii").strip().split(","):
            name, _, text = term.partition("=")
            value = int(text, 0) if text else 1
            _place(words, unit / "format" / name, value)
        scale = float(path.with_name(f"{path.name}.scale").read_text(encoding="ascii"))
        label = path.with_name(f"{path.name}.unit").read_text(encoding="ascii").strip()
        return UncoreEvent(
            f"{unit.name}/{path.name}",
            int((unit / "type").read_text(encoding="ascii")),
            (words[0], words[1], words[2]),
            _numbers((unit / "cpumask").read_text(encoding="ascii")),
            scale * _UNIT_BYTES[label],
        )
    except (OSError, ValueError, KeyError) as error:
        raise NotAvailableError(f"event {path} is not described as expected ({error})") from None


def _place(words: list[int], path: Path, value: int) -> None:
    """Put the bits of `value` where the format file says, for example ``config:0-7,21`` (lowest bits first)."""
    if not path.exists() and path.name in ("config", "config1", "config2"):
        words[int(path.name[6:] or 0)] |= value
        return
    word, _, ranges = path.read_text(encoding="ascii").strip().partition(":")
    index = int(word.removeprefix("config") or 0)
    bits = _numbers(ranges)
    if value >> len(bits):
        raise ValueError(f"{path.name}={value:#x} does not fit {word}:{ranges}")
    for position, bit in enumerate(bits):
        words[index] |= (value >> position & 1) << bit


def _numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a kernel list such as ``0-7,21``."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


def _open(event: UncoreEvent, processor: int, proc: Path) -> int:
    """Return a descriptor that counts `event` from now on."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise NotAvailableError(f"perf_event_open is not used on {platform.machine()}, only on {', '.join(_SYSCALL)}")
    config, config1, config2 = event.config
    attributes = _ATTRIBUTES.pack(
        event.type, _ATTRIBUTES.size, config, 0, 0, _READ_TIMES, 0, 0, 0, config1, config2
    )  # fmt: skip
    library = ctypes.CDLL(None, use_errno=True)
    descriptor: int = library.syscall(
        ctypes.c_long(number),
        # the kernel may write the size it knows into the attributes
        ctypes.create_string_buffer(attributes, len(attributes)),
        ctypes.c_int(-1),
        ctypes.c_int(processor),
        ctypes.c_int(-1),
        ctypes.c_ulong(_CLOSE_ON_EXEC),
    )
    if descriptor >= 0:
        return descriptor
    code = ctypes.get_errno()
    reason = os.strerror(code)
    if code in (errno.EACCES, errno.EPERM):
        paranoid = (proc / "sys" / "kernel" / "perf_event_paranoid").read_text(encoding="ascii").strip()
        reason += f": kernel.perf_event_paranoid is {paranoid}, counting machine-wide needs 0 or CAP_PERFMON"
    raise NotAvailableError(f"perf event {event.name} cannot be opened on processor {processor} ({reason})")
