"""One child process that prints readings of the board; each line is stamped with the monotonic clock."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from time import monotonic, monotonic_ns, sleep
from typing import Any, Sequence

from .errors import BoardError
from .parent import die_with

_FIRST_LINE_S = 15.0


class Sampler:
    """A running sampler; use as a context manager. A sampler that ends by itself or prints nothing is an error.

    Args:
        command: argument list.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        # a file takes all that it says, and no pipe that nobody reads can stop it
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the sampler
        self.lines: list[tuple[int, str]] = []
        parent = os.getpid()
        try:
            self._process = subprocess.Popen(
                self._command,
                # a sampler may end when its input does, as ours for jtop, so this stays open until it is told to
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                preexec_fn=lambda: die_with(parent),
            )
        except OSError as error:
            raise BoardError(f"the sampler {self._command[0]} cannot be started: {error.strerror}") from None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        stream: Any = self._process.stdout
        for line in iter(stream.readline, b""):
            self.lines.append((monotonic_ns(), line.decode(errors="replace").rstrip("\r\n")))

    def __enter__(self) -> Sampler:
        deadline = monotonic() + _FIRST_LINE_S
        while not self.lines:
            self.check()
            if monotonic() > deadline:
                self._end()
                raise BoardError(f"the sampler {self._command[0]} has printed nothing for {_FIRST_LINE_S:g} s")
            sleep(0.01)
        return self

    def __exit__(self, *details: object) -> None:
        self._end()

    def check(self) -> None:
        """Raise a `BoardError` if the sampler has ended."""
        code = self._process.poll()
        if code is not None:
            self._thread.join(1)
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()
            last = said[-1] if said else (self.lines[-1][1] if self.lines else "it said nothing")
            raise BoardError(f"the sampler {' '.join(self._command)} ended with exit code {code}: {last}")

    def finish(self) -> list[list[Any]]:
        """Check that it still runs, end it, and return [monotonic ns, line] of each line."""
        self.check()
        self._end()
        return [[stamp, line] for stamp, line in self.lines]

    def _end(self) -> None:
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGTERM)
                self._process.wait(2)
            except (PermissionError, ProcessLookupError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        self._thread.join(2)
