"""Draws a workload that ran while it was solved: each iteration as it was measured, and what solving cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jsonschema import Draft202012Validator
from matplotlib.lines import Line2D

from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TIME = {"type": "number", "minimum": 0}
_INDEX = {"type": "integer", "minimum": 0}
_OPTIONAL = {"type": ["number", "null"], "minimum": 0}
_TIMES = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 1}
_FILE = Draft202012Validator(
    {
        "type": "object",
        "required": ["workload", "phases", "events", "iterations", "schedules", "cost_of_solving"],
        "properties": {
            "phases": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["cause", "instances", "start_s", "first_improvement_s", "optimum_s", "proved_s"],
                    "properties": {
                        "instances": {"type": "array", "items": {"type": "string"}},
                        "start_s": _TIME,
                        **dict.fromkeys(("first_improvement_s", "optimum_s", "proved_s"), _OPTIONAL),
                    },
                },
            },
            "events": {
                "type": "array",
                "items": {"type": "object", "required": ["time_s", "kind"], "properties": {"time_s": _TIME}},
            },
            "iterations": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["phase", "time_s", "schedule", "makespan_ms"],
                    "properties": {
                        **dict.fromkeys(("phase", "schedule"), _INDEX),
                        **dict.fromkeys(("time_s", "makespan_ms"), _TIME),
                    },
                },
            },
            "schedules": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["predicted"],
                    "properties": {"predicted": {"type": "object", "required": ["makespan_ms"]}},
                },
            },
            "cost_of_solving": {
                "type": "object",
                "properties": {
                    "makespan_ms": {
                        "type": "object",
                        "required": ["paused", "solving"],
                        "properties": {"paused": _TIMES, "solving": _TIMES},
                    },
                    "not_measured": {"type": "string"},
                },
                "anyOf": [{"required": ["makespan_ms", "ratio"]}, {"required": ["not_measured"]}],
            },
        },
    }
)


def draw_dynamic(path: Path, out: Path) -> None:
    """Draw dynamic/{workload}.json: one panel per phase above, what solving beside the run costs below.

    Above: every iteration (its start in s since the phase began, its makespan in ms), the predicted makespan of the
    schedule it ran as a step, and an upright line where a better schedule was taken up or the optimum was proved.
    Below: the makespans of one schedule with the solver at work and with it paused, each sample and the median.

    Args:
        out: .svg, .pdf or .png.

    Raises:
        InputError: the file is missing or broken.
    """
    content = _read(path)
    phases, cost = content["phases"], content["cost_of_solving"]
    with style.canvas(out, 4.0, f"{content['workload']} while it was solved") as figure:
        parts: Any = figure.subfigures(2, 1, height_ratios=[2.4, 1])
        above, below = parts
        panels = above.subplots(1, len(phases), squeeze=False, sharey=True)[0]
        for number, axes in enumerate(panels):
            _phase(axes, content, number)
        panels[0].set_ylabel("makespan (ms)")
        panels[0].set_ylim(bottom=0)
        _legend(above)
        _cost(below.subplots(), cost)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    error = min(_FILE.iter_errors(content), key=lambda found: list(map(str, found.absolute_path)), default=None)
    if error is not None:
        place = ".".join(map(str, error.absolute_path))
        text = error.message if len(error.message) <= 200 else f"{error.message[:200]}..."
        raise InputError(f"{path}: {place + ': ' if place else ''}{text}; delete the file to make it again")
    for number, iteration in enumerate(content["iterations"]):
        for key, listed in (("phase", "phases"), ("schedule", "schedules")):
            if iteration[key] >= len(content[listed]):
                raise InputError(
                    f"{path}: iterations.{number}.{key}: found {iteration[key]}, there are {len(content[listed])}; "
                    "delete the file to make it again"
                )
    return content


def _phase(axes: "Axes", content: Mapping[str, Any], number: int) -> None:
    phase = content["phases"][number]
    own = [entry for entry in content["iterations"] if entry["phase"] == number]
    begin = phase["start_s"]
    end = max((entry["time_s"] for entry in own), default=begin)
    times = [entry["time_s"] - begin for entry in own]
    predicted = [content["schedules"][entry["schedule"]]["predicted"]["makespan_ms"] for entry in own]
    axes.plot(times, [entry["makespan_ms"] for entry in own], "o", color=style.PALETTE[0], markersize=2.6, alpha=0.75)
    axes.step(times, predicted, where="post", color=style.INK, linewidth=1.0)
    for event in content["events"]:
        if event["kind"] in _MARKS and begin <= event["time_s"] <= end:
            axes.axvline(event["time_s"] - begin, **_MARKS[event["kind"]])
    style.grid(axes)
    before = content["phases"][number - 1]["instances"] if number else []
    axes.set_title(_title(before, phase["instances"]), fontsize=8)
    said = [("better", phase["first_improvement_s"]), ("best", phase["optimum_s"]), ("proved", phase["proved_s"])]
    shown = ", ".join(f"{word} {_seconds(value)}" for word, value in said if value is not None)
    axes.set_xlabel(f"time since then (s)\n{shown or 'nothing better, nothing proved'}")


_MARKS: dict[str, dict[str, Any]] = {
    "adopted": {"color": style.PALETTE[1], "linewidth": 1.1},
    "optimal": {"color": style.PALETTE[2], "linewidth": 1.1, "linestyle": "--", "zorder": 3},
    "solver_lost": {"color": style.PALETTE[3], "linewidth": 1.1, "linestyle": ":"},
}


def _title(before: Sequence[str], now: Sequence[str]) -> str:
    """Who is there at the start, afterwards who came or went."""
    came, went = [name for name in now if name not in before], [name for name in before if name not in now]
    if not before:
        return _names(came)
    return " ".join(
        f"{_names(names)} {word}{'' if len(names) > 1 else 's'}"
        for names, word in ((came, "join"), (went, "leave"))
        if names
    )


def _names(instances: Sequence[str]) -> str:
    text = " + ".join(instances)
    return text if len(text) <= 24 else f"{len(instances)} instances"


def _seconds(value: float) -> str:
    return f"{1e3 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def _legend(figure: Any) -> None:
    handles = [
        Line2D([], [], color=style.PALETTE[0], marker="o", markersize=3, linestyle="none", label="measured"),
        Line2D([], [], color=style.INK, linewidth=1.0, label="predicted"),
        Line2D([], [], label="taken up", **_MARKS["adopted"]),
        Line2D([], [], label="proved optimal", **_MARKS["optimal"]),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))


def _cost(axes: "Axes", cost: Mapping[str, Any]) -> None:
    if "not_measured" in cost:
        axes.set_axis_off()
        axes.text(0, 0.5, f"cost of solving not measured: {cost['not_measured']}", va="center", wrap=True)
        return
    states = (("solver paused", "paused"), ("solver at work", "solving"))
    for row, (_, state) in enumerate(states):
        samples = np.array(cost["makespan_ms"][state])
        # spread over the row in the order they were measured, so that equal samples do not hide each other
        heights = row + 0.5 * (np.arange(len(samples)) / max(1, len(samples) - 1) - 0.5)
        axes.plot(samples, heights, "o", color=style.PALETTE[row], markersize=2.6, alpha=0.75)
        axes.plot([np.median(samples)] * 2, [row - 0.36, row + 0.36], color=style.INK, linewidth=1.2)
    axes.set_yticks(range(len(states)), [label for label, _ in states])
    axes.set_ylim(len(states) - 0.45, -0.55)
    style.grid(axes, "x")
    change = 100 * (cost["ratio"] - 1)
    medians = [float(np.median(cost["makespan_ms"][state])) for _, state in states]
    axes.set_title(
        f"What solving costs: median {medians[0]:.4g} ms paused, {medians[1]:.4g} ms at work ({change:+.1f} %)",
        fontsize=8,
    )
    axes.set_xlabel("makespan of the last schedule (ms)")
