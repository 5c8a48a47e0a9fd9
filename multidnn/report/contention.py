"""Draws how accelerators slow each other down: slowdown against external demand, one line per own demand."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from jsonschema import Draft202012Validator

from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.report import style
from multidnn.report.splits import splits_of
from multidnn.schedule.slowdown import Slowdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINT = {"type": "number", "minimum": 0}
_EXTRAS = Draft202012Validator(
    {
        "type": "object",
        "required": ["accelerators"],
        "properties": {
            "accelerators": {"type": "object", "minProperties": 1},
            "fit": {"type": ["object", "null"]},
            "samples": {
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "items": {"type": "array", "items": _POINT, "minItems": 3, "maxItems": 3},
                },
            },
            "held_out": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["victim", "demand_gb_s", "external_gb_s", "slowdown"],
                    "properties": {
                        "victim": {"type": "array", "minItems": 3, "maxItems": 3},
                        "demand_gb_s": _POINT,
                        "external_gb_s": _POINT,
                        "slowdown": _POINT,
                    },
                },
            },
        },
    }
)


def _read(path: Path) -> tuple[dict[str, Slowdown], dict[str, Any]]:
    value = read_json(path)
    for error in _EXTRAS.iter_errors(value):
        raise InputError(f"{path}: {'.'.join(map(str, error.absolute_path)) or 'top level'}: {error.message[:200]}")
    grids = {
        name: Slowdown.from_dict(entry, f"{path}: accelerators.{name}") for name, entry in value["accelerators"].items()
    }
    return grids, value


def _co_runs(value: Mapping[str, Any]) -> list[tuple[str, bool, float, float, float]]:
    """Return (accelerator, held out, own demand, external demand, slowdown) of every co-run in the file."""
    fitted = [(name, False, *row) for name, rows in value.get("samples", {}).items() for row in rows]
    unseen = [
        (row["victim"][2], True, row["demand_gb_s"], row["external_gb_s"], row["slowdown"])
        for row in value.get("held_out", ())
    ]
    return fitted + unseen


def _curves(axes: "Axes", grid: Slowdown, colormap: matplotlib.colors.Colormap, top: float) -> None:
    # a grid with one external point is flat: draw it one unit wide
    external = grid.external if len(grid.external) > 1 else (grid.external[0], 1.0)
    for demand, row in zip(grid.demand, grid.factor, strict=True):
        values = row if len(row) > 1 else row * 2
        axes.plot(external, values, color=colormap(0.92 * demand / top), linewidth=1.3, marker="o", markersize=2.2)


def draw_contention(contention_json: Path, out: Path) -> None:
    """Draw the slowdown grid of contention.json (docs/formats.md), one panel per accelerator, one row per split.

    Lines are the model, coloured by the demand of the group itself (GB/s). Where the file has the measured
    co-runs, they are drawn on top: dots entered the fit (`samples`: accelerator -> [own, external, slowdown]), diamonds
    were held out (`held_out`: objects whose `victim` is [network, group, accelerator]). The error of `fit` is above.

    Raises:
        InputError: the file is broken or its grid does not match its axes.
    """
    from matplotlib.lines import Line2D

    accelerators, value = _read(contention_json)
    co_runs = _co_runs(value)
    top = max([1e-9, *(max(grid.demand) for grid in accelerators.values())])
    # the yellow end of the map is too pale for a line on white
    colormap = matplotlib.colormaps[style.SEQUENTIAL]
    splits = list(splits_of(contention_json, list(accelerators)).values())
    with style.canvas(out, 0.6 + 2.4 * len(splits), "Slowdown under external memory demand") as figure:
        panels = style.panels(figure, splits)
        for name, axes in panels.items():
            grid = accelerators[name]
            style.grid(axes, "both")
            _curves(axes, grid, colormap, top)
            for accelerator, held_out, demand, external, slowdown in co_runs:
                if accelerator == name:
                    axes.plot(
                        external,
                        slowdown,
                        marker="D" if held_out else "o",
                        markersize=4,
                        markerfacecolor=colormap(0.92 * min(1.0, demand / top)),
                        markeredgecolor=style.INK,
                        markeredgewidth=0.6,
                        linestyle="none",
                    )
            axes.set_title(name)
            axes.set_xlabel("demand of the others (GB/s)")
            axes.set_xlim(left=0)
        for split in splits:
            panels[split[0]].set_ylabel("slowdown (×)")
        first = next(iter(panels.values()))
        low, high = first.get_ylim()
        first.set_ylim(min(low, 0.98), max(high, 1.1))
        scale = matplotlib.cm.ScalarMappable(
            matplotlib.colors.Normalize(0, top),
            matplotlib.colors.ListedColormap(colormap(0.92 * np.linspace(0, 1, 256))),
        )
        figure.colorbar(scale, ax=list(panels.values()), label="own demand (GB/s)", pad=0.02)
        handles = [Line2D([], [], color=style.MUTED, marker="o", markersize=2.2, label="model")]
        for marker, label, held_out in (("o", "co-run", False), ("D", "held-out co-run", True)):
            if any(co_run[1] == held_out for co_run in co_runs):
                handles.append(
                    Line2D([], [], color="none", marker=marker, mfc=style.GRID, mec=style.INK, mew=0.6, label=label)
                )
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), title=_fit(value.get("fit")))


def _fit(fit: Mapping[str, Any] | None) -> str | None:
    if not fit or fit.get("median_error_pct") is None or fit.get("p90_error_pct") is None:
        return None
    return (
        f"error on {fit.get('held_out', '?')} held-out co-runs: median {fit['median_error_pct']:.1f} %, "
        f"90th percentile {fit['p90_error_pct']:.1f} %"
    )
