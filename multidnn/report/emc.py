"""Draws memory demand: the heat map of the 25 convolutions (figure 3 of HaX-CoNN) and the demand of every group."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.report import style
from multidnn.report.selection import chosen_networks
from multidnn.report.splits import splits_of

# inputs (H x W) of the characterisation convolutions: 64 channels in and out, stride 1, pad 1
SIZES = ("224×112", "112×112", "112×56", "56×56", "56×28")
KERNELS = 5
_CONVOLUTION = re.compile(r"conv([1-5])_kernel([1-5])")


def _peak(emc_csv: Path) -> tuple[float | None, str]:
    path = Path(emc_csv).with_suffix(".json")
    sidecar: dict[str, Any] = read_json(path)
    peak = sidecar.get("peak_gb_s")
    if peak is not None and not isinstance(peak, int | float):
        raise InputError(f"{path}: peak_gb_s: found {peak!r}, expected a number")
    return peak, str(sidecar.get("peak_from") or sidecar.get("peak_source") or "")


def draw_heatmap(emc_csv: Path, out: Path) -> None:
    """Draw demand of the 25 convolutions, input size by kernel size, one panel per accelerator, one row per split.

    Cells show utilisation in percent of the peak (named in the sidecar, below the figure) where the table has it,
    otherwise GB/s. A missing cell stays white with a dash.

    Raises:
        InputError: the table or its sidecar is broken, or the table holds no convolution.
    """
    rows = [row for row in tables.read(emc_csv, tables.EMC) if _CONVOLUTION.fullmatch(row["name"])]
    if not rows:
        raise InputError(f"{emc_csv}: no convolution row, expected names conv1_kernel1 to conv5_kernel5")
    accelerators = list(dict.fromkeys(row["accelerator"] for row in rows))
    percent = all(row["utilization_pct"] is not None for row in rows)
    column = "utilization_pct" if percent else "demand_gb_s"
    values = {name: np.full((len(SIZES), KERNELS), np.nan) for name in accelerators}
    for row in rows:
        match = _CONVOLUTION.fullmatch(row["name"])
        assert match is not None
        value = row[column]
        values[row["accelerator"]][int(match[1]) - 1, int(match[2]) - 1] = np.nan if value is None else value
    stacked = np.stack(list(values.values()))
    if np.isnan(stacked).all():
        raise InputError(f"{emc_csv}: every convolution row is empty")
    high = max(100.0 if percent else 0.0, float(np.nanmax(stacked)))
    peak, source = _peak(emc_csv)
    colormap = matplotlib.colormaps[style.HEAT]
    splits = list(splits_of(Path(emc_csv).with_suffix(".json"), accelerators).values())
    with style.canvas(out, 0.4 + 2.7 * len(splits), "Memory demand of the 25 convolutions") as figure:
        panels = style.panels(figure, splits)
        for name, axes in panels.items():
            table = values[name]
            image = axes.imshow(table, cmap=colormap, vmin=0, vmax=high, aspect="auto")
            for (y, x), value in np.ndenumerate(table):
                missing = bool(np.isnan(value))
                colour = style.INK if missing else style.on(matplotlib.colors.to_hex(colormap(value / high)))
                text = "–" if missing else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
                axes.text(x, y, text, ha="center", va="center", color=colour)
            axes.set_xticks(range(KERNELS), [f"{kernel + 1}×{kernel + 1}" for kernel in range(KERNELS)])
            axes.set_yticks(range(len(SIZES)), [f"conv{number + 1}\n{size}" for number, size in enumerate(SIZES)])
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set_xlabel("kernel")
            axes.set_title(name)
        for split in splits:
            panels[split[0]].set_ylabel("input (64 channels)")
        unit = "utilisation (% of peak)" if percent else "demand (GB/s)"
        figure.colorbar(image, ax=list(panels.values()), label=unit, shrink=0.9, pad=0.02)
        if percent and peak is not None:
            note = textwrap.fill(f"peak {peak:.4g} GB/s" + (f": {source}" if source else ""), 110)
            figure.text(1.0, 0.0, note, ha="right", va="bottom", fontsize=7, color=style.MUTED)
            room = 0.05 * (1 + note.count("\n"))
            engine = figure.get_layout_engine()
            assert isinstance(engine, ConstrainedLayoutEngine)
            engine.set(rect=(0, room, 1, 1 - room))


def draw_demand(emc_csv: Path, out: Path, networks: Sequence[str] | None = None) -> None:
    """Draw the memory demand (GB/s) of every group, one panel per network, one step line per accelerator.

    Args:
        emc_csv: emc_results.csv with its sidecar.
        out: .svg, .pdf or .png.
        networks: the networks to draw, in order; all when None.

    Raises:
        InputError: the table or its sidecar is broken, or lacks one of `networks`.
    """
    rows = [row for row in tables.read(emc_csv, tables.EMC) if row["group"] is not None]
    chosen = chosen_networks(emc_csv, (row["name"] for row in rows), networks)
    accelerators = list(dict.fromkeys(row["accelerator"] for row in rows))
    colours = style.colours(accelerators)
    width = 0.8 / len(accelerators)
    methods = sorted({row["method"] for row in rows if row["method"]})
    with style.canvas(out, 0.7 + 1.4 * len(chosen), "Memory demand of the groups") as figure:
        from matplotlib.patches import Patch

        panels = figure.subplots(len(chosen), 1, squeeze=False)[:, 0]
        for axes, network in zip(panels, chosen, strict=True):
            mine = [row for row in rows if row["name"] == network and row["demand_gb_s"] is not None]
            style.grid(axes)
            for row in mine:
                x = row["group"] + (accelerators.index(row["accelerator"]) - (len(accelerators) - 1) / 2) * width
                colour = colours[row["accelerator"]]
                axes.bar(x, row["demand_gb_s"], width * 0.94, color=colour, edgecolor="white", linewidth=0.5)
            axes.set_xticks(range(1 + max((row["group"] for row in mine), default=0)))
            axes.set_ylim(bottom=0)
            axes.set_title(network)
            axes.set_ylabel("demand (GB/s)")
        panels[-1].set_xlabel("group" + (f"   (method: {', '.join(methods)})" if methods else ""))
        handles = [Patch(color=colours[name], label=name) for name in accelerators]
        figure.legend(handles=handles, loc="outside upper right", ncols=style.columns(accelerators))
