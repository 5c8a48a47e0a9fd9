"""The board: commands and files on this machine or over ssh, with every foreseeable failure as one line.

A command on the board ends with the connection: its standard input is that connection, and end of file ends it. Nothing
ever asks for a password.
"""

import atexit
import json
import logging
import re
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from subprocess import CompletedProcess
from types import TracebackType
from typing import Any, NoReturn, Self

from multidnn.errors import InputError
from multidnn.files import FORMAT
from multidnn.targets.jetson import board_code
from multidnn.targets.jetson.local import Local, outside_environment
from multidnn.targets.jetson.process import NO_SPACE, SHORT_S, last_line
from multidnn.targets.jetson.ssh import GO_ON, Ssh

_log = logging.getLogger(__name__)

OLDEST_PYTHON = (3, 8)

# Runs a command that ends when its standard input does: `"$@"` beside a watcher that reads this script's own input.
WATCHED = (
    'exec 3<&0; "$@" </dev/null 3<&- & p=$!; '
    "{ cat >/dev/null; kill $p; sleep 5; kill -9 $p; } <&3 >/dev/null 2>&1 & w=$!; exec 3<&-; "
    "wait $p; r=$?; kill $w 2>/dev/null; exit $r"
)


class Board:
    """A board, opened; a context manager. `directory` is where everything of ours lies on it (absolute).

    Paths on the board that are relative are below `directory`. Several jobs must not use one board at a time; that is
    the caller's lock. Every method raises an `InputError` (one line) when the connection cannot be made or is lost, a
    command exceeds its time, or the disk is full.
    """

    host: str | None
    python: str
    directory: PurePosixPath

    def __init__(self, spec: Mapping[str, Any]) -> None:
        settings = dict(spec.get("board") or {})
        self.host = settings.get("host")
        self._link: Local | Ssh = (
            Local() if self.host is None else Ssh(self.host, [str(item) for item in settings.get("ssh_options") or ()])
        )
        # threads of this process share the connection; the code is pushed once
        self._lock = threading.Lock()
        self._has_code = False
        self._python_version: tuple[int, ...] | None = None
        try:
            self._home = self._link.open()
            self.python = self._program(str(settings.get("python") or "python3"))
            self.directory = self._made(str(settings.get("directory") or "multidnn-board"))
        except BaseException:
            self.close()
            raise
        atexit.register(self.close)

    @classmethod
    def open(cls, spec: Mapping[str, Any]) -> "Board":
        """Return the board of `spec`, a target's value in config.yaml.

        ``spec["board"]`` has ``host`` (None: this machine), ``python`` (a command, or a path), ``directory`` (relative to
        the home directory on the board) and ``ssh_options`` (further arguments for ssh, one per entry).

        Raises:
            InputError: the host is unknown or refuses, wants a password, its key is unknown, or `directory` cannot be
                made there.
        """
        return cls(spec)

    def close(self) -> None:
        """End the connection and whatever still runs through it. May be called again."""
        atexit.unregister(self.close)
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return self._link.label

    # commands

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float | None = None,
        cwd: str | PurePosixPath | None = None,
        env: Mapping[str, str] | None = None,
        stdin_lifeline: bool = False,
    ) -> "CompletedProcess[str]":
        """Run a command on the board and return its exit code and output; a failing command is no error here.

        The command ends when the connection or this process does. With `stdin_lifeline` it sees to that itself: its
        standard input is the connection, and end of file means the end. Otherwise it reads nothing and is killed.

        Args:
            argv: the command and its arguments, passed on as they are, spaces and quotes included.
            timeout_s: seconds after which it is ended (an `InputError`); None waits for ever.
            cwd: directory on the board, by default the home directory.
            env: variables on top of the environment there.
        """
        command = list(argv) if stdin_lifeline else ["sh", "-c", WATCHED, "sh", *argv]
        return self._link.run(
            command, what=PurePosixPath(argv[0]).name, timeout_s=timeout_s, cwd=self._absolute(cwd), env=env or {}
        )

    def call(self, command: str, request: Mapping[str, Any], timeout_s: float | None) -> dict[str, Any]:
        """Run ``PYTHON -m board COMMAND`` on the board with `request` and return its answer.

        The code is pushed first if it is not what the board has. What the command prints on standard error is logged.

        Raises:
            InputError: the board's own error line, a Python that is missing or older than 3.8, or an answer that is
                missing or truncated.
        """
        self.require_python()
        self.push_code()
        job = self.directory / "jobs" / f"{command}-{secrets.token_hex(6)}"
        answer = job / "answer.json"
        self._write(job / "request.json", json.dumps({"format": FORMAT, **request}, allow_nan=False))
        argv = [self.python, "-m", "board", command, str(job / "request.json"), str(answer), "--lifeline"]
        code = self.directory / "code"
        lines: list[str] = []

        def said(line: str) -> None:
            lines.append(line)
            _log.info("%s: %s: %s", self, command, line)

        done = self._link.run(argv, what=command, timeout_s=timeout_s, cwd=code, env={}, said=said)
        if done.returncode != 0:
            self._raise_failed(command, done.returncode, [line for line in lines if line.strip()])
        found = self.run(["cat", "--", str(answer)], timeout_s=None)
        try:
            content = json.loads(found.stdout)
        except json.JSONDecodeError:
            content = None
        if found.returncode != 0 or not isinstance(content, dict) or content.get("format") != FORMAT:
            state = "is missing" if found.returncode != 0 else "is truncated or not of this version"
            raise InputError(f"{self}: {command}: the answer {answer} {state}; give the same command again")
        self.run(["rm", "-rf", "--", str(job)], timeout_s=SHORT_S)
        return content

    def require_python(self) -> tuple[int, ...]:
        """Return the version of the board's Python, 3.8 or newer; any other is an `InputError`."""
        if self._python_version is None:
            asked = [self.python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]
            done = self.run(asked, timeout_s=SHORT_S)
            words = done.stdout.split()
            if done.returncode != 0 or not words:
                raise InputError(
                    f"{self}: {self.python!r} is no Python there ({last_line(done.stderr) or 'it prints no version'}); "
                    "`board: python:` of the target names the one that has TensorRT"
                )
            version = tuple(int(part) for part in words[-1].split("."))
            if version[:2] < OLDEST_PYTHON:
                raise InputError(
                    f"{self}: {self.python!r} is Python {words[-1]}, expected 3.8 or newer (JetPack 5 or later)"
                )
            self._python_version = version
        return self._python_version

    # files

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or a directory's content to `remote` on the board, as far as size or time of change differ.

        Files of the board that `local` does not have stay.
        """
        self._push(Path(local), self._below(remote), exact=False)

    def fetch(self, remote: str, local: Path) -> None:
        """Copy a file or directory of the board to `local`, which it replaces whole or not at all."""
        source, local = self._below(remote), Path(local)
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{local.name}.", dir=local.parent) as scratch:
                self._link.fetch(source, Path(scratch))
                if local.is_dir() and not local.is_symlink():
                    shutil.rmtree(local)
                (Path(scratch) / source.name).replace(local)
        except OSError as error:
            raise InputError(f"{local}: cannot be written: {error.strerror or error}") from None

    def free_bytes(self) -> int:
        """Return how much can still be written to `directory`, in bytes."""
        done = self.run(["df", "-Pk", "--", str(self.directory)], timeout_s=SHORT_S)
        # available, used %, where mounted
        found = re.search(r"\s(\d+)\s+\d+%\s+/", done.stdout)
        if found is None:
            raise InputError(f"{self}: df does not tell the free space: {last_line(done.stderr)}")
        return int(found[1]) * 1024

    def _push(self, local: Path, remote: PurePosixPath, exact: bool) -> None:
        if not local.exists():
            raise InputError(f"{local}: no such file or directory; it was to be copied to {self}")
        with self._disk_full():
            self._make(remote if local.is_dir() else remote.parent)
            self._link.push(local, remote, exact)

    def push_code(self) -> None:
        """Bring the code on the board up to date, once; the stamp beside it is written last. `call` does it too."""
        with self._lock:
            if self._has_code:
                return
            digest = board_code.code_hash()
            stamp = self.directory / "code" / "stamp"
            known = self.run(["cat", "--", str(stamp)], timeout_s=SHORT_S)
            if known.returncode != 0 or known.stdout.strip() != digest:
                self.run(["rm", "-f", "--", str(stamp)], timeout_s=SHORT_S)
                for folder in board_code.CODE:
                    self._push(board_code.PACKAGE / folder, self.directory / "code" / folder, exact=True)
                self._write(stamp, digest + "\n")
            self._has_code = True

    def _write(self, path: PurePosixPath, text: str) -> None:
        """Write a file on the board, whole or not at all."""
        script = (
            'mkdir -p -- "${1%/*}" && cat > "$1.part" && mv -f -- "$1.part" "$1" || { rm -f -- "$1.part"; exit 1; }'
        )
        with self._disk_full():
            done = self._link.run(
                ["sh", "-c", script, "sh", str(path)], what="cat", timeout_s=None, cwd=None, env={}, data=text.encode()
            )
            if done.returncode != 0:
                raise InputError(f"{self}: {path} cannot be written: {last_line(done.stderr)}")

    def _make(self, directory: PurePosixPath) -> None:
        done = self.run(["mkdir", "-p", "--", str(directory)], timeout_s=SHORT_S)
        if done.returncode != 0:
            raise InputError(f"{self}: the directory {directory} cannot be made: {last_line(done.stderr)}")

    @contextmanager
    def _disk_full(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            if NO_SPACE in str(error):
                self._raise_full()
            raise

    # paths

    def _program(self, python: str) -> str:
        """Return the command as it is, a path as an absolute one: commands run in another directory."""
        if "/" not in python:
            return outside_environment(python) if self.host is None else python
        base = Path.cwd() if self.host is None else self._home
        return str(self._home / python[2:]) if python.startswith("~/") else str(base / python)

    def _made(self, directory: str) -> PurePosixPath:
        path = self._home / (directory.removeprefix("~/") if directory != "~" else ".")
        self.directory = path
        with self._disk_full():
            self._make(path)
        return path

    def _below(self, remote: str | PurePosixPath) -> PurePosixPath:
        return self.directory / str(remote)

    def _absolute(self, cwd: str | PurePosixPath | None) -> PurePosixPath | None:
        return None if cwd is None else self._below(cwd)

    # failures

    def _raise_failed(self, command: str, status: int, lines: Sequence[str]) -> NoReturn:
        last = lines[-1].strip() if lines else ""
        if any(NO_SPACE in line for line in lines[-3:]):
            self._raise_full()
        if last.startswith("error: "):
            raise InputError(f"{self}: {last.removeprefix('error: ')}")
        if status in (126, 127):
            raise InputError(f"{self}: {self.python!r} cannot be run: {last}; see `board: python:` of the target")
        number = -status if status < 0 else status - 128
        if number in (signal.SIGKILL, signal.SIGTERM):
            raise InputError(
                f"{self}: {command} was killed (signal {number}), as the board does when memory runs out: `dmesg` there "
                f"says so; {GO_ON}"
            )
        raise InputError(f"{self}: {command} failed unexpectedly with exit code {status}: {last or 'it said nothing'}")

    def _raise_full(self) -> NoReturn:
        free = self.free_bytes() / 2**20
        raise InputError(
            f"{self}: the disk that holds {self.directory} is full ({free:.0f} MiB free); make room, or name another directory in "
            f"`board: directory:`; {GO_ON}"
        ) from None
