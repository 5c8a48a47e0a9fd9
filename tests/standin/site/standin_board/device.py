"""Time and memory of the stand-in: streams that add up computed durations, and the addresses that are the device's.

A stream has a position in virtual time. While there is work, work follows on work without a gap; after the host has waited
for the stream, the next work begins at the host's present. A duration is the standalone time of each phase, stretched at
every moment by what other accelerators demand at that moment (`state`), by the recorded curve (`recorded.slowdown`).
Differences of events are differences of positions and thus exact; a host that waits really waits that long.

A load that enqueues each execution before it has waited for the one before is steady: where the operating system (or
Python) keeps its process from enqueueing in time, it counts as going on for a while (`loop_hold_ms`), as on a board, where
enqueueing takes less time than executing.
"""

import bisect
import collections
import dataclasses
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from standin_board.recorded import slowdown
from standin_board.settings import settings
from standin_board.state import Plan, shared

_POLL_S = 150e-6
_SPIN_NS = 80_000
# how long an accelerator counts as busy after its last work
_HOLD_NS = 50_000.0
# so many executions in a row enqueued ahead make a load
_STEADY = 8
_EVER = float("inf")
# GB/s of a copy between host and device
COPY_GB_S = 20.0


@dataclass
class Work:
    """One execution of an engine, or a copy: phases of (standalone ns, demand, accelerator index).

    `key` tells engines apart; `durations`: what each phase really took, in ns.
    """

    key: object
    phases: list[tuple[float, float, int]]
    on_start: Callable[[], None] = lambda: None
    on_end: Callable[[], None] = lambda: None
    durations: list[float] = field(default_factory=list)
    started: bool = False
    cursor: float = 0.0
    phase: int = 0
    remaining: float = 0.0

    def advance(self, now: float, plans: list[Plan]) -> float:
        """Work off what can be worked off until `now`, beside `plans`; return when it ends if nothing changes."""
        self._walk(now, plans, commit=True)
        return self.cursor if self.phase >= len(self.phases) else self._walk(_EVER, plans, commit=False)

    def planned(self, plans: list[Plan]) -> list[tuple[float, float, int]]:
        """Return end, demand and accelerator of each phase that is left, if nothing changes."""
        ends: list[tuple[float, float, int]] = []
        self._walk(_EVER, plans, commit=False, ends=ends)
        return ends

    def _walk(
        self, limit: float, plans: list[Plan], commit: bool, ends: list[tuple[float, float, int]] | None = None
    ) -> float:
        cursor, phase, remaining, phases = self.cursor, self.phase, self.remaining, self.phases
        durations = self.durations if commit else None
        while phase < len(phases) and cursor < limit:
            _, demand, accelerator = phases[phase]
            slowed, until = _slowed(plans, cursor, demand, accelerator)
            if until > limit:
                until = limit
            end = cursor + remaining * slowed
            if end <= until:
                if durations is not None:
                    durations[phase] += remaining * slowed
                cursor = end
                if ends is not None:
                    ends.append((end, demand, accelerator))
                phase += 1
                remaining = phases[phase][0] if phase < len(phases) else 0.0
            else:
                remaining = max(0.0, remaining - (until - cursor) / slowed)
                if durations is not None:
                    durations[phase] += until - cursor
                cursor = until
        if commit:
            self.cursor, self.phase, self.remaining = cursor, phase, remaining
        return cursor


def _slowed(plans: list[Plan], moment: float, demand: float, accelerator: int) -> tuple[float, float]:
    """Return by how much a phase is slowed at `moment`, and until when that is so."""
    external, until = 0.0, _EVER
    for plan in plans:
        beside, where, end = plan.at(moment)
        if moment < end < until:
            until = end
        if where not in (-1, accelerator):
            external += beside
    return (slowdown(demand, external) if external > 0 and demand > 0 else 1.0), until


class Event:
    """A point in a stream; `moment` is None until the stream has passed it. `after`: the work before it, counted."""

    def __init__(self) -> None:
        self.recorded = False
        self.moment: float | None = None
        self.stream: Stream | None = None
        self.after = 0


class Stream:
    """Work in order."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._position = 0.0
        self._queue: collections.deque[Work | Event | tuple[str, Event]] = collections.deque()
        self._enqueued = 0
        # whether the host has waited for all there is: what comes next begins at the host's present
        self._waited = True
        # how often in a row the host has waited for work while more was enqueued behind it
        self._ahead = 0
        self._slot: int | None = None
        self._plan: Plan | None = None
        self._plan_end = 0.0
        self._busy_since = 0.0
        self._last: object = None
        self._last_end = 0.0
        self._hold = _HOLD_NS

    @property
    def steady(self) -> bool:
        """Whether this is a load: one engine over and over, always enqueued ahead."""
        return self._ahead >= _STEADY

    def enqueue(self, item: "Work | Event | tuple[str, Event]") -> None:
        """Put work, an event to pass, or ("wait", event) at the end."""
        now = time.monotonic_ns()
        if not self._queue and (self._waited or self.steady):
            self._position = max(self._position, float(now))
        if isinstance(item, Event):
            if self._waited:
                self._ahead = 0  # somebody measures: no load
            item.after = self._enqueued
        elif isinstance(item, Work):
            self._enqueued += 1
        self._waited = False
        self._queue.append(item)
        self.advance(now)

    def advance(self, now: float) -> float | None:
        """Work off what is over by `now`; return when the first item that is not will be over, None if there is none."""
        plans: list[Plan] | None = None
        while self._queue:
            item = self._queue[0]
            if isinstance(item, Event):
                item.moment = self._position
            elif isinstance(item, tuple):
                other = item[1]
                if other.recorded and other.moment is None and other.stream is not None:
                    end = other.stream.advance(now)
                    if other.moment is None:
                        return now + 1e5 if end is None else end
                self._position = max(self._position, other.moment or 0.0)
            else:
                plans = shared().plans(self._slot_number()) if plans is None else plans
                if not item.started:
                    self._start(item, plans)
                end = item.advance(now, plans)
                if end > now:
                    if item.key is not None and abs(end - self._plan_end) > 1.0:
                        self._publish(item, plans)
                    return end
                self._position = end
                if item.key is not None:
                    self._last_end = end
                item.on_end()
            self._queue.popleft()
        return None

    def synchronize(self, until: "Event | None" = None) -> None:
        """Wait, in real time, for everything that is enqueued, or for `until`."""
        while True:
            now = time.monotonic_ns()
            end = self.advance(now)
            if until is not None and until.moment is not None:
                end = until.moment
            elif end is None:
                end = self._position
            left = end - now
            if left <= 0:
                break
            if left > _SPIN_NS:
                time.sleep(min((left - _SPIN_NS) * 1e-9, _POLL_S))
        if until is not None and until.after < self._enqueued:
            self._ahead += 1
            return
        self._waited = True
        if until is None:
            self._end_load()

    def _end_load(self) -> None:
        """The host has waited for everything: whatever was steady is over."""
        self._ahead = 0
        if self._hold > _HOLD_NS and self._plan is not None:
            self._hold = _HOLD_NS
            shared().write(self._slot_number(), dataclasses.replace(self._plan, hold=self._hold))

    def done(self) -> bool:
        """Return whether everything that is enqueued is over."""
        now = time.monotonic_ns()
        over = self.advance(now) is None and self._position <= now
        self._waited = self._waited or over
        return over

    def _slot_number(self) -> int:
        if self._slot is None:
            self._slot = shared().take()
        return self._slot

    def _start(self, work: Work, plans: list[Plan]) -> None:
        work.started = True
        work.cursor = self._position
        work.remaining = work.phases[0][0] if work.phases else 0.0
        work.durations = [0.0] * len(work.phases)
        work.on_start()
        if work.key is None:
            return
        if work.key != self._last:
            self._ahead = 0
        self._hold = settings().loop_hold_ms * 1e6 if self.steady else _HOLD_NS
        if self._position - self._last_end > self._hold:
            self._busy_since = self._position
        self._last = work.key
        self._publish(work, plans)

    def _publish(self, work: Work, plans: list[Plan]) -> None:
        ends = work.planned(plans)
        if ends:
            total = sum(ns for ns, _, _ in work.phases)
            mean = sum(ns * demand for ns, demand, _ in work.phases) / total if total else 0.0
            self._plan_end = ends[-1][0]
            self._plan = Plan(self._busy_since, work.cursor, self._hold, mean, tuple(ends))
            shared().write(self._slot_number(), self._plan)


class Memory:
    """Which addresses the device may use; ranges do not overlap."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._sizes: dict[int, int] = {}

    def add(self, address: int, size: int) -> None:
        """Take a range."""
        if address in self._sizes:
            raise ValueError("registered already")
        bisect.insort(self._starts, address)
        self._sizes[address] = size

    def remove(self, address: int) -> None:
        """Give a range back; KeyError if it is none."""
        del self._sizes[address]
        self._starts.remove(address)

    def holds(self, address: int, size: int) -> bool:
        """Return whether all of it lies in one range."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return False
        start = self._starts[index]
        return address + size <= start + self._sizes[start]


class Device:
    """The CUDA side of this process."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.memory = Memory()
        self.streams: dict[int, Stream] = {0: Stream(0)}
        self.contexts = 0
        self.fault: str | None = None
        self._handles = itertools.count(0x5000_0000, 0x40)

    def new_stream(self) -> Stream:
        """Return a stream with a handle."""
        stream = Stream(next(self._handles))
        self.streams[stream.handle] = stream
        return stream

    def usable(self) -> bool:
        """Return whether CUDA was initialised in this very process (it does not survive a fork)."""
        return self.pid == os.getpid() and self.contexts > 0


DEVICE = Device()
