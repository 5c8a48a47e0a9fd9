"""The board: commands and files on this machine or over ssh, with every foreseeable failure as one line.

Over ssh there is one connection per `Board` (OpenSSH's ControlMaster), which every command and every rsync shares; it
ends with this process, however that ends, because its remote half reads a pipe of ours. A command on the board ends with
the connection: its standard input is that connection, and end of file ends it. Nothing ever asks for a password.
"""

import atexit
import hashlib
import json
import logging
import os
import re
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from subprocess import CompletedProcess
from types import TracebackType
from typing import Any, NoReturn, Self

from multidnn.errors import InputError
from multidnn.files import FORMAT

_log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
# what runs on the board, pushed below `code/`
CODE = ("board", "stats")
OLDEST_PYTHON = (3, 8)

# a dead link is noticed after INTERVAL x COUNT seconds without an answer
CONNECT_TIMEOUT_S = 10
ALIVE_INTERVAL_S = 5
ALIVE_COUNT = 3
# for what takes a moment: making a directory, reading a version
SHORT_S = 60.0
# how long a command may take to end once it has been told to
GRACE_S = 5.0

# the kernel takes 108 bytes for a socket's path; ssh adds 17 for a temporary name
LONGEST_SOCKET = 108 - 17 - 1
READY = "multidnn-ready"
# what ssh exits with when the connection, not the command, failed
SSH_FAILED = 255
NO_SPACE = "No space left on device"
GO_ON = "results so far are kept, and the same command goes on from them"

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
        self._link: _Local | _Ssh = (
            _Local()
            if self.host is None
            else _Ssh(self.host, [str(item) for item in settings.get("ssh_options") or ()])
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
                    f"{self}: {self.python!r} is no Python there ({_last_line(done.stderr) or 'it prints no version'}); "
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
            raise InputError(f"{self}: df does not tell the free space: {_last_line(done.stderr)}")
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
            digest = code_hash()
            stamp = self.directory / "code" / "stamp"
            known = self.run(["cat", "--", str(stamp)], timeout_s=SHORT_S)
            if known.returncode != 0 or known.stdout.strip() != digest:
                self.run(["rm", "-f", "--", str(stamp)], timeout_s=SHORT_S)
                for folder in CODE:
                    self._push(PACKAGE / folder, self.directory / "code" / folder, exact=True)
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
                raise InputError(f"{self}: {path} cannot be written: {_last_line(done.stderr)}")

    def _make(self, directory: PurePosixPath) -> None:
        done = self.run(["mkdir", "-p", "--", str(directory)], timeout_s=SHORT_S)
        if done.returncode != 0:
            raise InputError(f"{self}: the directory {directory} cannot be made: {_last_line(done.stderr)}")

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
            return _outside_environment(python) if self.host is None else python
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


def _outside_environment(program: str) -> str:
    """Return where `program` is outside of the environment that runs us (uv's, conda's), or its name if only there.

    Such an environment comes first on PATH and has a ``python3`` too, which cannot have the board's TensorRT.
    """
    variables = [os.environ.get(name) for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    own = {os.path.realpath(Path(prefix) / "bin") for prefix in (sys.prefix, *variables) if prefix}
    entries = [entry for entry in os.get_exec_path() if os.path.realpath(entry) not in own]
    return shutil.which(program, path=os.pathsep.join(entries)) or program


def code_hash() -> str:
    """Return a hash of the code that runs on the board, by content and names."""
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((PACKAGE / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


class _TimeUpError(Exception):
    """A command was ended because its time was up."""


def _run(
    argv: Sequence[str],
    *,
    timeout_s: float | None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    data: bytes | None = None,
    said: Callable[[str], None] | None = None,
) -> "CompletedProcess[str]":
    """Run a process in a session of its own, its input held open until it ends (closed after `data` if that is given).

    Whatever ends the waiting (time, Ctrl-C) ends the process: end of input first, then SIGTERM, then SIGKILL.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=None if env is None else {**os.environ, **env},
        # Ctrl-C is ours to pass on
        start_new_session=True,
    )
    output: list[bytes] = []
    errors: list[str] = []

    def read_output(stream: Any) -> None:
        output.append(stream.read())

    def read_errors(stream: Any) -> None:
        for raw in stream:
            line = raw.decode(errors="replace").rstrip("\r\n")
            errors.append(line)
            if said is not None:
                said(line)

    def write(stream: Any) -> None:
        # a command that ends before it has read everything says why by its exit code
        with suppress(BrokenPipeError, ValueError):
            stream.write(data)
            stream.close()

    threads = [
        threading.Thread(target=read_output, args=(process.stdout,), daemon=True),
        threading.Thread(target=read_errors, args=(process.stderr,), daemon=True),
        *([threading.Thread(target=write, args=(process.stdin,), daemon=True)] if data is not None else []),
    ]
    for thread in threads:
        thread.start()
    try:
        process.wait(timeout_s)
        for thread in threads:
            # something the command left behind may hold its output open
            thread.join(GRACE_S)
    except BaseException as error:
        _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise _TimeUpError from None
        raise
    finally:
        _close(process.stdin)
    text = b"".join(output).decode(errors="replace")
    return CompletedProcess(list(argv), process.returncode, text, "\n".join(errors) + ("\n" if errors else ""))


def _close(stream: Any) -> None:
    # what was left to write may have no reader any more
    with suppress(BrokenPipeError, ValueError):
        stream.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    _close(process.stdin)
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        return


class _Local:
    """The machine that this process runs on."""

    label = "this machine"

    def open(self) -> PurePosixPath:
        return PurePosixPath(Path.home())

    def close(self) -> None:
        pass

    def run(
        self,
        argv: Sequence[str],
        *,
        what: str,
        timeout_s: float | None,
        cwd: PurePosixPath | None,
        env: Mapping[str, str],
        data: bytes | None = None,
        said: Callable[[str], None] | None = None,
    ) -> "CompletedProcess[str]":
        try:
            directory = str(cwd or Path.home())
            return _run(argv, timeout_s=timeout_s, cwd=directory, env=env, data=data, said=said)
        except _TimeUpError:
            raise _too_long(self.label, what, timeout_s) from None
        except OSError as error:
            # as a shell would say it
            status = 126 if isinstance(error, PermissionError) else 127
            text = f"{error.filename}: {error.strerror}"
            if said is not None:
                said(text)
            return CompletedProcess(list(argv), status, "", text + "\n")

    def push(self, local: Path, remote: PurePosixPath, exact: bool) -> None:
        target = Path(remote)
        try:
            if local.is_dir():
                _copy_tree(local, target, exact)
            else:
                _copy_file(local, target)
        except OSError as error:
            raise InputError(f"{self.label}: {remote} cannot be written: {error.strerror or error}") from None

    def fetch(self, remote: PurePosixPath, scratch: Path) -> None:
        source = Path(remote)
        if source.is_dir():
            shutil.copytree(source, scratch / source.name, symlinks=True)
        elif source.exists():
            shutil.copy2(source, scratch / source.name)
        else:
            raise InputError(f"{self.label}: {remote}: no such file or directory")


def _copy_tree(source: Path, target: Path, exact: bool) -> None:
    target.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in source.iterdir() if path.name != "__pycache__"}
    for name in names:
        if (source / name).is_dir():
            _copy_tree(source / name, target / name, exact)
        else:
            _copy_file(source / name, target / name)
    for path in target.iterdir() if exact else ():
        if path.name not in names and path.name != "__pycache__":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file under a temporary name, unless size and time of change are what they were."""
    if target.exists():
        old, new = target.stat(), source.stat()
        if os.path.samestat(old, new) or (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    try:
        shutil.copy2(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class _Ssh:
    """A machine reached through OpenSSH: one master connection, which commands and rsync go through."""

    def __init__(self, host: str, options: Sequence[str]) -> None:
        self.host = host
        self.options = list(options)
        self.label = f"board {host}"
        self._scratch: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None
        self._boot: str | None = None
        self._lock = threading.Lock()

    # the connection

    def open(self) -> PurePosixPath:
        if shutil.which("ssh") is None:
            raise InputError(f"{self.label}: ssh is not installed on this machine: sudo apt-get install openssh-client")
        self._connect()
        script = 'printf "%s\\n" "$HOME"; cat /proc/sys/kernel/random/boot_id'
        done = self.run(["sh", "-c", script], what="sh", timeout_s=SHORT_S, cwd=None, env={})
        lines = done.stdout.splitlines()
        if not lines or not lines[0].startswith("/"):
            raise InputError(
                f"{self.label}: the shell there does not tell its home directory: {_last_line(done.stderr)}"
            )
        self._boot = lines[1].strip() if len(lines) > 1 else None
        return PurePosixPath(lines[0])

    def close(self) -> None:
        with self._lock:
            master, self._master = self._master, None
            scratch, self._scratch = self._scratch, None
        if master is not None:
            # end of input ends the remote half, and with it the connection
            _end_quickly(master)
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)

    def _connect(self) -> None:
        """Make the master connection if there is none (any more)."""
        with self._lock:
            if self._master is not None and self._master.poll() is None:
                return
            if self._scratch is None:
                self._scratch = _private_directory()
                # rsync splits its -e at spaces, so options go into a file
                words = shlex.join(["ssh", *self._arguments()])
                (self._scratch / "ssh").write_text(f'exec {words} "$@"\n', encoding="utf-8")
            # a master that was killed leaves its socket, beside which a new one would not share its connection
            (self._scratch / "s").unlink(missing_ok=True)
            log = self._scratch / "master.log"
            command = shlex.join(["sh", "-c", f"echo {READY}; exec cat >/dev/null"])
            with log.open("wb") as errors:
                self._master = subprocess.Popen(
                    ["ssh", *self._arguments(master=True), "--", self.host, command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
            noise = self._await_ready(self._master)
            if noise is None:
                _end_quickly(self._master)
                self._master = None
                said = log.read_text(encoding="utf-8", errors="replace")
                raise InputError(f"{self.label}: {self._refusal(said)}")
            if noise:
                _end_quickly(self._master)
                self._master = None
                raise InputError(
                    f"{self.label}: its shell prints {noise[0]!r} before every command, which rsync and this program "
                    "would take for data; print it in interactive shells only (~/.bashrc there)"
                )

    def _await_ready(self, master: "subprocess.Popen[bytes]") -> list[str] | None:
        """Return what the shell printed before it was ready, or None if the connection failed."""
        assert master.stdout
        deadline = time.monotonic() + SHORT_S
        text = b""
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([master.stdout], [], [], left)[0]:
                break
            piece = os.read(master.stdout.fileno(), 4096)
            if not piece:
                return None
            text += piece
            lines = text.decode(errors="replace").splitlines()
            if READY in lines and text.endswith(b"\n"):
                return lines[: lines.index(READY)]
        return None

    def _arguments(self, master: bool = False) -> list[str]:
        """Return ssh's options: ours that must hold first, because the first value counts, then the user's."""
        assert self._scratch
        must = {"BatchMode": "yes", "ControlMaster": "yes" if master else "no", "ControlPath": str(self._scratch / "s")}
        should = {
            "ConnectTimeout": CONNECT_TIMEOUT_S,
            "ServerAliveInterval": ALIVE_INTERVAL_S,
            "ServerAliveCountMax": ALIVE_COUNT,
        }
        return [
            "-T",
            *(word for key, value in must.items() for word in ("-o", f"{key}={value}")),
            *self.options,
            *(word for key, value in should.items() for word in ("-o", f"{key}={value}")),
        ]

    def _refusal(self, said: str) -> str:
        """Return why the connection could not be made and what mends it, from what ssh said."""
        here = shlex.join([*self.options, self.host])
        last = _last_line(said)
        if "Could not resolve hostname" in said:
            return "no such host; see `board: host:` of the target, and whether `ping` finds that name"
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
            name = self.host.rpartition("@")[2]
            return (
                f"its key is not the one known so far; if the board was set up anew: ssh-keygen -R {shlex.quote(name)}"
            )
        if "Host key verification failed" in said:
            return f"its key is not known on this machine; connect once and answer yes: ssh {here}"
        if "Permission denied" in said or "Too many authentication failures" in said:
            return f"it wants a password or another key; give it yours once: ssh-copy-id {here}"
        if "Connection refused" in said:
            return "connection refused; on the board: sudo systemctl enable --now ssh (and see the port, -p in `ssh_options`)"
        if any(text in said for text in ("timed out", "No route to host", "Network is unreachable")):
            return f"not reachable ({last}); see that it is switched on and in this network"
        return f"ssh cannot connect: {last or 'it does not answer'}"

    def _raise_lost(self, what: str, said: str) -> NoReturn:
        """Say that the connection ended under a command, and, if the board answers again, whether it was rebooted."""
        reason = _last_line(said)
        before = self._boot
        self._drop_master()
        state = f"the board does not answer now; see that it is up. {GO_ON[0].upper()}{GO_ON[1:]}"
        try:
            if before is not None and self._boot_now() != before:
                state = f"the board was rebooted; {GO_ON}"
            elif before is not None:
                state = f"the board answers again; {GO_ON}"
        except InputError:
            # still away, which is what `state` says
            pass
        raise InputError(f"{self.label}: connection lost during {what} ({reason or 'ssh ended'}); {state}") from None

    def _drop_master(self) -> None:
        with self._lock:
            master, self._master = self._master, None
        if master is not None:
            _end_quickly(master)

    def _boot_now(self) -> str:
        """Return the boot id that the board has now, over a connection of its own that gives up soon."""
        argv = ["ssh", "-o", "ControlPath=none", "-o", f"ConnectTimeout={ALIVE_INTERVAL_S}", *self._arguments()]
        command = "cat /proc/sys/kernel/random/boot_id"
        try:
            done = _run([*argv, "--", self.host, command], timeout_s=2 * ALIVE_INTERVAL_S, data=b"")
        except (_TimeUpError, OSError):
            raise InputError(f"{self.label}: no answer") from None
        if done.returncode != 0:
            raise InputError(f"{self.label}: {self._refusal(done.stderr)}")
        return done.stdout.strip()

    # commands and files

    def run(
        self,
        argv: Sequence[str],
        *,
        what: str,
        timeout_s: float | None,
        cwd: PurePosixPath | None,
        env: Mapping[str, str],
        data: bytes | None = None,
        said: Callable[[str], None] | None = None,
    ) -> "CompletedProcess[str]":
        self._connect()
        words = ["env", *(f"{key}={value}" for key, value in env.items()), *argv] if env else list(argv)
        line = f"exec {shlex.join(words)}"
        if cwd is not None:
            line = f"cd {shlex.quote(str(cwd))} && {line}"
        # the login shell may be any; what it has to understand is one quoted argument
        command = shlex.join(["sh", "-c", line])
        try:
            done = _run(
                ["ssh", *self._arguments(), "--", self.host, command], timeout_s=timeout_s, data=data, said=said
            )
        except _TimeUpError:
            raise _too_long(self.label, what, timeout_s) from None
        if done.returncode == SSH_FAILED or done.returncode < 0:
            self._raise_lost(what, done.stderr)
        return CompletedProcess(list(argv), done.returncode, done.stdout, done.stderr)

    def push(self, local: Path, remote: PurePosixPath, exact: bool) -> None:
        source = f"{local.resolve()}/" if local.is_dir() else str(local.resolve())
        options = ["--delete", "--exclude=__pycache__"] if exact else []
        self._rsync([*options, source, self._place(remote)], remote)

    def fetch(self, remote: PurePosixPath, scratch: Path) -> None:
        self._rsync([self._place(remote), f"{scratch.resolve()}/"], remote)

    def _place(self, remote: PurePosixPath) -> str:
        user, at, name = self.host.rpartition("@")
        # rsync takes a colon for the end of the name, so an IPv6 address wants brackets
        name = f"[{name}]" if ":" in name and not name.startswith("[") else name
        return f"{user}{at}{name}:{remote}"

    def _rsync(self, arguments: Sequence[str], remote: PurePosixPath) -> None:
        if shutil.which("rsync") is None:
            raise InputError(f"{self.label}: rsync is not installed on this machine: sudo apt-get install rsync")
        self._connect()
        assert self._scratch
        shell = f"sh '{self._scratch / 'ssh'}'"
        # -s keeps the remote shell away from file names; times count to the nanosecond
        done = _run(["rsync", "-rlts", "--modify-window=-1", "-e", shell, *arguments], timeout_s=None, data=b"")
        if done.returncode == 0:
            return
        said = done.stderr
        if NO_SPACE in said:
            raise InputError(f"{self.label}: {remote}: {NO_SPACE}")
        if "rsync: command not found" in said or "rsync: not found" in said or "code 127" in said:
            raise InputError(f"{self.label}: rsync is not installed there; on the board: sudo apt-get install rsync")
        if "No such file or directory" in said and "link_stat" in said:
            raise InputError(f"{self.label}: {remote}: no such file or directory")
        # 12, 30: the stream ended or fell silent; below 0: killed
        if done.returncode in (SSH_FAILED, 12, 30) or done.returncode < 0:
            self._raise_lost(f"copying {remote.name}", _before_rsync(said))
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith("rsync error")]
        raise InputError(
            f"{self.label}: {remote} cannot be copied: {lines[0] if lines else f'rsync {done.returncode}'}"
        )


def _before_rsync(said: str) -> str:
    """Return what ssh said, without what rsync made of it."""
    lines = [line for line in said.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith("rsync")]
    return "\n".join(own or lines[:1])


def _end_quickly(process: "subprocess.Popen[bytes]") -> None:
    """End the master connection: its input first; it does not hear that while the link is dead, so it is told soon."""
    _close(process.stdin)
    for wait_s, number in ((0.5, signal.SIGTERM), (GRACE_S, signal.SIGKILL), (GRACE_S, signal.SIGKILL)):
        try:
            process.wait(wait_s)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(number)
    if process.stdout is not None:
        process.stdout.close()


def _private_directory() -> Path:
    """Return a new directory that only this user may enter, with a path short enough for a socket."""
    for place in (tempfile.gettempdir(), "/tmp"):
        if len(place.encode()) + len("/multidnn-12345678/s") <= LONGEST_SOCKET and "'" not in place:
            try:
                return Path(tempfile.mkdtemp(prefix="multidnn-", dir=place))
            except OSError:
                continue
    raise InputError(
        f"no directory for the socket of the ssh connection: {tempfile.gettempdir()} (TMPDIR) is too long a path or "
        "cannot be written, and neither can /tmp"
    )


def _too_long(label: str, what: str, timeout_s: float | None) -> InputError:
    return InputError(f"{label}: {what} took longer than {timeout_s:g} s and was ended")
