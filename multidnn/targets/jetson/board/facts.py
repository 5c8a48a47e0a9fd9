"""The command `facts`: what board this is, in what state, and which versions are on it."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .errors import BoardError
from .fields import Fields

_INSTALL = {
    "numpy": "sudo apt install python3-numpy",
    "tensorrt": "it comes with JetPack: sudo apt install python3-libnvinfer; a virtual environment needs --system-site-packages",
    "pycuda": "sudo env PATH=/usr/local/cuda/bin:$PATH pip3 install pycuda",
}
_COMMAND_TIMEOUT_S = 20


def check_packages() -> None:
    """Raise a `BoardError` that names the first package that cannot be imported and how to install it."""
    for package, how in _INSTALL.items():
        try:
            importlib.import_module("pycuda.driver" if package == "pycuda" else package)
        except ImportError as error:
            python = f"{sys.executable} (Python {platform.python_version()})"
            raise BoardError(f"{python} cannot import {package} ({error}); {how}") from None


def _text(path: Path) -> str | None:
    """Return the text of a file of the system, or None if it is not there or not for us to read."""
    try:
        return path.read_text(errors="replace").replace("\0", "").strip()
    except OSError:
        return None


def _number(path: Path, scale: int = 1) -> int | None:
    text = _text(path)
    return int(text) * scale if text is not None and text.isdigit() else None


def _frequencies(directory: Path, names: tuple[str, str, str], scale: int = 1) -> dict[str, int] | None:
    values = [_number(directory / name, scale) for name in names]
    if any(value is None for value in values):
        return None
    return {key: value for key, value in zip(("cur_hz", "min_hz", "max_hz"), values) if value is not None}


def read_clocks(root: Path) -> tuple[dict[str, dict[str, int]], bool | None]:
    """Return the clocks that can be read, in Hz, and whether they are locked (None: cannot be told).

    `jetson_clocks` sets the lowest allowed clock of GPU and CPU to the highest; the memory's has a lock of its own, which
    only root may read.

    Args:
        root: "/", or where another system's /sys lies.
    """
    clocks: dict[str, dict[str, int]] = {}
    devfreq = root / "sys/class/devfreq"
    # 17000000.gv11b on Xavier, .ga10b on Orin, .gpu from JetPack 6 on
    for device in sorted(devfreq.iterdir()) if devfreq.is_dir() else []:
        if re.search(r"\.(gpu|gv11b|ga10b|gp10b)$", device.name):
            gpu = _frequencies(device, ("cur_freq", "min_freq", "max_freq"))
            if gpu:
                clocks["gpu"] = gpu
    emc_directory = root / "sys/kernel/debug/bpmp/debug/clk/emc"
    emc = _frequencies(emc_directory, ("rate", "min_rate", "max_rate"))
    if emc:
        clocks["emc"] = emc
    cpufreq = root / "sys/devices/system/cpu/cpu0/cpufreq"
    cpu = _frequencies(cpufreq, ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq"), 1000)
    if cpu:
        clocks["cpu0"] = cpu
    locked: dict[str, bool] = {
        name: clocks[name]["min_hz"] == clocks[name]["max_hz"] for name in ("gpu", "cpu0") if name in clocks
    }
    emc_lock = _number(emc_directory / "mrq_rate_locked")
    if emc_lock is not None:
        locked["emc"] = emc_lock == 1
    if not all(locked.values()):
        return clocks, False
    return clocks, True if "gpu" in locked else None


def parse_nvpmodel(text: str) -> dict[str, Any] | None:
    """Return id and name of the power mode from what `nvpmodel -q` prints, or None if it does not say.

    It prints `NV Power Mode: MAXN` and the number on the next line, maybe after warnings.
    """
    found = re.search(r"NV Power Mode: *(\S.*?) *\n\s*(\d+)\s*$", text, re.MULTILINE)
    return {"id": int(found.group(2)), "name": found.group(1)} if found else None


def read_power_modes(root: Path) -> dict[str, str]:
    """Return names of the power modes by number, from what nvpmodel is configured with; empty if that is not there."""
    text = _text(root / "etc/nvpmodel.conf") or ""
    return dict(re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", text, re.MULTILINE))


def _nvpmodel_path() -> str:
    # a PATH of ssh or of a service may lack the directories of root's programs
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which("nvpmodel", path=path) or "nvpmodel"


def _nvpmodel() -> dict[str, Any]:
    try:
        done = subprocess.run(
            [_nvpmodel_path(), "-q"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return {"nvpmodel": None, "nvpmodel_error": "there is no command nvpmodel, on the PATH or in /usr/sbin"}
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"nvpmodel": None, "nvpmodel_error": str(error)}
    text = done.stdout.decode(errors="replace")
    mode = parse_nvpmodel(text)
    if mode is None:
        said = text.strip().splitlines()
        return {"nvpmodel": None, "nvpmodel_error": said[-1] if said else f"exit code {done.returncode}"}
    return {"nvpmodel": mode}


def _memory_total(root: Path) -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo") or "", re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def facts(request: Fields) -> dict[str, Any]:
    """Answer a `facts` request."""
    directory = Path(request.value("directory", str))
    check_packages()
    import numpy as np
    import pycuda
    import pycuda.driver as cuda

    from . import api
    from .driver import host_register_supported, start_cuda
    from .log import LogLines, make_logger

    api.check_supported()
    try:
        device = start_cuda()
    except cuda.Error as error:
        raise BoardError(f"CUDA cannot be started: {error}") from None
    builder, _ = api.open_builder(make_logger(LogLines()))
    driver = cuda.get_driver_version()
    existing = directory
    while not existing.exists():
        existing = existing.parent
    root = Path("/")
    clocks, locked = read_clocks(root)
    l4t = _text(root / "etc/nv_tegra_release")
    return {
        "format": 1,
        "tensorrt": api.VERSION,
        "cuda_driver": f"{driver // 1000}.{driver % 1000 // 10}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pycuda": pycuda.VERSION_TEXT,
        "gpu": device.name(),
        # the tests' double of a board says so in its name, and nothing that it gives may pass for a measurement
        "stand_in": "STAND-IN" in device.name(),
        "compute_capability": list(device.compute_capability()),
        "dla_cores": api.dla_cores(builder),
        "host_register": host_register_supported(),
        "model": _text(root / "proc/device-tree/model"),
        "l4t": l4t.splitlines()[0] if l4t else None,
        "memory_total_bytes": _memory_total(root),
        "disk_free_bytes": shutil.disk_usage(str(existing)).free,
        # a power mode may switch cores off, so the numbers need not follow each other
        "cpus": sorted(os.sched_getaffinity(0)),
        **_nvpmodel(),
        "power_modes": read_power_modes(root),
        "clocks": clocks,
        "clocks_locked": locked,
        "kernel": platform.release(),
        "machine": platform.machine(),
    }
