"""A board at the end of an ssh connection: one master connection, which every command and every rsync shares.

It ends with this process, however that ends, because its remote half reads a pipe of ours. Nothing asks for a password.
"""

import os
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from subprocess import CompletedProcess
from typing import NoReturn

from multidnn.errors import InputError
from multidnn.targets.jetson.process import (
    GRACE_S,
    NO_SPACE,
    SHORT_S,
    TimeUpError,
    close_stream,
    last_line,
    run_process,
    too_long,
)

# a dead link is noticed after INTERVAL x COUNT seconds without an answer
CONNECT_TIMEOUT_S = 10
ALIVE_INTERVAL_S = 5
ALIVE_COUNT = 3

# the kernel takes 108 bytes for a socket's path; ssh adds 17 for a temporary name
LONGEST_SOCKET = 108 - 17 - 1
READY = "multidnn-ready"
# what ssh exits with when the connection, not the command, failed
SSH_FAILED = 255
GO_ON = "results so far are kept, and the same command goes on from them"


class Ssh:
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
        """Connect if that takes anything, and return the home directory there."""
        if shutil.which("ssh") is None:
            raise InputError(f"{self.label}: ssh is not installed on this machine: sudo apt-get install openssh-client")
        self._connect()
        script = 'printf "%s\\n" "$HOME"; cat /proc/sys/kernel/random/boot_id'
        done = self.run(["sh", "-c", script], what="sh", timeout_s=SHORT_S, cwd=None, env={})
        lines = done.stdout.splitlines()
        if not lines or not lines[0].startswith("/"):
            raise InputError(
                f"{self.label}: the shell there does not tell its home directory: {last_line(done.stderr)}"
            )
        self._boot = lines[1].strip() if len(lines) > 1 else None
        return PurePosixPath(lines[0])

    def close(self) -> None:
        """End the connection, if there is one."""
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
        last = last_line(said)
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
        reason = last_line(said)
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
            done = run_process([*argv, "--", self.host, command], timeout_s=2 * ALIVE_INTERVAL_S, data=b"")
        except (TimeUpError, OSError):
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
        """Run a command there; `what` is its name in messages, the rest as in `process.run_process`."""
        self._connect()
        words = ["env", *(f"{key}={value}" for key, value in env.items()), *argv] if env else list(argv)
        line = f"exec {shlex.join(words)}"
        if cwd is not None:
            line = f"cd {shlex.quote(str(cwd))} && {line}"
        # the login shell may be any; what it has to understand is one quoted argument
        command = shlex.join(["sh", "-c", line])
        try:
            done = run_process(
                ["ssh", *self._arguments(), "--", self.host, command], timeout_s=timeout_s, data=data, said=said
            )
        except TimeUpError:
            raise too_long(self.label, what, timeout_s) from None
        if done.returncode == SSH_FAILED or done.returncode < 0:
            self._raise_lost(what, done.stderr)
        return CompletedProcess(list(argv), done.returncode, done.stdout, done.stderr)

    def push(self, local: Path, remote: PurePosixPath, exact: bool) -> None:
        """Copy a file, or what is in a directory, to `remote`; `exact` removes there what is not here."""
        source = f"{local.resolve()}/" if local.is_dir() else str(local.resolve())
        options = ["--delete", "--exclude=__pycache__"] if exact else []
        self._rsync([*options, source, self._place(remote)], remote)

    def fetch(self, remote: PurePosixPath, scratch: Path) -> None:
        """Copy a file or directory from there into the directory `scratch`."""
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
        done = run_process(["rsync", "-rlts", "--modify-window=-1", "-e", shell, *arguments], timeout_s=None, data=b"")
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
    close_stream(process.stdin)
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
