"""Finds NVIDIA's tools on a board and says what each needs: trtexec, tegrastats (EMC only for root), jtop."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.jetson.connection import Board
from multidnn.targets.jetson.parsers.trtexec_log import version_of
from multidnn.targets.jetson.process import SHORT_S

# where JetPack's package libnvinfer-bin puts it, which is on no PATH
TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
SAMPLERS = ("tegrastats", "jtop")

_BANNER = re.compile(r"TensorRT\.trtexec \[TensorRT v(\d+)\]")
_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")
# tegrastats prints its first line after one interval
_TRY_MS = 100
_TRY_S = 15.0


@dataclass(frozen=True)
class Tool:
    """A tool on the board: `path` to call it by, and its `version` (of TensorRT, of L4T, of jetson-stats)."""

    name: str
    path: str
    version: str


def find_trtexec(board: Board, spec: Mapping[str, Any]) -> Tool:
    """Return trtexec: the one that ``spec["board"]["trtexec"]`` names, else the one on PATH, else JetPack's.

    Raises:
        InputError: there is none, or it does not say its version (TensorRT 7 and older).
    """
    named = (spec.get("board") or {}).get("trtexec")
    path = _found(board, *([named] if named else ["trtexec", TRTEXEC]))
    if path is None:
        if named:
            raise InputError(f"{board}: `board: trtexec:` of the target names {named!r}, which cannot be run there")
        raise InputError(
            f"{board}: no trtexec on PATH nor at {TRTEXEC}; on the board: sudo apt-get install libnvinfer-bin (or give its "
            "path in `board: trtexec:`, or set `profiler: python`)"
        )
    done = board.run([path, "--help"], timeout_s=SHORT_S)
    found = _BANNER.search(done.stdout + done.stderr)
    if found is None:
        last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise InputError(
            f"{board}: {path} does not say which TensorRT it is of, expected a line `TensorRT.trtexec [TensorRT v8502]` "
            f"(exit code {done.returncode}: {last or 'it printed nothing'})"
        )
    return Tool("trtexec", path, version_of(found[1], f"{board}: {path}: "))


def find_tegrastats(board: Board, needs_emc: bool = True) -> Tool:
    """Return tegrastats, with L4T's version.

    Raises:
        InputError: there is none, it prints nothing, or (with `needs_emc`) it shows no memory controller, which it does
            for root only and which must not be taken for 0 %.
    """
    path = _found(board, "tegrastats", "/usr/bin/tegrastats")
    if path is None:
        raise InputError(
            f"{board}: tegrastats is not installed; on a Jetson: sudo apt-get install nvidia-l4t-tools (or `emc: jtop`)"
        )
    done = board.run(["sh", "-c", '"$1" --interval "$2" | head -n 1', "sh", path, str(_TRY_MS)], timeout_s=_TRY_S)
    line = done.stdout.strip()
    if "RAM " not in line:
        said = (done.stderr.strip() or line).rpartition("\n")[2]
        raise InputError(f"{board}: {path} prints no statistics: {said or 'nothing'}")
    if needs_emc and "EMC_FREQ" not in line:
        raise InputError(
            f"{board}: tegrastats shows no EMC_FREQ, because it does not run as root; nothing asks for a password here, so "
            "either set `emc: jtop` (its service runs as root), or be root there: run the pipeline as root on the board, or "
            "`host: root@...`"
        )
    release = board.run(["cat", "/etc/nv_tegra_release"], timeout_s=SHORT_S)
    found = _RELEASE.search(release.stdout)
    return Tool("tegrastats", path, f"L4T {found[1]}.{found[2]}" if found else "L4T of unknown release")


def find_jtop(board: Board, needs_service: bool = True) -> Tool:
    """Return jtop (jetson-stats) as the board's Python has it; `path` is that Python.

    Raises:
        InputError: that Python has no jtop, or (with `needs_service`) its service does not answer or shows no memory
            controller.
    """
    done = board.run([board.python, "-c", "import jtop; print(jtop.__version__)"], timeout_s=SHORT_S)
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2]
        raise InputError(
            f"{board}: {board.python!r} cannot import jtop ({last}); on the board: sudo pip3 install -U jetson-stats, then "
            "sudo systemctl restart jtop.service"
        )
    tool = Tool("jtop", board.python, done.stdout.split()[-1])
    if needs_service:
        # the program ends when its input does, which is the connection
        program = f"{shlex.join(sampler_command(board, 'jtop', 500))} | head -n 1"
        board.push_code()
        sample = board.run(["sh", "-c", program], timeout_s=SHORT_S, stdin_lifeline=True)
        if not sample.stdout.startswith("{"):
            last = sample.stderr.strip().rpartition("\n")[2].removeprefix("error: ")
            raise InputError(
                f"{board}: jtop {tool.version} gives no sample: {last or 'it prints nothing; sudo systemctl restart jtop'}"
            )
        if '"emc"' not in sample.stdout:
            raise InputError(
                f"{board}: jtop {tool.version} shows no memory controller (EMC): its service must run as root and this "
                "kernel must show it; on the board: sudo systemctl restart jtop.service"
            )
    return tool


def find_sampler(board: Board, kind: str) -> Tool:
    """Return tegrastats or jtop, whichever `kind` is, found able to read the memory controller."""
    if kind not in SAMPLERS:
        raise InputError(f"emc: found {kind!r}, allowed: {', '.join(SAMPLERS)}")
    return find_tegrastats(board) if kind == "tegrastats" else find_jtop(board)


def sampler_command(board: Board, kind: str, interval_ms: int) -> list[str]:
    """Return the command that prints a line of statistics on the board every `interval_ms`, for a request's sampler.

    jtop's is a program of ours among the code that `Board.call` brings there.

    Raises:
        InputError: an unknown kind, an interval below 1 ms, or no tegrastats that shows the memory controller.
    """
    if interval_ms < 1:
        raise InputError(f"found a sampling interval of {interval_ms} ms, expected at least 1")
    if kind == "jtop":
        program = board.directory / "code" / "stats" / "jtop_lines.py"
        return [board.python, str(program), "--interval", f"{interval_ms / 1000:g}"]
    return [find_sampler(board, kind).path, "--interval", str(interval_ms)]


def _found(board: Board, *candidates: str) -> str | None:
    """Return the first of these commands or paths that can be run on the board, as an absolute path."""
    script = (
        'for c; do case $c in "~/"*) c=$HOME/${c#"~/"};; /*) ;; */*) c=$PWD/$c;; esac; p=$(command -v "$c") && '
        '[ -x "$p" ] && { printf "%s\\n" "$p"; exit 0; }; done; exit 1'
    )
    done = board.run(["sh", "-c", script, "sh", *candidates], timeout_s=SHORT_S)
    return done.stdout.strip() if done.returncode == 0 else None
