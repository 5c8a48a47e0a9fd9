"""Draws what moving to another accelerator costs after every group, in each direction."""

import math
from collections.abc import Sequence
from pathlib import Path

from multidnn import tables
from multidnn.report import style
from multidnn.report.selection import chosen_networks

OUT, IN = "out (source holds)", "in (destination holds)"


def draw_transitions(transitions_csv: Path, out: Path, networks: Sequence[str] | None = None) -> None:
    """Draw one panel per network: out_ms and in_ms (stacked, milliseconds) per cut and direction, bytes moved above.

    Args:
        transitions_csv: transition_results.csv.
        out: .svg, .pdf or .png.
        networks: the networks to draw, in order; all when None.

    Raises:
        InputError: the table is broken, or there is nothing to draw.
    """
    from matplotlib.patches import Patch

    rows = tables.read(transitions_csv, tables.TRANSITIONS)
    # a network of one group has no transitions, and neither has a chip of one accelerator: asked for, it is drawn empty
    named = dict.fromkeys(row["network"] for row in rows) | dict.fromkeys(networks or ())
    chosen = chosen_networks(transitions_csv, named, networks)
    directions = list(dict.fromkeys((row["source"], row["destination"]) for row in rows))
    colours = style.colours([f"{source} → {destination}" for source, destination in directions])
    width = 0.8 / max(len(directions), 1)
    shown = [*colours, OUT, IN]
    lines = math.ceil(len(shown) / style.columns(shown))
    with style.canvas(out, 0.4 + 0.2 * lines + 1.6 * len(chosen), "Transition costs") as figure:
        panels = figure.subplots(len(chosen), 1, squeeze=False)[:, 0]
        for axes, network in zip(panels, chosen, strict=True):
            mine = [row for row in rows if row["network"] == network]
            cuts = sorted({row["after_group"] for row in mine})
            style.grid(axes)
            if not mine:
                middle = {"ha": "center", "va": "center", "transform": axes.transAxes, "color": style.MUTED}
                axes.text(0.5, 0.5, "no transitions: one group, or one accelerator", **middle)
            for row in mine:
                position = directions.index((row["source"], row["destination"]))
                x = cuts.index(row["after_group"]) + (position - (len(directions) - 1) / 2) * width
                colour = colours[f"{row['source']} → {row['destination']}"]
                axes.bar(x, row["out_ms"], width * 0.94, color=colour, edgecolor="white", linewidth=0.5)
                axes.bar(
                    x,
                    row["in_ms"],
                    width * 0.94,
                    bottom=row["out_ms"],
                    color=colour,
                    alpha=0.45,
                    edgecolor="white",
                    linewidth=0.5,
                )
            sizes = {row["after_group"]: row["bytes"] for row in mine}
            axes.set_xticks(range(len(cuts)), [_cut_label(cut, sizes[cut]) for cut in cuts])
            axes.set_ylim(bottom=0)
            axes.set_title(network)
            axes.set_ylabel("cost (ms)")
        panels[-1].set_xlabel("after group (bytes handed over)")
        handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
        handles += [
            Patch(color=style.MUTED, label=OUT),
            Patch(color=style.MUTED, alpha=0.45, label=IN),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=style.columns(shown))


def _cut_label(cut: int, size: int | None) -> str:
    if size is None:
        return f"{cut}"
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{cut}\n{size / scale:.3g} {unit}"
    return f"{cut}\n{size} B"
