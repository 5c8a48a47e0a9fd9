"""Starting, talking to, watching and ending the workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from time import monotonic, sleep
from typing import Any, Mapping, NoReturn, Sequence

from . import gate, worker
from .arena import Arena
from .errors import BoardError

# a context, TensorRT's libraries and a registered arena take seconds on a board
_START_TIMEOUT_S = 120.0
# an engine of hundreds of megabytes from an SD card
LOAD_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Seat:
    """What a worker is started with: the DLA core of its engines and the core that it is pinned to, each None for any."""

    dla_core: int | None
    cpu: int | None = None


class Crew:
    """Worker processes that share an arena and gates; use as a context manager.

    Every method raises a `BoardError` if any worker dies, fails or does not answer; all workers have been ended by then.

    Args:
        seats: per worker, what it is started with.
        arena: shared memory, or None.
        gates: gates that commands refer to by number.
        line: the common start, or None.
    """

    def __init__(
        self, seats: Mapping[str, Seat], arena: Arena | None, gates: Sequence[Any], line: gate.StartLine | None
    ) -> None:
        self._gates = gates
        self._line = line
        self._processes: dict[str, Any] = {}
        self._connections: dict[str, Connection] = {}
        self._answers: dict[str, Any] = {}
        self.transfers: dict[str, tuple[str, str]] = {}
        try:
            for name, seat in seats.items():
                ours, theirs = gate.FORK.Pipe()
                process = gate.FORK.Process(
                    target=worker.main,
                    args=(os.getpid(), name, seat.dla_core, seat.cpu, arena, gates, line, theirs),
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._processes[name], self._connections[name] = process, ours
            self.transfers = self.receive(*seats, timeout_s=_START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """End every worker; a second call does nothing."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.join()
        for connection in self._connections.values():
            connection.close()
        self._processes, self._connections = {}, {}

    def send(self, name: str, command: str, **arguments: Any) -> None:
        """Give a worker a command without waiting for its answer."""
        try:
            self._connections[name].send((command, arguments))
        except OSError:
            self._died(name)

    def receive(self, *names: str, timeout_s: float) -> dict[str, Any]:
        """Return the answers of workers to their last command; signs of life begin `timeout_s` anew."""
        deadline = monotonic() + timeout_s
        while not all(name in self._answers for name in names):
            late = [name for name in names if name not in self._answers]
            if monotonic() > deadline:
                self.close()
                raise BoardError(f"no answer from worker {', '.join(late)} for {timeout_s:g} s; all workers were ended")
            if any(name in late for name in self._listen(deadline)):
                deadline = monotonic() + timeout_s
        return {name: self._answers.pop(name) for name in names}

    def call(self, name: str, command: str, timeout_s: float, **arguments: Any) -> Any:
        """Give a worker a command and return its answer."""
        self.send(name, command, **arguments)
        return self.receive(name, timeout_s=timeout_s)[name]

    def gate(self, number: int) -> Any:
        """Return gate `number` of this crew."""
        return self._gates[number]

    def watch(self, seconds: float) -> None:
        """Let workers go on for `seconds`; whoever fails or dies meanwhile raises."""
        deadline = monotonic() + seconds
        while monotonic() < deadline:
            self._listen(deadline)

    def collect(self, number: int, timeout_s: float, *names: str) -> None:
        """Take a signal from gate `number` of this crew for each of `names`, which give one each."""
        self._collect(dict.fromkeys(names, self._gates[number]), timeout_s)

    def start_together(self, timeout_s: float, *names: str) -> int:
        """Once all of `names` are ready, let them begin together; return the common start (monotonic ns)."""
        assert self._line is not None
        self._collect({name: self._line.ready[name] for name in names}, timeout_s)
        return self._line.open(names)

    def _collect(self, gates: Mapping[str, Any], timeout_s: float) -> None:
        deadline = monotonic() + timeout_s
        late = list(gates)
        while True:
            late = [name for name in late if not gate.try_wait(gates[name])]
            if not late:
                return
            if monotonic() > deadline:
                self.close()
                raise BoardError(f"worker {', '.join(late)} is not ready after {timeout_s:g} s; all workers were ended")
            self._listen(monotonic())
            # the workers spin; the parent leaves them the cores
            sleep(50e-6)

    def _listen(self, deadline: float) -> list[str]:
        """Wait for anything from any worker; keep answers, and return who gave a sign of life without an answer."""
        senders = {connection: name for name, connection in self._connections.items()}
        sentinels = {process.sentinel: name for name, process in self._processes.items()}
        ready = wait([*senders, *sentinels], max(0.0, deadline - monotonic()))
        alive = []
        for one in ready:
            if isinstance(one, Connection):
                status, value = self._take(senders[one])
                if status == "progress":
                    alive.append(senders[one])
                else:
                    self._answers[senders[one]] = value
        # after what it had to say: its last words tell more than its end
        for one in ready:
            if not isinstance(one, Connection):
                self._died(sentinels[one])
        return alive

    def _take(self, name: str) -> tuple[str, Any]:
        try:
            status, value = self._connections[name].recv()
        except (EOFError, OSError):
            self._died(name)
        if status == "error":
            self.close()
            raise BoardError(f"worker {name!r}: {value}")
        return status, value

    def _died(self, name: str) -> NoReturn:
        process = self._processes[name]
        process.join(1)
        if process.exitcode is None:
            how = "closed its connection"
        elif process.exitcode < 0:
            how = f"was killed by signal {-process.exitcode}"
        else:
            how = f"ended with exit code {process.exitcode}"
        self.close()
        raise BoardError(f"worker {name!r} {how}; the other workers were ended and nothing was written")
