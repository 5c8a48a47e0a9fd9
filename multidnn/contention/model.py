"""Writes contention.json: the slowdown grids of a target and how far they are off."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multidnn.contention.fit import Grid
from multidnn.files import write_json


def write_model(
    out_json: Path, grids: Mapping[str, Grid], held_out: Sequence[Mapping[str, Any]], content: Mapping[str, Any]
) -> None:
    """Write contention.json: the grid of each accelerator, the error on `held_out` co-runs, and `content` behind them.

    Args:
        held_out: rows with at least ``slowdown`` (measured) and ``predicted``.
    """
    errors = [abs(row["predicted"] / row["slowdown"] - 1) * 100 for row in held_out]
    write_json(
        out_json,
        {
            "accelerators": {
                accelerator: {
                    "demand_gb_s": list(grid.demand),
                    "external_gb_s": list(grid.external),
                    "slowdown": [list(row) for row in grid.slowdown],
                }
                for accelerator, grid in grids.items()
            },
            "fit": {
                "held_out": len(errors),
                "median_error_pct": float(np.median(errors)) if errors else None,
                "p90_error_pct": float(np.percentile(errors, 90)) if errors else None,
            },
            "held_out": list(held_out),
            **content,
        },
    )
