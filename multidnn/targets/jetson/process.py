"""Runs a program of this machine to its end: what it says, and no longer than it may take."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from subprocess import CompletedProcess
from typing import Any

from multidnn.errors import InputError

# for what takes a moment: making a directory, reading a version
SHORT_S = 60.0
# how long a command may take to end once it has been told to
GRACE_S = 5.0
# what every program says of a full disk
NO_SPACE = "No space left on device"


class TimeUpError(Exception):
    """A command was ended because its time was up."""


def run_process(
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

    Args:
        data: what it reads on standard input; None leaves the input open and empty.
        said: called with each line of standard error as it comes.

    Raises:
        TimeUpError: it was ended after `timeout_s`.
        OSError: it cannot be started.
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
            raise TimeUpError from None
        raise
    finally:
        close_stream(process.stdin)
    text = b"".join(output).decode(errors="replace")
    return CompletedProcess(list(argv), process.returncode, text, "\n".join(errors) + ("\n" if errors else ""))


def close_stream(stream: Any) -> None:
    """Close a pipe to a program, whether or not it still reads."""
    # what was left to write may have no reader any more
    with suppress(BrokenPipeError, ValueError):
        stream.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    close_stream(process.stdin)
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        return


def too_long(label: str, what: str, timeout_s: float | None) -> InputError:
    """Return the error for a command that was ended because its time was up."""
    return InputError(f"{label}: {what} took longer than {timeout_s:g} s and was ended")


def last_line(text: str) -> str:
    """Return the last line with anything in it, which is where programs say what went wrong; "" if there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
