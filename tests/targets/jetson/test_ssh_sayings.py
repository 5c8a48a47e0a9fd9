"""What OpenSSH and rsync say becomes one line that says what to do, without any server."""

import os
import shutil
import sys
from pathlib import PurePosixPath

import pytest

from multidnn.errors import InputError
from multidnn.targets.jetson.connection import Board

# texts of OpenSSH 8.2 to 9.6 and rsync 3.1.3 to 3.2.7

SSH_SAYS = [
    ("ssh: Could not resolve hostname orin: Name or service not known", "no such host; see `board: host:`"),
    (
        "ssh: connect to host orin port 22: Connection refused",
        "connection refused; on the board: sudo systemctl enable",
    ),
    (
        "ssh: connect to host orin port 22: Connection timed out",
        r"not reachable \(ssh: connect to host orin port 22: Conn",
    ),
    ("ssh: connect to host orin port 22: No route to host", "not reachable"),
    ("user@orin: Permission denied (publickey,password).", "give it yours once: ssh-copy-id -o Port=22 user@orin$"),
    (
        "No ED25519 host key is known for orin and you have requested strict checking.\nHost key verification failed.",
        "connect once and answer yes: ssh -o Port=22 user@orin$",
    ),
    (
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
        "ssh-keygen -R orin$",
    ),
    (
        "kex_exchange_identification: Connection closed by remote host",
        "ssh cannot connect: kex_exchange_identification",
    ),
    ("command-line: line 0: Bad configuration option: pport", "ssh cannot connect: command-line: line 0: Bad config"),
]


def fake(folder, name, script):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


# the last argument is the command; the login shell runs it
FAKE_SSH = 'for c; do :; done; exec sh -c "$c"'


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """A folder of fakes that is first on PATH, and a spec of a board behind them."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    board = {
        "host": "user@orin",
        "python": sys.executable,
        "directory": str(tmp_path / "d"),
        "ssh_options": ["-o", "Port=22"],
    }
    return folder, {"board": board}


@pytest.mark.parametrize(("said", "expected"), SSH_SAYS)
def test_what_ssh_says_becomes_what_to_do(fakes, said, expected):
    folder, spec = fakes
    fake(folder, "ssh", f"cat >&2 <<'E'\n{said}\nE\nexit 255")
    with pytest.raises(InputError, match=expected) as caught:
        Board.open(spec)
    assert str(caught.value).startswith("board user@orin: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "echo 'bash: line 1: rsync: command not found' >&2; echo 'rsync: connection unexpectedly closed (0 bytes received "
            "so far) [sender]' >&2; echo 'rsync error: error in rsync protocol data stream (code 12) at io.c(231)' >&2; exit 12",
            r"rsync is not installed there; on the board: sudo apt-get install rsync$",
        ),
        (
            "echo 'rsync: [receiver] write failed on \"/d/x\": No space left on device (28)' >&2; echo 'rsync error: error in "
            "file IO (code 11) at receiver.c(380) [receiver=3.2.7]' >&2; exit 11",
            r"the disk that holds .*/d is full \(\d+ MiB free\)",
        ),
        (
            "echo 'client_loop: send disconnect: Broken pipe' >&2; echo 'rsync: [sender] write error: Broken pipe (32)' >&2; "
            "echo 'rsync error: unexplained error (code 255) at io.c(848) [sender=3.2.7]' >&2; exit 255",
            r"connection lost during copying x \(client_loop: send disconnect: Broken pipe\)",
        ),
        (
            "echo 'rsync: [generator] mkstemp \"/d/.x.1\" failed: Permission denied (13)' >&2; echo 'rsync error: some files/"
            "attrs were not transferred (see previous errors) (code 23) at main.c(1338)' >&2; exit 23",
            r"/d/x cannot be copied: rsync: \[generator\] mkstemp .* failed: Permission denied \(13\)$",
        ),
    ],
)
def test_what_rsync_says_becomes_what_to_do(fakes, tmp_path, script, expected):
    folder, spec = fakes
    fake(folder, "ssh", FAKE_SSH)
    fake(folder, "rsync", script)
    (tmp_path / "x").write_text("")
    with Board.open(spec) as board, pytest.raises(InputError, match=expected) as caught:
        board.push(tmp_path / "x", "x")
    assert "\n" not in str(caught.value)


def test_programs_that_are_missing_here_are_named(fakes, tmp_path, monkeypatch):
    folder, spec = fakes
    fake(folder, "ssh", FAKE_SSH)
    for name in ("sh", "cat", "mkdir", "env", "sleep"):
        (folder / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(folder))
    (tmp_path / "x").write_text("")
    with Board.open(spec) as board:
        with pytest.raises(InputError, match=r"rsync is not installed on this machine: sudo apt-get install rsync$"):
            board.push(tmp_path / "x", "x")
        assert board.directory == PurePosixPath(tmp_path / "d")
    (folder / "ssh").unlink()
    with pytest.raises(InputError, match=r"ssh is not installed on this machine: sudo apt-get install openssh-client$"):
        Board.open(spec)


def test_a_shell_that_talks_is_told(fakes):
    folder, spec = fakes
    fake(folder, "ssh", f"echo Welcome to Orin; {FAKE_SSH}")
    with pytest.raises(InputError, match=r"its shell prints 'Welcome to Orin' before every command"):
        Board.open(spec)


def test_a_host_is_an_argument_and_no_option(fakes):
    folder, spec = fakes
    fake(folder, "ssh", 'echo "$@" > "${0%/*}/said"; exit 255')
    spec["board"]["host"] = "::1"
    with pytest.raises(InputError, match="ssh cannot connect: it does not answer"):
        Board.open(spec)
    said = (folder / "said").read_text()
    assert " -- ::1 " in said
    assert "-o BatchMode=yes" in said
    assert "-o ServerAliveInterval=5 -o ServerAliveCountMax=3" in said


def test_a_temporary_directory_with_a_long_path_is_not_used_for_the_socket(fakes, tmp_path, monkeypatch):
    folder, spec = fakes
    fake(folder, "ssh", FAKE_SSH)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * 90)))
    with Board.open(spec) as board:
        assert len(str(board._link._scratch)) < 60
