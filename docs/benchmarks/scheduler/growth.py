"""How the time to proof grows with groups, instances, accelerators, transitions and severity, one at a time.

    uv run python docs/benchmarks/scheduler/growth.py --out docs/benchmarks/scheduler/growth.json

Everything else stays at two instances of ten groups on two accelerators, two transitions, largest slowdown 1.3. An axis
ends behind the first value at which fewer than half of the problems are proved within the limit. Writes every sample and,
beside it, the figure growth.svg.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from instances import Size
from trials import Sample, Trial, environment, in_processes, middle_and_worst, print_table, require_counts, solve_trial

from multidnn.errors import InputError, exit_on_input_error
from multidnn.files import write_json
from multidnn.schedule.workload import OBJECTIVES

BASE = Size(2, 10, 2, 2)
SEVERITY = 1.3
AXES: dict[str, tuple[Any, ...]] = {
    "groups": (4, 6, 10, 15, 20, 30, 40, 60, 80),
    "instances": (1, 2, 3, 4, 5, 6, 8),
    "accelerators": (2, 3, 4, 5, 6, 8),
    "transitions": (0, 1, 2, 3, 4, 6, None),
    "severity": (1.0, 1.1, 1.3, 1.6, 2.0, 3.0, 4.0),
}
HEADER = ("axis", "value", "problems", "proved", "solving, median / worst s", "gap of the others, median / worst %")


def trial(axis: str, value: Any, seed: int, options: argparse.Namespace) -> Trial:
    """Return the base problem with `value` on one axis."""
    size = BASE if axis == "severity" else replace(BASE, **{axis: value})
    severity = value if axis == "severity" else SEVERITY
    return Trial(size, severity, seed, options.objective, False, options.time_limit)


def label(value: Any) -> str:
    """Return how a value of an axis is written."""
    return "any" if value is None else f"{value:g}"


def points(samples: Sequence[Sample]) -> list[tuple[str, Any, list[Sample]]]:
    """Return (axis, value, samples) in the order measured."""
    keys = dict.fromkeys((sample["axis"], sample["at"]) for sample in samples)
    return [(*key, [sample for sample in samples if (sample["axis"], sample["at"]) == key]) for key in keys]


def rows(samples: Sequence[Sample]) -> list[list[str]]:
    """Return the table of README.md, one row per axis and value."""
    found = []
    for axis, value, own in points(samples):
        proved = sum(sample["status"] == "optimal" for sample in own)
        gaps = [sample["gap_pct"] for sample in own if sample["status"] != "optimal" and sample["gap_pct"] is not None]
        times = middle_and_worst([sample["seconds"] for sample in own], ".3f")
        found.append([axis, label(value), str(len(own)), str(proved), times, middle_and_worst(gaps, ".2f")])
    return found


def draw(samples: Sequence[Sample], time_limit_s: float, out: Path) -> None:
    """Draw the time to proof of every problem, one panel per axis; solves that the limit ended are hollow."""
    from multidnn.report.style import MUTED, PALETTE, canvas

    axes = [axis for axis in AXES if any(sample["axis"] == axis for sample in samples)]
    with canvas(out, height=2.6, title="Time to proof", width=2 * len(axes) + 0.6) as figure:
        panels = figure.subplots(1, len(axes), sharey=True, squeeze=False)[0]
        for panel, axis in zip(panels, axes, strict=True):
            own = [(value, found) for name, value, found in points(samples) if name == axis]
            for place, (_, found) in enumerate(own):
                for sample in found:
                    proved = sample["status"] == "optimal"
                    panel.plot(
                        place, sample["seconds"], "o", markersize=4, markeredgecolor=PALETTE[0],
                        markerfacecolor=PALETTE[0] if proved else "none",
                    )  # fmt: skip
            middles = [median(sample["seconds"] for sample in found) for _, found in own]
            panel.plot(range(len(own)), middles, "-", color=PALETTE[1], linewidth=1.2)
            panel.axhline(time_limit_s, color=MUTED, linewidth=0.7, linestyle=":")
            panel.set_xticks(range(len(own)), [label(value) for value, _ in own])
            panel.set_xlabel(axis)
            panel.set_yscale("log")
            panel.grid(axis="y")
        panels[0].set_ylabel("seconds (hollow: not proved)")


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", default=",".join(AXES), help=f"some of {', '.join(AXES)}; all")
    parser.add_argument("--most", type=int, help="values of each axis to measure, from the smallest; all")
    parser.add_argument("--count", type=int, default=5, help="problems per value; 5")
    parser.add_argument("--objective", choices=OBJECTIVES, default="latency")
    parser.add_argument("--time-limit", type=float, default=60, help="seconds per problem; 60")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once; more than 1 disturbs the times; 1")
    parser.add_argument("--out", type=Path, required=True, help="the samples, JSON; the figure goes beside it")
    options = parser.parse_args()
    require_counts(options, "count", "jobs")
    head = {"time_limit_s": options.time_limit, "environment": environment(), "jobs": options.jobs}
    samples: list[Sample] = []
    for axis in options.axes.split(","):
        if axis not in AXES:
            raise InputError(f"--axes: found {axis!r}, expected some of {', '.join(AXES)}")
        for value in AXES[axis][: options.most]:
            trials = [trial(axis, value, seed, options) for seed in range(options.count)]
            found = list(in_processes(solve_trial, trials, options.jobs))
            samples += [{"axis": axis, "at": value, **sample} for sample in found]
            write_json(options.out, {**head, "samples": samples})
            proved = sum(sample["status"] == "optimal" for sample in found)
            slowest = max(sample["seconds"] for sample in found)
            print(f"{axis} {label(value)}: {proved}/{len(found)} proved, slowest {slowest:.2f} s", flush=True)
            if 2 * proved < len(found):
                break
    print()
    print_table(HEADER, rows(samples))
    draw(samples, options.time_limit, options.out.with_suffix(".svg"))


if __name__ == "__main__":
    with exit_on_input_error():
        main()
