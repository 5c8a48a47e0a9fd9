"""Draws the time of every layer group on every accelerator, and how many times slower the others are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from multidnn import tables
from multidnn.report import style
from multidnn.report.selection import chosen_networks
from multidnn.report.splits import splits_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# measure marks an unstable number with this word in `reason`
UNSTABLE = "unstable"


def _bars(axes: "Axes", rows: Sequence[tables.Row], accelerators: Sequence[str], colours: dict[str, str]) -> None:
    groups = sorted({(row["group"], row["first_layer"], row["last_layer"]) for row in rows})
    width = 0.8 / len(accelerators)
    cells = {(row["group"], row["accelerator"]): row for row in rows}
    top = max((row["median_ms"] or 0.0 for row in rows), default=0.0)
    for position, name in enumerate(accelerators):
        offset = (position - (len(accelerators) - 1) / 2) * width
        for x, (group, _, _) in enumerate(groups):
            row = cells.get((group, name))
            if row is None:
                continue
            if not row["supported"]:
                axes.text(x + offset, 0, "✕", ha="center", va="bottom", color=colours[name])
                continue
            unstable = UNSTABLE in (row["reason"] or "")
            axes.bar(
                x + offset,
                row["median_ms"],
                width * 0.94,
                yerr=row["std_ms"],
                color=colours[name],
                edgecolor="white",
                linewidth=0.5,
                hatch="////" if unstable else None,
                error_kw={"elinewidth": 0.7, "ecolor": style.MUTED, "capsize": 1.2},
            )
    if len(accelerators) == 2:
        for x, (group, _, _) in enumerate(groups):
            pair = [cells.get((group, name)) for name in accelerators]
            times = [row["median_ms"] for row in pair if row is not None and row["median_ms"]]
            if len(times) == 2 and max(times) > 1.05 * min(times):
                high = max(row["median_ms"] + (row["std_ms"] or 0.0) for row in pair if row is not None)
                slower = accelerators[int(np.argmax(times))]
                axes.text(
                    x,
                    high + 0.02 * top,
                    f"{max(times) / min(times):.1f}×",
                    ha="center",
                    va="bottom",
                    fontsize=7,
                    color=colours[slower],
                )
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    labels = [f"{group}\n{_span(first, last)}".strip() for group, first, last in groups]
    axes.set_xticks(range(len(groups)), labels)


def _span(first: int | None, last: int | None) -> str:
    """Layers of a group; recorded tables may not say where a group starts or ends."""
    if first is None:
        return ""
    return f"{first}–" if last is None else f"{first}" if first == last else f"{first}–{last}"


def draw_layers(layers_csv: Path, out: Path, networks: Sequence[str] | None = None) -> None:
    """Draw one panel per network: median time (ms, bars; one standard deviation, whiskers) per group and accelerator.

    A table that joins splits of a chip has a panel per network and split, on one scale. With two accelerators in a panel
    each group carries how many times slower the slower one is, in its colour. A hatched bar is
    marked unstable in the table, a cross is a group that the accelerator does not support.

    Args:
        layers_csv: layer_results.csv.
        out: .svg, .pdf or .png.
        networks: the networks to draw, in order; all when None.

    Raises:
        InputError: the table is broken or empty, or lacks one of `networks`.
    """
    rows = tables.read(layers_csv, tables.LAYERS)
    chosen = chosen_networks(layers_csv, (row["network"] for row in rows), networks)
    accelerators = list(dict.fromkeys(row["accelerator"] for row in rows))
    colours = style.colours(accelerators)
    splits = splits_of(Path(layers_csv).with_suffix(".json"), accelerators)
    drawn = [(network, split) for network in chosen for split in splits]
    with style.canvas(out, 0.6 + 1.75 * len(drawn), "Layer group times") as figure:
        panels = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
        highest: dict[str, float] = {}
        for axes, (network, split) in zip(panels, drawn, strict=True):
            own = splits[split]
            mine = [row for row in rows if row["network"] == network and row["accelerator"] in own]
            style.grid(axes)
            _bars(axes, mine, own, colours)
            highest[network] = max(highest.get(network, 0.0), axes.get_ylim()[1])
            sums = []
            for name in own:
                times = [row["median_ms"] for row in mine if row["accelerator"] == name]
                sums.append(f"{name} {sum(times):.4g} ms" if times and None not in times else f"{name} incomplete")
            axes.set_title(f"{network}, {split}" if split else network)
            axes.set_title("sum: " + ", ".join(sums), loc="right", fontweight="normal", fontsize=8, color=style.MUTED)
            axes.set_ylabel("median (ms)")
        for axes, (network, _) in zip(panels, drawn, strict=True):
            axes.set_ylim(top=highest[network])
        panels[-1].set_xlabel("group (first–last layer)")
        _legend(figure, accelerators, colours, rows)


def _legend(figure: "Figure", accelerators: Sequence[str], colours: dict[str, str], rows: Sequence[tables.Row]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colours[name], label=name) for name in accelerators]
    if any(UNSTABLE in (row["reason"] or "") for row in rows):
        handles.append(Patch(facecolor="white", edgecolor=style.MUTED, hatch="////", label="unstable"))
    figure.legend(
        handles=handles, loc="outside upper right", ncols=style.columns([str(h.get_label()) for h in handles])
    )
