"""The process behind one accelerator of the host target: pinned to its cores, it loads engines and runs what it is told.

Started by `crew.Crew` as ``python -m multidnn.targets.host.worker JSON``; commands and answers are pickled over a
socket, tensors live in the arena, and signals to other workers go through gate events.
"""

import json
import os
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multidnn.errors import InputError
from multidnn.targets.base import Step, StepTimes
from multidnn.targets.host import gate
from multidnn.targets.host.arena import Arena, Slot
from multidnn.targets.host.engines import Call, Engine, load_engine
from multidnn.targets.host.traffic import TrafficGenerator

Times = NDArray[np.int64]


class Worker:
    """The commands of one worker process; each public method is one command."""

    def __init__(self, name: str, arena: Arena, events: Sequence[int]) -> None:
        self._name = name
        self._arena = arena
        self._events = events
        self._engines: dict[str, Engine] = {}
        self._calls: dict[str, Call] = {}
        self._plans: dict[str, tuple[tuple[Step, ...], bool]] = {}
        self._traffic: TrafficGenerator | None = None

    def load(self, key: str, runtime: str, model: str, threads: int, shared: bool = False) -> str | None:
        """Load `model` as the engine `key`; return why the runtime does not take it, None if it does."""
        try:
            self._engines[key] = load_engine(runtime, Path(model), threads, shared)
        except InputError as error:
            return str(error)
        return None

    def bind(self, call: str, engine: str, inputs: dict[str, Slot], outputs: dict[str, Slot]) -> None:
        """Make `call` run `engine` on tensors of the arena, once now so that lazy set-up is over."""
        bound = self._engines[engine].bind(self._arena.tensors(inputs), self._arena.tensors(outputs))
        bound()
        self._calls[call] = bound

    def forget(self) -> None:
        """Drop every engine, call and plan."""
        self._plans.clear()
        self._calls.clear()
        self._engines.clear()

    def time_passes(self, calls: Sequence[tuple[str, int]], passes: int) -> list[list[float]]:
        """Run the calls one after another, `passes` times; return milliseconds per pass and call.

        A call with repeats n runs n times in a row and counts as their mean.
        """
        prepared = [(self._calls[call], repeats) for call, repeats in calls]
        result = []
        for _ in range(passes):
            row = []
            for run, repeats in prepared:
                begin = perf_counter_ns()
                for _ in range(repeats):
                    run()
                row.append((perf_counter_ns() - begin) / 1e6 / repeats)
            result.append(row)
        return result

    def answer(self, call: str, requests: int, warmup: int) -> Times:
        """Run the call `warmup` and then `requests` times, one after another; return when each of the latter began and
        ended (monotonic ns), shape (requests, 2)."""
        run = self._calls[call]
        for _ in range(warmup):
            run()
        # made before, so that nothing is allocated between two requests
        times = np.zeros((requests, 2), dtype=np.int64)
        for number in range(requests):
            begin = perf_counter_ns()
            run()
            times[number] = begin, perf_counter_ns()
        return times

    def loop(self, calls: Sequence[str], running: int, stop: int) -> list[int]:
        """Signal `running`, run the calls over and over until `stop` is signalled; return when each round ended
        (monotonic ns)."""
        prepared = [self._calls[call] for call in calls]
        gate.signal(self._events[running])
        ends: list[int] = []
        while True:
            for run in prepared:
                run()
                if gate.try_wait(self._events[stop]):
                    return ends
            ends.append(perf_counter_ns())

    def traffic(self, duty: float, running: int, stop: int) -> tuple[float, float]:
        """Signal `running`, copy memory at `duty` until `stop` is signalled; return bytes and seconds."""
        if self._traffic is None:
            self._traffic = TrafficGenerator(len(os.sched_getaffinity(0)))
        gate.signal(self._events[running])
        return self._traffic.run(duty, lambda: gate.try_wait(self._events[stop]))

    def hand_over(self, slot: Slot, rounds: int, ready: int, filled: int) -> list[tuple[int, int]]:
        """Fill `slot` and signal, `rounds` times; return when each signal was begun and done (nanoseconds)."""
        tensor = self._arena.tensor(slot)
        content = np.ones_like(tensor)
        times = []
        for _ in range(rounds):
            gate.wait_spinning(self._events[ready], 10, "the receiving side of a transition measurement")
            # a real engine leaves its output modified in this core's cache
            np.copyto(tensor, content)
            begin = perf_counter_ns()
            gate.signal(self._events[filled])
            times.append((begin, perf_counter_ns()))
        return times

    def take_over(self, slot: Slot, rounds: int, ready: int, filled: int) -> list[tuple[int, int, int]]:
        """Wait for `slot` to be filled elsewhere and read it twice, `rounds` times.

        Returns:
            Per round, in nanoseconds: when the signal was received, how long the first (cold) and the second (warm)
            read took.
        """
        tensor = self._arena.tensor(slot).reshape(-1)
        times = []
        for _ in range(rounds):
            gate.signal(self._events[ready])
            gate.wait_spinning(self._events[filled], 10, "the sending side of a transition measurement")
            received = perf_counter_ns()
            tensor.max()
            cold = perf_counter_ns()
            tensor.max()
            times.append((received, cold - received, perf_counter_ns() - cold))
        return times

    def plan(self, name: str, steps: Sequence[Step], spin: bool) -> None:
        """Keep `steps` as the plan `name`; with `spin` it waits without sleeping (its cores are its own)."""
        self._plans[name] = (tuple(steps), spin)

    def iterate(self, name: str, ready: int, go: int, timeout_s: float) -> list[StepTimes]:
        """Signal `ready`, wait for `go` and the common start time, then run the plan once."""
        steps, spin = self._plans[name]
        prepared = [
            ([self._calls[call] for call in step.calls], [self._events[e] for e in step.waits], step.signals)
            for step in steps
        ]
        wait = gate.wait_spinning if spin else gate.wait_sleeping
        start_time = self._arena.start_time()
        gate.signal(self._events[ready])
        gate.wait_sleeping(self._events[go], timeout_s, "the common start")
        start = int(start_time[0])
        while perf_counter_ns() < start:
            pass
        records = []
        for calls, waits, to_signal in prepared:
            wait_begin = perf_counter_ns()
            for event in waits:
                wait(event, timeout_s, "the accelerator before it")
            begin = perf_counter_ns()
            ends = []
            for run in calls:
                run()
                ends.append(perf_counter_ns())
            for index in to_signal:
                gate.signal(self._events[index])
            records.append(StepTimes(wait_begin, begin, tuple(ends), perf_counter_ns()))
        return records


def _die_with_parent(descriptor: int) -> None:
    """End this process when the last writer of the pipe is gone, which happens however the parent ends."""

    def watch() -> None:
        os.read(descriptor, 1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _serve(worker: Worker, connection: Connection) -> None:
    while True:
        try:
            command, arguments = connection.recv()
        except EOFError:
            return
        answer: tuple[str, Any]
        try:
            answer = ("ok", getattr(worker, command)(**arguments))
        except (InputError, gate.GateTimeoutError) as error:
            answer = ("error", str(error))
        except Exception as error:  # the parent must learn of it whatever it is
            answer = ("error", f"{type(error).__name__}: {error}")
        connection.send(answer)


def main() -> None:
    """Run the worker that the JSON in the first argument describes."""
    config = json.loads(sys.argv[1])
    os.sched_setaffinity(0, config["cores"])
    if config["idle"]:
        # those that numpy has started by now; the runtimes' threads inherit it
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
    _die_with_parent(config["alive"])
    arena = Arena(config["arena_size"], config["arena"])
    _serve(Worker(config["name"], arena, config["events"]), Connection(config["connection"]))


if __name__ == "__main__":
    main()
