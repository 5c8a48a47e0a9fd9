"""The process of one accelerator: it makes its CUDA context, loads engines and runs what it is told.

Forked by `crew.Crew` before anything of CUDA exists; commands and answers go through a pipe, tensors lie in the arena, and
turns go through gates.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, monotonic_ns, sleep
from typing import Any, Sequence

import numpy as np

from . import gate
from .arena import Arena
from .errors import BoardError
from .facts import check_packages
from .parent import die_with

# a running measurement says that it lives, so that a hung accelerator is told from a slow one
_PROGRESS_S = 1.0
# debts of sleep smaller than this are carried over: the kernel's own delay would swamp them
_SHORTEST_SLEEP_S = 200e-6


@dataclass(frozen=True)
class Step:
    """One segment as a worker runs it: wait for `waits`, run the engine for an instance, give `signals`.

    Attributes:
        waits: gate number and the partner's description, for the message if it does not come.
    """

    segment: int
    instance: str
    engine: str
    waits: tuple[tuple[int, str], ...]
    signals: tuple[int, ...]


class Worker:
    """The commands of one worker; each public method is one command."""

    def __init__(
        self,
        name: str,
        dla_core: int | None,
        arena: Arena | None,
        gates: Sequence[Any],
        line: gate.StartLine | None,
        connection: Connection,
    ) -> None:
        # CUDA and TensorRT exist in workers only
        import pycuda.driver as cuda

        from .driver import NotRegisteredError, register, start_cuda
        from .engine import Loader

        start_cuda()
        self._name = name
        self._stream = cuda.Stream()
        self._loader = Loader(dla_core)
        self._arena = arena
        self._gates = gates
        self._line = line
        self._connection = connection
        self._engines: dict[str, Any] = {}
        self._calls: dict[tuple[str, str | None], Any] = {}
        self._memory: dict[str, Any] = {}
        self._plans: dict[str, tuple[Step, ...]] = {}
        self._rng = np.random.default_rng(0)
        self._base: int | None = None
        self._why_copied = ""
        if arena is not None:
            try:
                self._base = register(arena.address, arena.layout.size)
            except NotRegisteredError as error:
                self._why_copied = str(error)

    def transfer(self) -> tuple[str, str]:
        """Return how tensors reach the device, "mapped" or "copied", and why they are copied."""
        return ("copied", self._why_copied) if self._base is None else ("mapped", "")

    def load(self, key: str, path: str, instances: Sequence[str]) -> None:
        """Load the engine `key`, bind it for `instances` (none: to memory of its own), and run it once."""
        from .engine import OwnMemory, call_alone, call_in_arena

        engine = self._engines[key] = self._loader.load(Path(path))
        if not instances:
            self._memory[key] = OwnMemory(engine, self._rng)
            self._calls[key, None] = call_alone(engine, self._stream, self._memory[key])
            self._calls[key, None].run()
        for instance in instances:
            assert self._arena is not None
            slots = self._arena.layout.slots.get(instance, {})
            call = call_in_arena(engine, self._stream, self._arena, slots, self._base, instance)
            # the first execution after loading sets up what later ones find ready
            call.run()
            self._calls[key, instance] = call
        # nothing of this is garbage, and no later collection need look at it
        gc.freeze()

    def drop(self, key: str) -> None:
        """Unload the engine `key`."""
        for call in [call for call in self._calls if call[0] == key]:
            del self._calls[call]
        del self._engines[key]
        gc.collect()
        if key in self._memory:
            self._memory.pop(key).close()

    def run_once(self, key: str, instance: str) -> None:
        """Run the engine `key` for `instance`, alone."""
        self._calls[key, instance].run()

    def plan(self, scheduler: str, steps: Sequence[Step]) -> None:
        """Keep `steps` as this worker's part of `scheduler`."""
        self._plans[scheduler] = tuple(steps)

    def iterate(self, scheduler: str, timeout_s: float) -> tuple[int, list[list[int]]]:
        """Run this worker's part of `scheduler` once, from the common start.

        Returns:
            When it really began, and per step: segment, begin of waiting, start, end, signalled (monotonic ns).
        """
        assert self._line is not None
        prepared = [
            (
                step.segment,
                [(self._gates[number], partner) for number, partner in step.waits],
                self._calls[step.engine, step.instance].run,
                [self._gates[number].release for number in step.signals],
            )
            for step in self._plans[scheduler]
        ]
        records = []
        now = monotonic_ns
        gc.disable()
        try:
            began = self._line.line_up(self._name, timeout_s)
            for segment, waits, run, signals in prepared:
                waiting = now()
                for one, partner in waits:
                    gate.wait(one, timeout_s, partner)
                start = now()
                run()
                end = now()
                for release in signals:
                    release()
                records.append([segment, waiting, start, end, now()])
        finally:
            gc.enable()
        return began, records

    def measure(self, key: str, samples: int, warmup: int, repeats: int) -> list[float]:
        """Time the engine `key` by CUDA events; return milliseconds of each sample, the mean over `repeats` in a row."""
        from .engine import time_call

        call = self._calls[key, None]
        said = monotonic()
        times = []
        gc.disable()
        try:
            for i in range(warmup + samples):
                ms = time_call(call, self._stream, repeats)
                if i >= warmup:
                    times.append(ms)
                if monotonic() - said > _PROGRESS_S:
                    self._connection.send(("progress", None))
                    said = monotonic()
        finally:
            gc.enable()
        return times

    def loop(self, key: str, duty: float, running: int, stop: int) -> tuple[int, float]:
        """Signal `running`, run the engine `key` over and over until `stop` is signalled.

        With `duty` 1, the next execution is enqueued before the last has ended, so that the accelerator never idles;
        below, it sleeps so that it runs that share of the time.

        Returns:
            Finished executions, and seconds.
        """
        import pycuda.driver as cuda

        call = self._calls[key, None]
        events = (cuda.Event(), cuda.Event())
        stopped = self._gates[stop]
        rounds, debt = 0, 0.0
        said = begin = monotonic()
        signalled = False
        while True:
            started = monotonic()
            call.enqueue()
            events[rounds % 2].record(self._stream)
            if duty < 1:
                self._stream.synchronize()
                debt += (monotonic() - started) * (1 / duty - 1)
                if debt > _SHORTEST_SLEEP_S:
                    slept_from = monotonic()
                    sleep(debt)
                    debt -= monotonic() - slept_from
            elif rounds:
                events[(rounds - 1) % 2].synchronize()
            rounds += 1
            if not signalled:
                gate.signal(self._gates[running])
                signalled = True
            if gate.try_wait(stopped):
                break
            if monotonic() - said > _PROGRESS_S:
                self._connection.send(("progress", None))
                said = monotonic()
        self._stream.synchronize()
        return rounds, monotonic() - begin


def _serve(worker: Worker, connection: Connection) -> None:
    while True:
        try:
            command, arguments = connection.recv()
        except EOFError:
            return
        answer: tuple[str, Any]
        try:
            answer = ("ok", getattr(worker, command)(**arguments))
        except (BoardError, gate.GateTimeoutError) as error:
            answer = ("error", str(error))
        except Exception as error:  # the parent must learn of it whatever it is
            answer = ("error", f"{type(error).__name__} during {command}: {error}")
        connection.send(answer)


def main(
    parent: int,
    name: str,
    dla_core: int | None,
    cpu: int | None,
    arena: Arena | None,
    gates: Sequence[Any],
    line: gate.StartLine | None,
    connection: Connection,
) -> None:
    """Be the worker `name` until the parent closes the pipe or ends."""
    die_with(parent)
    # what libraries print must not mix with the command's own output
    sys.stdout.flush()
    os.dup2(2, 1)
    # Ctrl-C is for the parent, which decides what happens to its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        check_packages()
        worker = Worker(name, dla_core, arena, gates, line, connection)
        if cpu is not None:
            # only this thread: CUDA's own threads, which exist by now, must not share the core that it spins on
            os.sched_setaffinity(0, {cpu})
        answer: tuple[str, Any] = ("ok", worker.transfer())
    except BoardError as error:
        answer = ("error", str(error))
    except OSError as error:
        answer = ("error", f"it cannot be pinned to core {cpu}: {error.strerror}" if cpu is not None else str(error))
    except Exception as error:
        traceback.print_exc()
        answer = ("error", f"CUDA or TensorRT cannot be started: {type(error).__name__}: {error}")
    connection.send(answer)
    if answer[0] == "ok":
        _serve(worker, connection)
    # TensorRT's and CUDA's objects go with the process, in no order that anyone must keep
    os._exit(0)
