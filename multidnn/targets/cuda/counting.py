"""Reads how many bytes each group moves between GPU and memory from hardware counters, with Nsight Compute (ncu)."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import multidnn
from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.cuda.spec import CudaSpec

METHOD = "dram-counters"
MEANING = (
    "bytes read from and written to the GPU's memory by each kernel of a group (dram__bytes_read.sum and "
    "dram__bytes_write.sum of Nsight Compute, caches as the kernel before left them), over the group's time"
)
METRICS = ("dram__bytes_read.sum", "dram__bytes_write.sum")
# between two groups the child runs this kernel (`kernels.SOURCE`)
MARKER = "stamp"
_TIMEOUT_S = 900.0


@cache
def counter_problem(device: int) -> str | None:
    """Return why the counters cannot be read here, None if they can; tries it on one small kernel."""
    if shutil.which("ncu") is None:
        return "Nsight Compute (ncu) is not on the PATH"
    try:
        rows = _profile({"device": device, "batch": 1, "precision": "fp32", "networks": []})
    except InputError as error:
        return str(error)
    return None if rows else "Nsight Compute recorded no kernel"


def counted_bytes(
    spec: CudaSpec, precision: str, networks: Mapping[str, ExportedNetwork], metrics: tuple[str, ...] = METRICS
) -> dict[tuple[str, int], float]:
    """Return the bytes that each (name, group) of `networks` moves in one run, alone on the device: the sum of `metrics`.

    Raises:
        InputError: ncu is missing, is not allowed to read the counters, or gave something unexpected.
    """
    listed = [[str(group.path) for group in network.groups] for network in networks.values()]
    rows = _profile({"device": spec.device, "batch": spec.batch, "precision": precision, "networks": listed}, metrics)
    sums = bytes_between_markers(rows)
    keys = [(name, group.index) for name, network in networks.items() for group in network.groups]
    if len(sums) != len(keys):
        raise InputError(f"ncu recorded {len(sums)} groups, expected {len(keys)}")
    return dict(zip(keys, sums, strict=True))


def bytes_between_markers(rows: list[tuple[str, float]]) -> list[float]:
    """Return the bytes summed over the kernels between each two markers, from (kernel name, bytes) in order."""
    sums: list[float] = []
    for kernel, moved in rows:
        if kernel == MARKER:
            sums.append(0.0)
        elif sums:
            sums[-1] += moved
    # behind the last marker nothing is counted
    return sums[:-1]


def _profile(job: Mapping[str, Any], metrics: tuple[str, ...] = METRICS) -> list[tuple[str, float]]:
    command = [
        "ncu", "--profile-from-start", "off", "--clock-control", "none", "--cache-control", "none",
        "--metrics", ",".join(metrics), "--csv", "--page", "raw", "--print-units", "base",
        sys.executable, "-m", "multidnn.targets.cuda.counted", json.dumps(job),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"Nsight Compute cannot be run: {error}") from None
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in said if "ERR" in line or "rror" in line] or said
        raise InputError(f"Nsight Compute failed (exit code {done.returncode}): {' '.join(errors[-3:])}")
    return parse(done.stdout, metrics)


def _environment() -> dict[str, str]:
    """Return this process's environment, in which the child finds this package wherever it was started."""
    root = str(Path(multidnn.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def parse(text: str, metrics: tuple[str, ...] = METRICS) -> list[tuple[str, float]]:
    """Return (kernel name, bytes) per row of what ``ncu --csv --page raw`` prints.

    Raises:
        InputError: the table lacks a column, or a number cannot be read.
    """
    lines = [line for line in text.splitlines() if line.startswith('"')]
    table = list(csv.reader(io.StringIO("\n".join(lines))))
    if not table:
        return []
    header, rows = table[0], table[2:]
    try:
        name, columns = header.index("Kernel Name"), [header.index(metric) for metric in metrics]
        return [
            # "stamp(unsigned long long *)" or "void f<float>(...)": what comes before the arguments
            (row[name].split("(")[0].strip(), sum(float(row[column].replace(",", "")) for column in columns))
            for row in rows
        ]
    except (ValueError, IndexError) as error:
        raise InputError(f"ncu's table cannot be read ({error}); its columns are {header[:12]}...") from None
