"""A process that goes on improving a schedule beside a running workload, on whatever processor time that leaves."""

import fcntl
import importlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from multidnn.errors import InputError
from multidnn.schedule.problem import Problem
from multidnn.schedule.schedule import Schedule

_log = logging.getLogger(__name__)

SEARCH = "multidnn.schedule.anytime:improve"
"""What searches, as ``module:function``: called like `multidnn.schedule.anytime.improve`."""

# imported rather than run as a module, so that the classes that travel are the same on both sides
_PROGRAM = "from multidnn.runtime.background_solver import main; main()"
_READY_TIMEOUT_S = 120.0
# the solver has a core at most, and none of its own
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
# sys.stderr has no descriptor in a notebook
_STANDARD_ERROR = 2
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Task:
    """What to improve.

    Attributes:
        number: the answers to this task carry it, so that those to an earlier one can be told apart.
        start: schedules of `problem` to begin from.
        over_and_over: begin again whenever it is done and answer nothing, to have a solver that never rests.
    """

    number: int
    problem: Problem
    start: tuple[Schedule, ...]
    max_transitions: int | None
    time_limit_s: float
    over_and_over: bool = False


@dataclass(frozen=True)
class Answer:
    """What the solver says.

    Attributes:
        kind: "better" (a schedule that beats those before), "done" (the search has ended; `schedule` is its last word),
            "failed" (`reason` says why there is no schedule) or "lost" (the process has ended, `reason` says how).
        number: of the task.
        found: when it was found, in seconds of `time.monotonic`.
    """

    kind: str
    number: int
    found: float
    schedule: Schedule | None = None
    reason: str = ""


class BackgroundSolver:
    """The solver's process: it runs when nothing else wants the processor and ends with this one, however this ends.

    Args:
        search: what to call, see `SEARCH`.
    """

    def __init__(self, search: str = SEARCH) -> None:
        self._alive_read, self._alive_write = os.pipe()
        ours, theirs = socket.socketpair()
        config = {"search": search, "alive": self._alive_read, "connection": theirs.fileno()}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps(config)],
                stdin=subprocess.DEVNULL,
                # what its libraries print must not mix with a command's own output
                stdout=_STANDARD_ERROR,
                env={**os.environ, **_ONE_THREAD},
                pass_fds=(self._alive_read, theirs.fileno()),
                # Ctrl-C is for the parent, which decides what happens to the solver
                process_group=0,
            )
        self._connection = Connection(ours.detach())
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._ready = threading.Event()
        self._lost: str | None = None
        self._closed = False
        # a thread takes the answers, so that neither side ever waits for the other
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = self._connection.recv()
                if message == "ready":
                    self._ready.set()
                else:
                    self._answers.put(message)
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._lost = f"the solver's process {self._process.pid} {how}"
        self._answers.put(Answer("lost", -1, monotonic(), reason=self._lost))
        self._ready.set()

    def wait_ready(self) -> None:
        """Wait until its libraries are loaded.

        Raises:
            InputError: it takes minutes, or the process ended first: a solver that never began is no solver.
        """
        if not self._ready.wait(_READY_TIMEOUT_S):
            self.close()
            raise InputError(f"the solver's process was not ready after {_READY_TIMEOUT_S:g} s; is the machine busy?")
        if self._lost is not None:
            self.close()
            raise InputError(f"{self._lost} before it began")

    @property
    def process_id(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def lost(self) -> str | None:
        """How its process ended by itself, None while it runs."""
        return self._lost

    def solve(self, task: Task) -> None:
        """Drop what it works on and begin with `task`; a process that is gone takes nothing, which `poll` tells."""
        self.resume()
        with suppress(OSError):
            self._connection.send(task)

    def rest(self) -> None:
        """Drop what it works on."""
        self.resume()
        with suppress(OSError):
            self._connection.send(None)

    def poll(self) -> list[Answer]:
        """Return the answers that have come since the last call, without waiting."""
        answers = []
        with suppress(Empty):
            while True:
                answers.append(self._answers.get_nowait())
        return answers

    def pause(self) -> None:
        """Take the processor away from it until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # Popen knows whether the process was waited for, so no other process can be hit
        self._process.send_signal(number)

    def cpu_s(self) -> float:
        """Return the processor time that it has used so far, in seconds."""
        try:
            with open(f"/proc/{self._process.pid}/stat", encoding="ascii") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def close(self) -> None:
        """End the process; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._connection.close()
        os.close(self._alive_read)
        os.close(self._alive_write)


def _yield_the_processor() -> None:
    """Run only when nobody else wants to; that needs no privileges."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.nice(19)


def _die_with_parent(descriptor: int) -> None:
    """Have the kernel kill this process, even stopped or in compiled code, when the pipe's last writer is gone."""
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    # it may have gone before
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if poll.poll(0):
        os._exit(1)


def _work(task: Task, improve: Callable[..., Iterator[Any]], connection: Connection) -> None:
    """Improve until done or until there is another command."""
    while not connection.poll():
        try:
            last = _improve(task, improve, connection)
        except InputError as error:
            connection.send(Answer("failed", task.number, monotonic(), reason=str(error)))
            return
        if not task.over_and_over:
            if not connection.poll():
                connection.send(Answer("done", task.number, monotonic(), schedule=last))
            return


def _improve(task: Task, improve: Callable[..., Iterator[Any]], connection: Connection) -> Schedule | None:
    start: Sequence[Schedule] = task.start
    last = None
    found = improve(
        task.problem,
        max_transitions=task.max_transitions,
        time_limit_s=task.time_limit_s,
        start=start,
        stop=connection.poll,
    )
    for incumbent in found:
        last = incumbent.schedule
        if not task.over_and_over and not connection.poll():
            connection.send(Answer("better", task.number, monotonic(), schedule=last))
    return last


def main() -> None:
    """Run the solver that the JSON in the first argument describes."""
    config = json.loads(sys.argv[1])
    _die_with_parent(config["alive"])
    module, _, function = config["search"].partition(":")
    improve = getattr(importlib.import_module(module), function)
    connection = Connection(config["connection"])
    if config["search"] == SEARCH:
        from multidnn.schedule.compiled.loading import load

        load()
    # only now: its parent waits until the libraries are loaded
    _yield_the_processor()
    connection.send("ready")
    with suppress(EOFError):
        while True:
            task = connection.recv()
            if task is not None:
                _work(task, improve, connection)
