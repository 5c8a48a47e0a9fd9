"""Draws every schedule of a workload on one time axis: what was predicted above what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from multidnn.errors import InputError
from multidnn.report import style
from multidnn.report.intervals import Problems, handovers, lanes, predicted_timeline, problem_of, segments_of
from multidnn.report.records import (
    Iteration,
    Run,
    ScheduleRecord,
    Segment,
    in_order,
    read_run,
    read_schedule,
    signed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from multidnn.schedule import Activity, Timeline

LANE = 0.24  # inches per lane
BAR = 0.62  # of a lane
STRIP = 0.17  # of a lane, below the bar
GAP = 0.45  # lanes between predicted and measured
FELT = 1.005  # a slowdown below this is not worth ink


@dataclass(frozen=True)
class _Row:
    """One scheduler: its predicted timeline and its median iteration, either may be missing.

    `binds`: the run enforced the turns that the prediction assumes. `split`: the variant of the target that it uses.
    """

    record: ScheduleRecord
    timeline: "Timeline | None"
    iteration: Iteration | None
    accelerators: Sequence[str]
    binds: bool
    source: str
    split: str = ""

    @property
    def predicted(self) -> list[tuple[str, list[Segment]]]:
        return lanes(segments_of(self.timeline), self.accelerators) if self.timeline else []

    @property
    def measured(self) -> list[tuple[str, list[Segment]]]:
        return lanes(self.iteration.segments, self.accelerators) if self.iteration else []

    @property
    def height(self) -> float:
        """Height in lanes."""
        above, below = len(self.predicted), len(self.measured)
        return above + below + (GAP if above and below else 0)

    @property
    def title(self) -> str:
        parts = [f"on {self.split}"] if self.split else []
        if self.record.makespan_ms is not None:
            parts.append(f"predicted {self.record.makespan_ms:.4g} ms{'' if self.binds else ' (not binding)'}")
        if self.iteration:
            parts.append(f"{self.source} {self.iteration.makespan_ms:.4g} ms")
            if self.record.makespan_ms is not None and self.binds:
                parts.append(f"error {signed(100 * (self.record.makespan_ms / self.iteration.makespan_ms - 1))} %")
        return ", ".join(parts)


def _rows(problems: Problems, records: Sequence[ScheduleRecord], run: Run | None) -> list[_Row]:
    rows = []
    for record in records:
        problem = problem_of(problems, record)
        timeline = predicted_timeline(problem, record) if problem else None
        iteration = run.median_iteration(record.scheduler) if run else None
        if problem:
            accelerators: Sequence[str] = problem.accelerators
        else:
            accelerators = list(dict.fromkeys(name for groups in (record.placement or {}).values() for name in groups))
        if timeline or iteration:
            binds, source = (run.prediction_binds, run.source) if run else (True, "measured")
            several = isinstance(problems, Mapping) and len(problems) > 1
            split = record.target if several and record.placement is not None else ""
            rows.append(_Row(record, timeline, iteration, accelerators, binds, source, split))
    return rows


class _Pen:
    """Draws bars and text on one panel, leaving out text that does not fit."""

    def __init__(self, axes: "Axes", colours: Mapping[str, str], points_per_ms: float) -> None:
        self.axes = axes
        self.colours = colours
        self.points_per_ms = points_per_ms

    def bar(self, segment: Segment, y: float, text: str) -> None:
        """A filled bar of the instance's colour with `text` in its middle if there is room."""
        colour = self.colours[segment.instance]
        width = segment.end_ms - segment.start_ms
        self.axes.barh(y, width, BAR, left=segment.start_ms, color=colour, edgecolor="white", linewidth=0.6)
        size = 6.5
        if 0.68 * size * len(text) < width * self.points_per_ms:
            self.axes.text(
                segment.start_ms + width / 2,
                y + 0.01,
                text,
                ha="center",
                va="center_baseline",
                fontsize=size,
                color=style.on(colour),
            )

    def hold(self, activity: "Activity", y: float) -> None:
        """A hatched bar: the accelerator is held by a transition."""
        self.axes.barh(
            y,
            activity.end_ms - activity.start_ms,
            BAR,
            left=activity.start_ms,
            facecolor="white",
            edgecolor=self.colours[activity.instance],
            hatch="//////",
            linewidth=0.5,
        )

    def slowdown(self, activity: "Activity", y: float, highest: float) -> None:
        """The strip below a group's bar, darker for a greater slowdown."""
        colour = matplotlib.colormaps[style.HEAT](0.15 + 0.85 * (activity.slowdown - 1) / (highest - 1))
        width = activity.end_ms - activity.start_ms
        self.axes.barh(y + BAR / 2 + STRIP / 2 + 0.02, width, STRIP, left=activity.start_ms, color=colour, linewidth=0)

    def handover(self, before: tuple[float, float], after: tuple[float, float], colour: str) -> None:
        """An arrow from the end of a segment to the start of the next one of its instance."""
        self.axes.annotate(
            "",
            xy=after,
            xytext=before,
            arrowprops={"arrowstyle": "-|>,head_length=0.25,head_width=0.13", "color": colour, "lw": 0.8,
                        "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def _band(
    pen: _Pen, band: Sequence[tuple[str, list[Segment]]], top: float, timeline: "Timeline | None", highest: float
) -> None:
    """Draw one band (predicted when `timeline` is given, otherwise measured) with its first lane at `top`."""
    where: dict[Segment, float] = {}
    for number, (_, segments) in enumerate(band):
        for segment in segments:
            where[segment] = top + number
            if timeline is None:
                text = f"{segment.first}" if segment.first == segment.last else f"{segment.first}–{segment.last}"
                pen.bar(segment, top + number, text)
    lane = {name: top + number for number, (name, _) in enumerate(band)}
    for activity in timeline.activities if timeline else ():
        y = lane[activity.accelerator]
        if activity.kind != "group":
            pen.hold(activity, y)
            continue
        group = activity.group
        span = Segment(activity.instance, group, group, activity.accelerator, activity.start_ms, activity.end_ms)
        pen.bar(span, y, f"{group}")
        if activity.slowdown > FELT:
            pen.slowdown(activity, y, highest)
    for before, after in handovers(list(where)):
        down = 1 if where[after] > where[before] else -1
        pen.handover(
            (before.end_ms, where[before] + down * BAR / 2),
            (after.start_ms, where[after] - down * BAR / 2),
            pen.colours[before.instance],
        )


def _panel(axes: "Axes", row: _Row, pen: _Pen, highest: float) -> None:
    ticks: list[tuple[float, str]] = []
    top = 0.0
    # the word stands left of the longest name of a lane
    names = [name for band in (row.predicted, row.measured) for name, _ in band]
    aside = max([34, *(10 + 4.8 * len(name) for name in names)])
    bands = [("predicted", row.predicted, row.timeline), (row.source, row.measured, None)]
    for label, band, timeline in bands:
        if not band:
            continue
        _band(pen, band, top, timeline, highest)
        ticks += [(top + number, name) for number, (name, _) in enumerate(band)]
        end = max(segment.end_ms for _, segments in band for segment in segments)
        axes.plot([end, end], [top - 0.42, top + len(band) - 0.58], color=style.INK, linewidth=0.9)
        axes.annotate(
            label,
            xy=(0, top + (len(band) - 1) / 2),
            xycoords=("axes fraction", "data"),
            xytext=(-aside, 0),
            textcoords="offset points",
            rotation=90 if len(band) > 1 else 0,
            ha="right",
            va="center",
            fontsize=6.8,
            color=style.MUTED,
        )
        top += len(band) + GAP
    axes.set_yticks([y for y, _ in ticks], [name for _, name in ticks], fontsize=7.5)
    axes.set_ylim(top - GAP - 0.3, -0.55)
    axes.set_title(row.record.scheduler, pad=3)
    axes.set_title(row.title, loc="right", fontweight="normal", fontsize=8, color=style.MUTED, pad=3)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def _legend(figure: "Figure", instances: Mapping[str, str], holds: bool, moves: bool) -> None:
    handles: list[Patch | Line2D] = [Patch(color=colour, label=name) for name, colour in instances.items()]
    if holds:
        handles.append(Patch(facecolor="white", edgecolor=style.MUTED, hatch="//////", label="transition hold"))
    if moves:
        handles.append(Line2D([], [], color=style.MUTED, marker=">", markersize=3.5, lw=0.8, label="handover"))
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 5))


def draw_timelines(problem: Problems, schedule_paths: Sequence[Path], run_path: Path | None, out: Path) -> None:
    """Draw one row per scheduler, all on one time axis (ms from the common start).

    Predicted: each group (its number inside), holds hatched, a strip below a group that is slowed down (mean factor).
    Measured: the segments (first–last group) of the iteration with the median makespan. Arrows are handovers; the
    upright line is the makespan. Instances at once on the whole chip get a lane each; an instance whose one engine moves
    between accelerators ("gpu+dla0") has a lane of its own.

    Args:
        problem: what the schedules were made from, one problem or one by target; None leaves the predicted part out.
        schedule_paths: schedule files; markers of absent schedulers are skipped.
        run_path: the runs file; None on a target that cannot run.
        out: .svg, .pdf or .png.

    Raises:
        InputError: a file is broken, a schedule was made from other tables, the run lacks a scheduler, or there is
            nothing to draw.
    """
    found = {record.scheduler: record for record in map(read_schedule, schedule_paths) if record.absent is None}
    run = read_run(run_path) if run_path is not None else None
    rows = _rows(problem, [found[name] for name in in_order(set(found))], run)
    if not rows:
        raise InputError(f"{out}: no schedule has a predicted timeline or a run, so there is no timeline to draw")
    activities = [activity for row in rows if row.timeline for activity in row.timeline.activities]
    segments = [s for row in rows for band in (row.predicted, row.measured) for _, lane in band for s in lane]
    known = next(iter(problem.values()), None) if isinstance(problem, Mapping) else problem
    names = [*(known.instances if known else ()), *sorted(segment.instance for segment in segments)]
    colours = style.colours(names)
    longest = max(segment.end_ms for segment in segments)
    highest = max((activity.slowdown for activity in activities), default=1.0)
    title = f"Timelines of {rows[0].record.workload}"
    height = 0.75 + sum(LANE * row.height + 0.27 for row in rows)
    with style.canvas(out, height, title) as figure:
        panels = figure.subplots(
            len(rows), 1, squeeze=False, sharex=True, height_ratios=[row.height + 0.2 for row in rows]
        )[:, 0]
        # the panel is about five sixths of the figure, an inch has 72 points
        scale = 0.8 * style.WIDTH * 72 / longest
        for axes, row in zip(panels, rows, strict=True):
            _panel(axes, row, _Pen(axes, colours, scale), highest)
        panels[-1].set_xlim(0, 1.01 * longest)
        panels[-1].set_xlabel("time (ms)")
        if highest > FELT:
            mapping = matplotlib.colors.LinearSegmentedColormap.from_list(
                "slowdown", matplotlib.colormaps[style.HEAT]([0.15 + 0.85 * i / 255 for i in range(256)])
            )
            scalar = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(1, highest), mapping)
            bar = figure.colorbar(
                scalar, ax=list(panels), label="predicted slowdown (×), strip below a group", aspect=30, pad=0.015,
                fraction=0.03,
            )  # fmt: skip
            bar.outline.set_visible(False)
        moves = any(handovers(list(s)) for row in rows for s in (_all(row.predicted), _all(row.measured)))
        _legend(figure, colours, any(activity.kind != "group" for activity in activities), moves)


def _all(band: Sequence[tuple[str, list[Segment]]]) -> list[Segment]:
    return [segment for _, lane in band for segment in lane]
