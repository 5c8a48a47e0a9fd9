"""Draws predicted against measured makespan of every placed schedule."""

from pathlib import Path

import numpy as np

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.report import style
from multidnn.report.records import UNPLACED, in_order
from multidnn.report.summary import prediction_error

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
PALE = 0.35


def draw_error(summary_csv: Path, out: Path) -> None:
    """Draw predicted over measured median makespan (ms, both logarithmic) with the identity line and a 10 % band.

    One marker per placed schedule: shape says scheduler, colour says workload; whole and streams are no timelines and
    left out. The error over all of them (median, 90th percentile, worst) is written above. Rows of workloads whose
    predictions do not bind, by the table's sidecar, are drawn pale and do not count.

    Raises:
        InputError: the table is broken, or holds no placed schedule that was measured.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    rows = [
        row
        for row in tables.read(summary_csv, tables.SUMMARY)
        if row["scheduler"] not in UNPLACED
        and row["predicted_ms"] is not None
        and row["measured_median_ms"] is not None
    ]
    sidecar = Path(summary_csv).with_suffix(".json")
    said = read_json(sidecar) if sidecar.exists() else {}
    loose = set(said.get("not_binding", ()))
    source = "stand-in" if said.get("stand_in") else "measured"
    binding = {(row["workload"], row["scheduler"]) for row in rows if row["workload"] not in loose}
    error = prediction_error(rows, binding)
    if not rows:
        raise InputError(f"{summary_csv}: no placed schedule was measured, so there is no error to draw")
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    schedulers = in_order({row["scheduler"] for row in rows})
    colours = style.colours(workloads)
    markers = {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(schedulers)}
    times = np.array([[row["measured_median_ms"], row["predicted_ms"]] for row in rows])
    low, high = 0.85 * float(times.min()), 1.18 * float(times.max())
    with style.canvas(out, 4.2, f"Predicted against {source} makespan") as figure:
        axes = figure.subplots()
        style.grid(axes, "both")
        line = np.array([low, high])
        axes.fill_between(line, line * 0.9, line * 1.1, color=style.GRID, alpha=0.5, linewidth=0)
        axes.plot(line, line, color=style.MUTED, linewidth=0.9)
        for row in rows:
            # workloads beyond the palette repeat a colour, so they are drawn hollow
            colour = colours[row["workload"]]
            hollow = workloads.index(row["workload"]) >= len(style.PALETTE)
            axes.plot(
                row["measured_median_ms"],
                row["predicted_ms"],
                marker=markers[row["scheduler"]],
                markersize=5.5,
                markerfacecolor="white" if hollow else colour,
                markeredgecolor=colour if hollow else "white",
                markeredgewidth=1.1 if hollow else 0.5,
                alpha=PALE if row["workload"] in loose else None,
                linestyle="none",
            )
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        axes.set_aspect("equal", anchor="W")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low > 4 else (1, 1.5, 2, 3, 4, 5, 6, 8)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"{source} median makespan (ms)")
        axes.set_ylabel("predicted makespan (ms)")
        title = (
            f"error over {error['schedules']} schedules: median {error['median_pct']:.1f} %,\n"
            f"90th percentile {error['p90_pct']:.1f} %, worst {error['worst_pct']:.1f} %"
            if error
            else "no error: none of these predictions is binding"
        )
        if error and loose:
            title += "\npale: prediction not binding, not in the error"
        axes.set_title(title, fontweight="normal", fontsize=8.5)
        shapes = [
            Line2D([], [], color="none", marker=markers[name], mfc=style.MUTED, mec="white", label=name)
            for name in schedulers
        ]
        dots = []
        for index, name in enumerate(workloads):
            hollow = index >= len(style.PALETTE)
            face = "white" if hollow else colours[name]
            edge = colours[name] if hollow else "white"
            pale = PALE if name in loose else None
            dots.append(Line2D([], [], color="none", marker="o", mfc=face, mec=edge, alpha=pale, label=name))
        # one legend with two headings: the layout makes room for one only
        headings = [Line2D([], [], linestyle="none", label=text) for text in ("workload", " ", "scheduler")]
        handles = [headings[0], *dots, *headings[1:], *shapes]
        legend = axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.02), handlelength=1)
        for text in legend.get_texts():
            if text.get_text() in ("workload", "scheduler"):
                text.set_fontweight("bold")
