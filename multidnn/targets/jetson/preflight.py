"""Looks a board over before anything is measured on it: what is there, what is missing, and the command that mends it."""

import json
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.jetson.board import versions
from multidnn.targets.jetson.connection import Board
from multidnn.targets.jetson.process import SHORT_S
from multidnn.targets.jetson.target import bus_bytes
from multidnn.targets.jetson.tools import find_jtop, find_tegrastats, find_trtexec

# engines and models of the default networks: about 1.5 GB of weights, of each a dozen engines at a time
NEEDED_BYTES = 8 * 10**9

PACKAGES = {
    "numpy": "sudo apt-get install python3-numpy",
    "tensorrt": "sudo apt-get install python3-libnvinfer (JetPack's; a virtual environment needs --system-site-packages)",
    "pycuda": "sudo env PATH=/usr/local/cuda/bin:$PATH pip3 install pycuda",
}

# prints {package: [version or None, error or None]}; PyCUDA's driver is what loads CUDA
_IMPORTS = """
import importlib, json
found = {}
for name in ("numpy", "tensorrt", "pycuda"):
    try:
        module = importlib.import_module(name)
        if name == "pycuda":
            importlib.import_module("pycuda.driver")
        found[name] = [getattr(module, "VERSION_TEXT", None) or module.__version__, None]
    except Exception as error:
        found[name] = [None, type(error).__name__ + ": " + " ".join(str(error).split())]
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `ok` is False where it must be mended, None where it is only advised or unknown.

    `found` says what there is, `mend` what to do about it (empty where there is nothing to do).
    """

    name: str
    ok: bool | None
    found: str
    mend: str = ""


def preflight(spec: Mapping[str, Any], needed_bytes: int = NEEDED_BYTES) -> list[Check]:
    """Return what a board is like for the target `spec` of config.yaml; `needed_bytes` is the room its files will take.

    Nothing is changed there but the project's own directory, and nothing asks for a password. What cannot be looked at,
    because something before it failed, is left out.
    """
    checks: list[Check] = []
    try:
        board = Board.open(spec)
    except InputError as error:
        return [_failure("connection", error)]
    with board:
        checks.append(Check("connection", True, f"{board}, {board.directory}"))
        if board.host is not None:
            checks += _rsync(board)
        python, usable = _guarded("python", lambda: [_python(board)])
        checks += python
        if usable:
            packages, has_all = _guarded("packages", lambda: _packages(board))
            checks += packages
            if has_all:
                checks += _state(board, spec)
        checks += _tools(board, spec)
        checks += _guarded("disk", lambda: [_disk(board, needed_bytes)])[0]
    return checks


def failed(checks: Iterable[Check]) -> bool:
    """Tell whether anything must be mended, which is exit code 1 for a command."""
    return any(check.ok is False for check in checks)


def render(checks: Sequence[Check], columns: int | None = None) -> str:
    """Return the checks as a table for a terminal of so many columns (by default this one's)."""
    width = max((len(check.name) for check in checks), default=0)
    columns = shutil.get_terminal_size((120, 24)).columns if columns is None else columns
    lines = []
    for check in checks:
        mark = {True: "ok  ", False: "FAIL", None: "note"}[check.ok]
        indent = " " * (len(mark) + width + 4)
        texts = [check.found, *([f"-> {check.mend}"] if check.mend else [])]
        body = [
            line
            for text in texts
            # a command is copied as a whole, so it is broken at spaces only
            for line in textwrap.wrap(
                text, max(columns - len(indent), 40), break_long_words=False, break_on_hyphens=False
            )
        ]
        lines.append(f"{mark}  {check.name.ljust(width)}  {body[0] if body else ''}".rstrip())
        lines += [indent + line for line in body[1:]]
    return "\n".join(lines)


def _failure(name: str, error: InputError, ok: bool | None = False) -> Check:
    """Return an error as a check: by this project's habit what is wrong comes first, then `; ` and what mends it."""
    found, separator, mend = str(error).partition("; ")
    return Check(name, ok, found, mend if separator else "")


def _guarded(name: str, look: Callable[[], list[Check]]) -> tuple[list[Check], bool]:
    """Return what `look` finds, an error among it as a failed check, and whether all of it is well."""
    try:
        checks = look()
    except InputError as error:
        checks = [_failure(name, error)]
    return checks, not failed(checks)


def _rsync(board: Board) -> list[Check]:
    checks = []
    if shutil.which("rsync") is None:
        checks.append(Check("rsync here", False, "not installed on this machine", "sudo apt-get install rsync"))
    done = board.run(["rsync", "--version"], timeout_s=SHORT_S)
    if done.returncode == 0:
        checks.append(Check("rsync", True, done.stdout.partition("protocol")[0].strip()))
    else:
        checks.append(Check("rsync", False, "not installed on the board", "sudo apt-get install rsync"))
    return checks


def _python(board: Board) -> Check:
    return Check("python", True, f"{board.python}, Python {'.'.join(map(str, board.require_python()))}")


def _packages(board: Board) -> list[Check]:
    done = board.run([board.python, "-c", _IMPORTS], timeout_s=SHORT_S)
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        last = done.stderr.strip().rpartition("\n")[2]
        raise InputError(f"{board.python} ends with code {done.returncode} on importing TensorRT: {last}") from None
    checks = []
    for name, mend in PACKAGES.items():
        version, error = found[name]
        checks.append(Check(name, True, version) if error is None else Check(name, False, error, mend))
    version = found["tensorrt"][0]
    if version is not None:
        checks.append(_tensorrt(version))
    return checks


def _tensorrt(version: str) -> Check:
    name = "tensorrt version"
    try:
        number, supported = versions.parse(version), versions.supported(version)
    except ValueError as error:
        return Check(name, False, str(error), f"this project works with TensorRT {versions.SUPPORTED_TEXT}")
    if supported:
        return Check(name, True, f"{version} is one that this project is written for ({versions.SUPPORTED_TEXT})")
    if versions.has(version, "dla") or number < (8, 4):
        mend = f"install a JetPack with TensorRT {versions.SUPPORTED_TEXT}"
        return Check(name, False, f"{version} is not supported", mend)
    return Check(
        name,
        False,
        f"{version} has no DLA: it left TensorRT after 10.7 and is back since 11.4 (AGX Orin, JetPack 7.2.2)",
        f"install a JetPack with TensorRT {versions.SUPPORTED_TEXT}",
    )


def _state(board: Board, spec: Mapping[str, Any]) -> list[Check]:
    try:
        facts = board.call("facts", {"directory": str(board.directory)}, 120)
    except InputError as error:
        return [_failure("facts", error)]
    return [_accelerators(facts, spec), _memory_bus(facts, spec), _power_mode(facts, spec), _clocks(facts)]


def _accelerators(facts: Mapping[str, Any], spec: Mapping[str, Any]) -> Check:
    cores = int(facts["dla_cores"])
    model = facts["model"] or facts["gpu"]
    has = ["gpu", *(f"dla{core}" for core in range(cores))]
    missing = [name for name in spec.get("accelerators", ()) if name not in has]
    if not missing:
        return Check("accelerators", True, f"{model}: {', '.join(has)}")
    why = "" if cores else ": Orin Nano and Thor have no DLA"
    return Check(
        "accelerators",
        False,
        f"{model} has {', '.join(has)}, and the configuration names {', '.join(missing)}{why}",
        f"set `accelerators: [{', '.join(has)}]` for this target",
    )


def _memory_bus(facts: Mapping[str, Any], spec: Mapping[str, Any]) -> Check:
    name, configured = "memory bus", spec.get("memory_bus_bytes")
    if configured is not None:
        return Check(name, True, f"{configured} bytes wide, as configured")
    width = bus_bytes(facts["model"])
    if width is not None:
        return Check(name, True, f"{width} bytes wide, as {facts['model']} has it")
    found = f"not known of the model {facts['model']!r}" if facts["model"] else "the board does not say its model"
    return Check(name, False, found, "set `memory_bus_bytes:` of this target: 32 for AGX modules, 16 for NX and Nano")


def _power_mode(facts: Mapping[str, Any], spec: Mapping[str, Any]) -> Check:
    name, mode, wanted = "power mode", facts["nvpmodel"], spec.get("power_mode")
    if mode is None:
        reason = facts.get("nvpmodel_error") or "nvpmodel does not tell it"
        return Check(name, None if wanted is None else False, f"not readable: {reason}", "sudo nvpmodel -q shows it")
    found = f"{mode['id']} ({mode['name']})"
    if wanted is not None:
        if mode["id"] == wanted:
            return Check(name, True, f"{found}, as configured")
        return Check(name, False, f"{found}, configured is {wanted}", f"sudo nvpmodel -m {wanted}")
    if str(mode["name"]).upper().startswith("MAXN"):
        return Check(name, True, found)
    # MAXN is 0 on AGX modules, 2 (MAXN_SUPER) on an Orin Nano, and not there on some
    modes: Mapping[str, str] = facts["power_modes"]
    fastest = [number for number, called in modes.items() if called.upper().startswith("MAXN")]
    if modes and not fastest:
        return Check(name, True, f"{found}; this board has {', '.join(modes.values())}, and no MAXN")
    if not fastest:
        return Check(
            name, None, f"{found}; MAXN is the fastest where there is one", "sudo nvpmodel -p --verbose lists the modes"
        )
    return Check(name, None, f"{found}; {modes[fastest[-1]]} is the fastest", f"sudo nvpmodel -m {fastest[-1]}")


def _clocks(facts: Mapping[str, Any]) -> Check:
    locked = facts["clocks_locked"]
    if locked:
        return Check("clocks", True, "locked")
    found = "not locked: times vary with what the governors do" if locked is False else "cannot be told from here"
    return Check("clocks", None, found, "sudo jetson_clocks")


def _tools(board: Board, spec: Mapping[str, Any]) -> list[Check]:
    """Return the state of the three tools; one that the target does not use is only a note."""
    emc = spec.get("emc", "tegrastats")
    looks: list[tuple[str, bool, Callable[[], str]]] = [
        ("trtexec", spec.get("profiler", "trtexec") == "trtexec", lambda: _shown(find_trtexec(board, spec))),
        ("tegrastats", emc == "tegrastats", lambda: f"{_shown(find_tegrastats(board))}, EMC readable"),
        ("jtop", emc == "jtop", lambda: f"{_shown(find_jtop(board))}, EMC readable"),
    ]
    checks = []
    for name, needed, look in looks:
        try:
            checks.append(Check(name, True, look()))
        except InputError as error:
            check = _failure(name, error, False if needed else None)
            checks.append(check if needed else Check(name, None, f"{check.found} (not used)", check.mend))
    return checks


def _shown(tool: Any) -> str:
    return f"{tool.path}, {tool.version}"


def _disk(board: Board, needed_bytes: int) -> Check:
    free = board.free_bytes()
    found = f"{free / 1e9:.1f} GB free in {board.directory}, about {needed_bytes / 1e9:.1f} GB needed"
    if free >= needed_bytes:
        return Check("disk", True, found)
    return Check("disk", False, found, "make room, or name another directory in `board: directory:` of the target")
