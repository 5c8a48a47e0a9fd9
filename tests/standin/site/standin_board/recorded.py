"""The recorded Xavier tables as the stand-in uses them: group times, transitions, demands, and the PCCS curve."""

import bisect
import functools
import json
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[4]
TABLES = REPOSITORY / "multidnn" / "targets" / "recorded" / "xavier_agx.json"


@functools.cache
def tables() -> dict[str, Any]:
    """Return the file of the recorded target."""
    content: dict[str, Any] = json.loads(TABLES.read_text(encoding="utf-8"))
    return content


def peak_gb_s() -> float:
    """Return the bandwidth that percentages are of."""
    return float(tables()["peak_gb_s"])


@functools.cache
def _grid() -> tuple[list[float], list[float], list[list[float]]]:
    pccs = tables()["pccs"]
    rows = [
        [1.0, *(demand / achieved for achieved in row)]
        for demand, row in zip(pccs["demand_gb_s"], pccs["achieved_gb_s"], strict=True)
    ]
    return pccs["demand_gb_s"], [0.0, *pccs["external_gb_s"]], rows


def slowdown(demand: float, external: float) -> float:
    """Return by how much a kernel of `demand` GB/s is slowed beside `external` GB/s: bilinear, clamped at the edges."""
    demands, externals, rows = _grid()
    i, x = _place(demands, demand)
    j, y = _place(externals, external)
    low = rows[i][j] + (rows[i][j + 1] - rows[i][j]) * y
    high = rows[i + 1][j] + (rows[i + 1][j + 1] - rows[i + 1][j]) * y
    return low + (high - low) * x


def _place(axis: list[float], value: float) -> tuple[int, float]:
    value = min(max(value, axis[0]), axis[-1])
    index = min(max(bisect.bisect_right(axis, value) - 1, 0), len(axis) - 2)
    return index, (value - axis[index]) / (axis[index + 1] - axis[index])
