"""The stand-in board: a strict test double of a Jetson, for tests. It refuses what a board refuses; its times are made up.

`install` makes a directory whose bin/ a configuration can name, `environment` gives the same through variables, and `sshd`
puts such a board behind a real ssh server on this machine.
"""

import contextlib
import dataclasses
import getpass
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SITE = HERE / "site"
TOOLS = ("trtexec", "tegrastats", "nvpmodel", "jetson_clocks")
# one version per supported family
VERSIONS = ("8.4.1", "8.5.2", "8.6.2", "10.3.0", "10.7.0", "11.4.1")


def install(directory: Path, **settings: Any) -> Path:
    """Make a board in `directory` and return its bin/: board-python (``board: {python: ...}``) and the tools beside it.

    Everything in it has fixed settings and needs no environment, so that it works through ssh.

    Args:
        settings: tensorrt="8.5.2", board="orin" (orin-nano, xavier), root=True, jtop="4.3.2", settle_s=9.0,
            reformat_ms=0.0, loop_hold_ms=20.0, power_mode=0, clocks_locked=True.
    """
    programs = directory / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    state = directory / "state"
    state.mkdir(exist_ok=True)
    (programs / "standin.json").write_text(json.dumps({"state": str(state), **settings}), encoding="utf-8")
    for name in ("board-python", *TOOLS):
        text = (HERE / "bin" / name).read_text(encoding="utf-8")
        fixed = f"STANDIN_PYTHON={shlex.quote(sys.executable)} STANDIN_SITE={shlex.quote(str(SITE))}\n"
        head, _, rest = text.partition("\n")
        target = programs / name
        target.write_text(f"{head}\n{fixed}{rest}", encoding="utf-8")
        target.chmod(0o755)
    return programs


def environment(state: Path, **settings: Any) -> dict[str, str]:
    """Return variables under which Python finds the stand-in's modules and a shell its tools; settings as in `install`."""
    state.mkdir(parents=True, exist_ok=True)
    values = {
        f"STANDIN_{key.upper()}": str(int(value) if isinstance(value, bool) else value)
        for key, value in settings.items()
    }
    return (
        os.environ
        | values
        | {
            "STANDIN_STATE": str(state),
            "STANDIN_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join([str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PATH": os.pathsep.join([str(HERE / "bin"), os.environ["PATH"]]),
        }
    )


@dataclasses.dataclass(frozen=True)
class Server:
    """An ssh server that is this machine: `host` and `ssh_options` as a configuration's ``board:`` has them."""

    host: str
    port: int
    ssh_options: tuple[str, ...]
    log: Path


def find_sshd() -> str | None:
    """Return the ssh server's program, None if it (or a client, or rsync) is not installed."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return found if found and shutil.which("ssh") and shutil.which("ssh-keygen") else None


@contextlib.contextmanager
def sshd(directory: Path, path: Sequence[Path] = ()) -> Iterator[Server]:
    """Run an ssh server on the loopback interface with keys of its own; nobody else can log in, and only as this user.

    Args:
        directory: for keys, configuration and log.
        path: directories that a session's PATH begins with.
    """
    program = find_sshd()
    if program is None:
        raise RuntimeError("sshd, ssh or ssh-keygen is not installed (Debian: openssh-server, openssh-client)")
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "user_key"):
        if not (directory / name).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    (directory / "authorized").write_text((directory / "user_key.pub").read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    search = os.pathsep.join([*map(str, path), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"])
    configuration = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": directory / "host_key",
        "AuthorizedKeysFile": directory / "authorized",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "SetEnv": f"PATH={search}",
        "Subsystem": "sftp internal-sftp",
        "LogLevel": "VERBOSE",
    }
    config, log = directory / "sshd_config", directory / "sshd.log"
    config.write_text("".join(f"{key} {value}\n" for key, value in configuration.items()))
    if os.getuid() == 0:
        # where it is not run by the system, nobody has made it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    known = (directory / "host_key.pub").read_text().split()
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {known[0]} {known[1]}\n")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_for(port, process, log)
        yield Server(
            f"{getpass.getuser()}@127.0.0.1",
            port,
            (
                "-p",
                str(port),
                "-i",
                str(directory / "user_key"),
                "-o",
                "IdentitiesOnly=yes",
                "-F",
                "none",
                "-o",
                f"UserKnownHostsFile={directory / 'known_hosts'}",
                "-o",
                "StrictHostKeyChecking=yes",
            ),
            log,
        )
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"sshd ended: {log.read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"sshd does not answer on port {port}: {log.read_text()}")
