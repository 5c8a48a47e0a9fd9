"""Starting, talking to, watching and ending the worker processes of a host target."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from time import monotonic
from types import TracebackType
from typing import Any, Self

from multidnn.errors import InputError
from multidnn.targets.host import gate
from multidnn.targets.host.arena import Arena

_ANSWER_TIMEOUT_S = 600.0
# sys.stderr has no descriptor in a notebook
_STANDARD_ERROR = 2
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Crew:
    """Worker processes that share one arena and one set of gate events; use it as a context manager.

    Args:
        cores: per worker, the cores it is pinned to.
        arena_size: bytes of shared memory.
        events: how many gate events there are.

    Raises:
        InputError: a worker died or reported an error; every other worker has been ended by then.
    """

    def __init__(self, cores: Mapping[str, tuple[int, ...]], arena_size: int, events: int) -> None:
        self.arena = Arena(arena_size)
        self.events = [gate.make_event() for _ in range(events)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._connections: dict[str, Connection] = {}
        self._cores = dict(cores)
        self._idle: set[str] = set()
        self._closed = False
        self._alive_read, self._alive_write = os.pipe()
        try:
            for name in cores:
                self._start(name)
        except BaseException:
            self.close()
            raise

    def add_idle(self, name: str, cores: tuple[int, ...]) -> None:
        """Start one more worker, which gets only the time of its cores that nothing else wants (SCHED_IDLE)."""
        self._cores[name] = cores
        self._idle.add(name)
        self._start(name)

    def _start(self, name: str) -> None:
        ours, theirs = socket.socketpair()
        config = {
            "name": name,
            "cores": list(self._cores[name]),
            "idle": name in self._idle,
            "arena": self.arena.descriptor,
            "arena_size": self.arena.size,
            "events": self.events,
            "alive": self._alive_read,
            "connection": theirs.fileno(),
        }
        # a measured process sets its own thread count, whatever the caller's environment says
        threads = {variable: str(len(self._cores[name])) for variable in _THREAD_VARIABLES}
        with theirs:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "multidnn.targets.host.worker", json.dumps(config)],
                stdin=subprocess.DEVNULL,
                # what a worker's libraries print must not mix with a command's own output
                stdout=_STANDARD_ERROR,
                env={**os.environ, **threads},
                pass_fds=(self.arena.descriptor, *self.events, self._alive_read, theirs.fileno()),
                # Ctrl-C is for the parent, which decides what happens to its workers
                process_group=0,
            )
        self._connections[name] = Connection(ours.detach())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every worker and free the shared memory; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        for connection in self._connections.values():
            connection.close()
        for descriptor in (*self.events, self._alive_read, self._alive_write):
            os.close(descriptor)
        self.arena.close()
        self._processes, self._connections, self.events = {}, {}, []

    def process_ids(self) -> dict[str, int]:
        """Return the process id of each worker."""
        return {name: process.pid for name, process in self._processes.items()}

    def send(self, worker: str, command: str, **arguments: Any) -> None:
        """Give `worker` a command without waiting for its answer."""
        if self._closed:
            raise InputError(f"worker {worker!r} was ended with all others and cannot be given {command}")
        try:
            self._connections[worker].send((command, arguments))
        except OSError:
            self._fail(worker, command)

    def receive(self, *workers: str, timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return the answers of `workers` to their last command, waiting for all of them."""
        answers: dict[str, Any] = {}
        waiting = {self._connections[worker]: worker for worker in workers}
        deadline = monotonic() + timeout_s
        while waiting:
            ready = wait(list(waiting), max(0.0, deadline - monotonic()))
            if not ready:
                self.close()
                raise InputError(f"no answer from {', '.join(waiting.values())} for {timeout_s:g} s; all workers ended")
            for connection in ready:
                assert isinstance(connection, Connection)
                worker = waiting.pop(connection)
                try:
                    status, value = connection.recv()
                except (EOFError, OSError):
                    self._fail(worker, "a command")
                if status == "error":
                    self.close()
                    raise InputError(f"worker {worker!r}: {value}")
                answers[worker] = value
        return answers

    def wait_signal(self, event: int, timeout_s: float, *workers: str) -> None:
        """Take one signal from `event`, which one of `workers` gives; whoever dies or fails first raises instead."""
        senders = {self._connections[worker]: worker for worker in workers}
        deadline = monotonic() + timeout_s
        while not gate.try_wait(self.events[event]):
            ready = wait([self.events[event], *senders], max(0.0, deadline - monotonic()))
            if not ready:
                self.close()
                raise InputError(f"no signal from {', '.join(workers)} for {timeout_s:g} s; all workers were ended")
            for sender in ready:
                if isinstance(sender, Connection):
                    self.receive(senders[sender])

    def call(self, worker: str, command: str, **arguments: Any) -> Any:
        """Give `worker` a command and return its answer."""
        self.send(worker, command, **arguments)
        return self.receive(worker)[worker]

    def _fail(self, worker: str, command: str) -> None:
        try:
            code = self._processes[worker].wait(10)
        except subprocess.TimeoutExpired:
            # it closed its connection and lives on
            self._processes[worker].kill()
            code = self._processes[worker].wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        cores = ",".join(map(str, self._cores[worker]))
        self.close()
        raise InputError(
            f"worker {worker!r} (cores {cores}) {how} during {command}; the other workers were ended and "
            "nothing was written. If the machine ran out of memory, use fewer networks at once"
        )
