"""The board over a real sshd on this machine and without ssh."""

import getpass
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from multidnn.errors import InputError
from multidnn.targets.jetson import board_code, ssh
from multidnn.targets.jetson.connection import Board

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("rsync") is None, reason="needs sshd and rsync: apt-get install openssh-server rsync"
)

# stands for the code on the board: answers, fails, prints, waits for the end of its input
CODE = """
import json, os, sys, threading, time
command, request, answer = sys.argv[1:4]
request = json.load(open(request))
if sys.argv[4:] == ["--lifeline"]:
    def watch():
        while os.read(0, 1):
            pass
        if "ended" in request:
            open(request["ended"], "w").write("lifeline")
        os._exit(3)
    threading.Thread(target=watch, daemon=True).start()
print("doing " + command, file=sys.stderr, flush=True)
if "pid" in request:
    open(request["pid"] + ".part", "w").write(str(os.getpid()))
    os.rename(request["pid"] + ".part", request["pid"])
time.sleep(request.get("sleep", 0))
if "error" in request:
    print("error: " + request["error"], file=sys.stderr)
    sys.exit(1)
if "status" in request:
    sys.exit(request["status"])
if "raw" in request:
    open(answer, "w").write(request["raw"])
elif "silent" not in request:
    open(answer, "w").write(json.dumps({"format": 1, "cwd": os.getcwd(), "request": request}))
"""


class Sshd:
    """A server of this user's on an unprivileged port, with a key of its own and the one client it lets in."""

    def __init__(self, folder):
        self.folder = folder
        folder.chmod(0o700)
        for name in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "client.pub", folder / "authorized_keys")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        (folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
            f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin yes\nSubsystem sftp internal-sftp\n"
        )
        key = (folder / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")
        if os.getuid() == 0:
            # where sshd locks its unprivileged half in
            Path("/run/sshd").mkdir(exist_ok=True)
        self.log = folder / "log"
        self.process = None
        self.start()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", self.folder / "config"], stderr=log)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def options(self, known_hosts="known_hosts", key="client"):
        return [
            *("-F", "none", "-p", str(self.port), "-i", str(self.folder / key), "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={self.folder / known_hosts}", "-o", "GlobalKnownHostsFile=none"),
        ]

    def sessions(self):
        listener = self.process.pid
        return set(map(int, Path(f"/proc/{listener}/task/{listener}/children").read_text().split()))

    def logins(self):
        return self.log.read_text().count("Accepted publickey")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def code(tmp_path, monkeypatch):
    """A package in place of multidnn/targets/jetson, whose `board` answers as the tests ask."""
    package = tmp_path / "package"
    for folder, file, text in (("board", "__init__.py", ""), ("board", "__main__.py", CODE), ("stats", "lines.py", "")):
        (package / folder).mkdir(parents=True, exist_ok=True)
        (package / folder / file).write_text(text)
    monkeypatch.setattr(board_code, "PACKAGE", package)
    return package


def ssh_spec(sshd, directory, **more):
    return {
        "board": {
            "host": f"{getpass.getuser()}@127.0.0.1",
            "python": sys.executable,
            "directory": str(directory),
            "ssh_options": sshd.options(),
            **more,
        }
    }


@pytest.fixture(params=["local", pytest.param("ssh", marks=needs_sshd)])
def spec(request, tmp_path):
    """A board in a directory with a space in its name, on this machine and over ssh."""
    directory = tmp_path / "board's directory"
    if request.param == "local":
        return {"board": {"host": None, "python": sys.executable, "directory": str(directory)}}
    return ssh_spec(request.getfixturevalue("sshd"), directory)


@pytest.fixture
def board(spec):
    with Board.open(spec) as opened:
        yield opened


def test_commands_keep_their_arguments_whatever_is_in_them(board, tmp_path):
    words = ["a b", "it's", '"$HOME"', "$(id)", "*", "a\\b", "", ";exit 3", "-n", "x\ny"]
    show = [sys.executable, "-c", "import sys, os; print(sys.argv[1:], os.getcwd(), os.environ['A'])"]
    done = board.run([*show, *words], cwd=str(tmp_path), env={"A": "1 '2"}, timeout_s=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{words} {tmp_path} 1 '2\n", "")
    assert board.run(["sh", "-c", "echo out; echo err >&2; exit 7"]).returncode == 7
    assert board.run(["no-such-command"]).returncode == 127
    assert board.run(["pwd"], cwd=".").stdout.strip() == str(board.directory)


def test_a_relative_directory_is_below_the_home_directory(spec, tmp_path, monkeypatch):
    if spec["board"]["host"] is None:
        monkeypatch.setenv("HOME", str(tmp_path))
    name = f".multidnn-test-{os.getpid()}"
    spec["board"]["directory"] = name
    with Board.open(spec) as board:
        assert board.directory.is_absolute()
        assert board.directory.name == name
        assert board.run(["pwd"]).stdout.strip() == str(board.directory.parent)
        board.run(["rmdir", "--", str(board.directory)])


def test_files_go_there_and_back_as_far_as_they_changed(board, tmp_path):
    models = tmp_path / "my models"
    (models / "deep").mkdir(parents=True)
    (models / "whole.onnx").write_bytes(b"1")
    (models / "deep" / "w:eights.bin").write_bytes(os.urandom(100_000))
    board.push(models, "models/a net")
    there = Path(board.directory) / "models" / "a net"
    before = {path: path.stat().st_ino for path in there.rglob("*") if path.is_file()}
    assert len(before) == 2
    (there / "segment.onnx").write_bytes(b"kept")
    (models / "whole.onnx").write_bytes(b"2")
    board.push(models, "models/a net")
    assert (there / "whole.onnx").read_bytes() == b"2"
    assert (there / "segment.onnx").exists()
    unchanged = there / "deep" / "w:eights.bin"
    assert unchanged.stat().st_ino == before[unchanged]
    board.push(models / "whole.onnx", "single/file.onnx")
    assert (Path(board.directory) / "single" / "file.onnx").read_bytes() == b"2"
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "stale").write_text("")
    board.fetch("models/a net", tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").rglob("*") if path.is_file()) == [
        "segment.onnx",
        "w:eights.bin",
        "whole.onnx",
    ]
    board.fetch(str(board.directory / "single" / "file.onnx"), tmp_path / "x" / "y.onnx")
    assert (tmp_path / "x" / "y.onnx").read_bytes() == b"2"
    with pytest.raises(InputError, match=r"models/none: no such file or directory$"):
        board.fetch("models/none", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="no such file or directory; it was to be copied"):
        board.push(tmp_path / "none", "none")
    assert board.free_bytes() > 0


def test_a_call_pushes_the_code_once_and_returns_the_answer(board, spec, code, caplog):
    caplog.set_level("INFO")
    answer = board.call("facts", {"a": [1, "ü"]}, 60)
    assert answer == {"format": 1, "cwd": f"{board.directory}/code", "request": {"format": 1, "a": [1, "ü"]}}
    assert f"{board}: facts: doing facts" in caplog.messages
    main = Path(board.directory) / "code" / "board" / "__main__.py"
    inode = main.stat().st_ino
    (Path(board.directory) / "code" / "board" / "stale.py").write_text("")
    board.call("facts", {}, 60)
    with Board.open(spec) as other:
        other.call("facts", {}, 60)
    assert main.stat().st_ino == inode
    (code / "board" / "__main__.py").write_text(CODE + "# changed\n")
    with Board.open(spec) as other:
        other.call("facts", {}, 60)
    assert main.stat().st_ino != inode
    assert not (main.parent / "stale.py").exists()
    assert list((Path(board.directory) / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"error": "layer 'x' is not on the DLA"}, r"layer 'x' is not on the DLA$"),
        ({"status": 5}, r"build failed unexpectedly with exit code 5: doing build$"),
        ({"raw": '{"format": 1, "builds": ['}, r"answer.json is truncated or not of this version"),
        ({"raw": '{"format": 2}'}, r"answer.json is truncated or not of this version"),
        ({"silent": True}, r"answer.json is missing"),
        ({"status": 137}, r"build was killed \(signal 9\), as the board does when memory runs out"),
        (
            {"error": "x: [Errno 28] No space left on device"},
            r"the disk that holds .*board's directory is full \(\d+ MiB free\)",
        ),
    ],
)
def test_failures_of_a_call_are_one_line(board, request_, message):
    with pytest.raises(InputError, match=message) as caught:
        board.call("build", request_, 60)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{board}: ")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_takes_too_long_is_ended_there_too(board, tmp_path):
    with pytest.raises(InputError, match=r"corun took longer than 3 s and was ended$"):
        board.call("corun", {"sleep": 60, "ended": str(tmp_path / "ended"), "pid": str(tmp_path / "pid")}, 3)
    assert (tmp_path / "ended").read_text() == "lifeline"
    script = f"echo $$ > {tmp_path}/sleeper; exec sleep 60"
    with pytest.raises(InputError, match=r"sh took longer than 1 s and was ended$"):
        board.run(["sh", "-c", script], timeout_s=1)
    pid = int((tmp_path / "sleeper").read_text())
    wait_for(lambda: not alive(pid))


def test_ctrl_c_ends_what_runs_there(spec, tmp_path):
    program = (
        "import sys, json\nfrom pathlib import Path\nfrom multidnn.targets.jetson import board_code, connection\n"
        "board_code.PACKAGE = Path(sys.argv[2])\n"
        "with connection.Board.open(json.loads(sys.argv[1])) as board:\n"
        "    board.call('run', {'sleep': 60, 'pid': sys.argv[3], 'ended': sys.argv[4]}, None)\n"
    )
    for number, ending in ((signal.SIGINT, "lifeline"), (signal.SIGKILL, "lifeline")):
        pid, ended = tmp_path / f"pid{number}", tmp_path / f"ended{number}"
        arguments = [json.dumps(spec), str(board_code.PACKAGE), str(pid), str(ended)]
        process = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.DEVNULL)
        wait_for(pid.exists)
        process.send_signal(number)
        process.wait(60)
        wait_for(ended.exists)
        wait_for(lambda ended=ended, ending=ending: ended.read_text() == ending)
        wait_for(lambda pid=pid: not alive(int(pid.read_text())))


def test_another_python_is_told(spec, tmp_path):
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\necho 3.6.9\n")
    old.chmod(0o755)
    for python, message in (
        (str(old), r"is Python 3\.6\.9, expected 3\.8 or newer \(JetPack 5 or later\)$"),
        (
            "no-such-python",
            r"'no-such-python' is no Python there \(.*not found\); `board: python:` of the target names",
        ),
    ):
        spec["board"]["python"] = python
        with Board.open(spec) as board, pytest.raises(InputError, match=message):
            board.call("facts", {}, 60)


def test_the_python_of_a_local_board_is_not_that_of_our_environment(tmp_path, monkeypatch):
    for folder in ("venv", "system"):
        program = tmp_path / folder / "bin" / "python3"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\necho 3.10.12\n")
        program.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    # as `uv run` and Snakemake leave it: the environment's programs come first
    monkeypatch.setenv("PATH", f"{tmp_path}/venv/bin{os.pathsep}{tmp_path}/system/bin{os.pathsep}{os.environ['PATH']}")
    settings = {"host": None, "directory": str(tmp_path / "board")}
    with Board.open({"board": settings}) as opened:
        assert opened.python == str(tmp_path / "system/bin/python3")
        assert opened.require_python() == (3, 10, 12)
    # a path is meant as it is, and what is nowhere else is taken from there
    with Board.open({"board": {**settings, "python": str(tmp_path / "venv/bin/python3")}}) as opened:
        assert opened.python == str(tmp_path / "venv/bin/python3")
    monkeypatch.setenv("PATH", f"{tmp_path}/venv/bin{os.pathsep}/bin")
    (tmp_path / "venv/bin/only-here").symlink_to(tmp_path / "venv/bin/python3")
    with Board.open({"board": {**settings, "python": "only-here"}}) as opened:
        assert opened.python == "only-here"


def test_a_directory_that_cannot_be_made_is_told(spec, tmp_path):
    (tmp_path / "file").write_text("")
    spec["board"]["directory"] = str(tmp_path / "file" / "below")
    with pytest.raises(InputError, match=r"the directory .*/file/below cannot be made: mkdir: .*Not a directory$"):
        Board.open(spec)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_is_told(spec, tmp_path):
    disk = tmp_path / "small disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    try:
        spec["board"]["directory"] = str(disk / "d")
        (tmp_path / "large").write_bytes(bytes(5_000_000))
        full = rf"the disk that holds {disk}/d is full \(\d MiB free\); make room, or name another directory"
        with Board.open(spec) as board:
            with pytest.raises(InputError, match=full):
                board.push(tmp_path / "large", "models/large")
            assert list((disk / "d" / "models").iterdir()) == []
            with pytest.raises(InputError, match=full):
                board.call("build", {"text": "x" * 3_000_000}, 60)
    finally:
        subprocess.run(["umount", disk], check=True)


# over ssh only


@needs_sshd
def test_everything_goes_through_one_connection(sshd, tmp_path):
    before = sshd.logins()
    with Board.open(ssh_spec(sshd, tmp_path / "d")) as board:
        board.call("facts", {}, 60)
        board.call("facts", {}, 60)
        board.push(tmp_path / "package", "x")
        board.fetch("x", tmp_path / "y")
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(board.call("facts", {"sleep": 0.5}, 60))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 3
        scratch = board._link._scratch
        assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
    assert sshd.logins() == before + 1
    assert not scratch.exists()
    board.close()


@needs_sshd
def test_a_lost_connection_is_told_and_the_next_call_connects_again(sshd, tmp_path):
    with Board.open(ssh_spec(sshd, tmp_path / "d")) as board:
        failures = []

        def call():
            try:
                board.call("run", {"sleep": 60, "pid": str(tmp_path / "pid"), "ended": str(tmp_path / "ended")}, None)
            except InputError as error:
                failures.append(str(error))

        for reboot in (False, True):
            for name in ("pid", "ended"):
                (tmp_path / name).unlink(missing_ok=True)
            thread = threading.Thread(target=call)
            thread.start()
            wait_for((tmp_path / "pid").exists)
            if reboot:
                board._link._boot = "of before"
            board._link._master.kill()
            thread.join(20)
            wait_for((tmp_path / "ended").exists)
        assert [failure.partition(" (")[0] for failure in failures] == [f"{board}: connection lost during run"] * 2
        go_on = "results so far are kept, and the same command goes on from them"
        assert failures[0].endswith(f"the board answers again; {go_on}")
        assert failures[1].endswith(f"the board was rebooted; {go_on}")
        assert board.call("facts", {}, 60)["format"] == 1


@needs_sshd
def test_a_board_that_does_not_come_back_is_told(tmp_path, tmp_path_factory):
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    with Board.open(ssh_spec(server, tmp_path / "d")) as board:
        server.stop()
        board._link._master.kill()
        board._link._master.wait()
        with pytest.raises(InputError, match=r"connection refused; on the board: sudo systemctl enable --now ssh"):
            board.run(["true"])


@needs_sshd
def test_a_link_that_goes_silent_is_noticed(sshd, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh, "ALIVE_INTERVAL_S", 1)
    # what earlier tests connected may still be ending
    before = sshd.sessions()
    with Board.open(ssh_spec(sshd, tmp_path / "d")) as board:
        # the server's half of this connection
        (shell,) = sshd.sessions() - before
        threading.Timer(0.5, os.kill, (shell, signal.SIGSTOP)).start()
        try:
            with pytest.raises(InputError, match="connection lost during sleep"):
                board.run(["sleep", "60"])
        finally:
            os.kill(shell, signal.SIGCONT)


@needs_sshd
def test_keys_that_do_not_fit_are_told(sshd, tmp_path):
    host = f"{getpass.getuser()}@127.0.0.1"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    with pytest.raises(
        InputError, match=rf"it wants a password or another key; .*: ssh-copy-id .*-p {sshd.port} .*{host}$"
    ):
        Board.open(ssh_spec(sshd, tmp_path, ssh_options=sshd.options(key=tmp_path / "other")))
    (sshd.folder / "empty").write_text("")
    with pytest.raises(InputError, match=rf"its key is not known on this machine; connect once .*: ssh .*{host}$"):
        Board.open(ssh_spec(sshd, tmp_path, ssh_options=sshd.options(known_hosts="empty")))
    changed = (tmp_path / "other.pub").read_text()
    (sshd.folder / "changed").write_text(f"[127.0.0.1]:{sshd.port} {changed}")
    with pytest.raises(InputError, match=r"its key is not the one known so far; .*: ssh-keygen -R"):
        Board.open(ssh_spec(sshd, tmp_path, ssh_options=sshd.options(known_hosts="changed")))
