"""What the processes on one stand-in board share: what each accelerator runs, and the DLA loadables that are in memory.

A file that all processes map. Each stream of a process has a slot in it, in which it writes the plan of what it is
executing: since when it is busy, and per phase its end, its memory demand and its accelerator. A reader needs no
answer from the writer, so a process that the operating system has stopped still counts as running what it said it would.
"""

import atexit
import contextlib
import fcntl
import json
import mmap
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from standin_board.settings import settings

SLOTS = 64
PHASES = 120
ACCELERATORS = ("gpu", "dla0", "dla1")
# pid, sequence, number of phases; busy since, start, hold (ns); mean demand
_HEADER = struct.Struct("<qqqdddd")
_PHASE = struct.Struct("<ddq")
_SIZE = 4096


@dataclass(frozen=True)
class Plan:
    """What one stream runs. Times in ns of the monotonic clock, demands in GB/s; phases: (end, demand, accelerator)."""

    busy_since: float
    start: float
    hold: float
    mean: float
    phases: tuple[tuple[float, float, int], ...]

    @property
    def end(self) -> float:
        return self.phases[-1][0]

    def at(self, moment: float) -> tuple[float, int, float]:
        """Return demand and accelerator (-1: none) at `moment`, and until when that holds."""
        if moment < self.start:
            if self.busy_since <= moment:
                return self.mean, self.phases[0][2], self.start
            return 0.0, -1, self.start
        for end, demand, accelerator in self.phases:
            if moment < end:
                return demand, accelerator, end
        if moment < self.end + self.hold:
            return self.mean, self.phases[-1][2], self.end + self.hold
        return 0.0, -1, float("inf")

    def active(self, moment: float) -> bool:
        """Return whether it runs at `moment`, gaps of a steady load included."""
        return min(self.start, self.busy_since) <= moment < self.end + self.hold


class Shared:
    """The mapped file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "running"
        self._lock_path = directory / "lock"
        with self.locked(), open(self._path, "a+b") as file:
            file.truncate(SLOTS * _SIZE)
            self._map = mmap.mmap(file.fileno(), SLOTS * _SIZE)
        self._mine: list[int] = []
        self._pid = os.getpid()
        atexit.register(self._leave)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with open(self._lock_path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def take(self) -> int:
        """Return a slot of this process's own."""
        with self.locked():
            for slot in range(SLOTS):
                (pid,) = struct.unpack_from("<q", self._map, slot * _SIZE)
                if pid == 0 or not _alive(pid):
                    self._map[slot * _SIZE : slot * _SIZE + _HEADER.size] = b"\0" * _HEADER.size
                    struct.pack_into("<q", self._map, slot * _SIZE, os.getpid())
                    self._mine.append(slot)
                    return slot
        raise RuntimeError("stand-in: more streams than slots")

    def write(self, slot: int, plan: Plan | None) -> None:
        """Publish `plan` in `slot`; readers never see half of one."""
        place = slot * _SIZE
        pid, sequence = struct.unpack_from("<qq", self._map, place)
        struct.pack_into("<q", self._map, place + 8, sequence + 1)
        if plan is None:
            _HEADER.pack_into(self._map, place, pid, sequence + 1, 0, 0.0, 0.0, 0.0, 0.0)
        else:
            phases = plan.phases[:PHASES]
            content = b"".join(_PHASE.pack(*phase) for phase in phases)
            self._map[place + _HEADER.size : place + _HEADER.size + len(content)] = content
            _HEADER.pack_into(
                self._map,
                place,
                pid,
                sequence + 1,
                len(phases),
                plan.busy_since,
                plan.start,
                plan.hold,
                plan.mean,
            )
        struct.pack_into("<q", self._map, place + 8, sequence + 2)

    def plans(self, but: int = -1) -> list[Plan]:
        """Return the plans in all slots, except in `but`."""
        found = []
        for slot in range(SLOTS):
            place = slot * _SIZE
            if slot == but:
                continue
            for _ in range(1000):
                pid, sequence, count, since, start, hold, mean = _HEADER.unpack_from(self._map, place)
                content = self._map[place + _HEADER.size : place + _HEADER.size + count * _PHASE.size]
                if sequence % 2 == 0 and struct.unpack_from("<q", self._map, place + 8)[0] == sequence:
                    break
                time.sleep(0)
            else:
                continue  # its writer died while writing
            if pid == 0:
                break  # slots are taken from the front, and a free one was never taken
            if count:
                found.append(Plan(since, start, hold, mean, tuple(_PHASE.iter_unpack(content))))  # type: ignore[arg-type]
        return found

    def _leave(self) -> None:
        if os.getpid() == self._pid:
            for slot in self._mine:
                self.write(slot, None)

    # ---- DLA loadables

    def change_loadables(self, core: int, change: int, limit: int) -> bool:
        """Add `change` to what this process has on DLA `core`; False, and no change, if all processes' exceed `limit`."""
        path = self._path.with_name("loadables.json")
        with self.locked():
            counts = json.loads(path.read_text()) if path.exists() else {}
            counts = {pid: cores for pid, cores in counts.items() if _alive(int(pid))}
            total = sum(cores.get(str(core), 0) for cores in counts.values())
            if change > 0 and total + change > limit:
                return False
            mine = counts.setdefault(str(os.getpid()), {})
            mine[str(core)] = max(0, mine.get(str(core), 0) + change)
            path.write_text(json.dumps(counts))
        return True

    # ---- engines

    def count_engine(self, change: int) -> None:
        """Add `change` to the engines of this process; engines.json says how many it has and had at most, by pid."""
        path = self._path.with_name("engines.json")
        with self.locked():
            counts = json.loads(path.read_text()) if path.exists() else {}
            now, most = counts.get(str(os.getpid()), (0, 0))
            counts[str(os.getpid())] = (now + change, max(most, now + change))
            path.write_text(json.dumps(counts))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_shared: Shared | None = None


def shared() -> Shared:
    """Return this process's mapping; a forked child makes its own."""
    global _shared
    if _shared is None or _shared._pid != os.getpid():
        _shared = Shared(settings().state)
    return _shared
