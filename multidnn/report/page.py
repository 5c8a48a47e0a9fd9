"""Writes the summary as one self-contained HTML page: readable on a phone, in print, and without a network."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json, write_text
from multidnn.report.conditions import energy_cells, notes, small_print
from multidnn.report.explanation import read_explanations
from multidnn.report.records import BASELINES, in_order, signed
from multidnn.report.splits import gain_sentence, listed, short
from multidnn.schedule.wording import HEADINGS, MEANINGS

MEANING = {
    "serial": "all instances one after another on one accelerator (the paper's GPU only)",
    "naive": "each network whole on one accelerator (the paper's GPU & DLA)",
    "mensa": "greedy per group for each network by itself, no model of running together",
    "herald": "balances load over accelerators, ignores transitions",
    "h2h": "computation and communication aware mapping, ignores contention",
    "haxconn": "best placement under the contention model, found with Z3",
    "tuned": "the fastest when the schedules that haxconn predicts best and the baselines were measured beside each other",
    "exhaustive": "best placement by trying every one",
    "dynamic": "haxconn that goes on improving while the networks run",
    "whole": "one network after another, each on the whole chip",
    "streams": "all networks at once on the whole chip, left to the operating system",
    "artifact": "what the paper's artifact chose",
}


def _number(value: float | None) -> str:
    """Four significant digits, without a trailing exponent; an en dash for nothing."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 3)}f}"


def _block(
    rows: list[tables.Row],
    unstable: Mapping[str, float],
    binds: bool,
    energy: Mapping[str, tuple[float | None, str]],
    splits: Mapping[str, str],
) -> list[dict[str, Any]]:
    """One dictionary per row with its text cells, its bar as percent of the slowest, and the ratio to the best baseline.

    A prediction that does not bind has no error. `energy`: millijoules and a line on them, by scheduler. `splits`: which
    split of the chip a schedule uses, where there are several.
    """
    times = [row["measured_median_ms"] or row["predicted_ms"] for row in rows]
    longest = max((time for time in times if time), default=1.0)
    best = min(
        (row["measured_median_ms"] for row in rows if row["scheduler"] in BASELINES and row["measured_median_ms"]),
        default=None,
    )
    cells = []
    for row, time in zip(rows, times, strict=True):
        millijoules, rails = energy.get(row["scheduler"], (None, ""))
        median, predicted, gain = row["measured_median_ms"], row["predicted_ms"], row["gain_over_best_baseline_pct"]
        cells.append(
            {
                "scheduler": row["scheduler"],
                "split": splits.get(row["scheduler"], ""),
                "meaning": MEANING.get(row["scheduler"], ""),
                "recommended": row["recommended"],
                "unstable": f"{100 * unstable[row['scheduler']]:.0f} %" if row["scheduler"] in unstable else "",
                "predicted": _number(predicted),
                "median": _number(median),
                "p95": _number(row["measured_p95_ms"]),
                "error": f"{signed(100 * (predicted / median - 1))} %" if median and predicted and binds else "–",
                "fps": _number(row["fps"]),
                "ratio": f"{best / median:.2f}×" if best and median else "–",
                "gain": f"{signed(gain)} %" if gain is not None else "–",
                "sign": "" if gain is None else "up" if gain >= 0 else "down",
                "energy": _number(millijoules),
                "rails": rails,
                "bar": f"{100 * time / longest:.1f}" if time else "0",
            }
        )
    return cells


def write_page(summary_csv: Path, out: Path, schedules: Path | None = None) -> None:
    """Write the page of `summary_csv` and its sidecar summary.json to `out`.

    One table per workload: predicted and measured makespan (ms), error, frames per second, ratio to the best baseline,
    the recommended row marked, the reason below, and the schedulers that are absent with why. What is known of a run on a
    board (`conditions`) stands above and below its table. Where `schedules`, the
    folder of {workload}/{scheduler}.json, is given, what explains each placed schedule follows.

    Raises:
        InputError: the table, its sidecar or a schedule is missing or broken.
    """
    rows = tables.read(summary_csv, tables.SUMMARY)
    path = Path(summary_csv).with_suffix(".json")
    sidecar = read_json(path)
    for key in ("absent", "recommendations", "prediction_error", "outputs_ok", "instances", "unstable"):
        if key not in sidecar:
            raise InputError(f"{path}: key {key!r} is missing; delete the file to make it again")
    target = sidecar.get("target")
    workloads = []
    for name in dict.fromkeys([*sidecar["instances"], *(row["workload"] for row in rows)]):
        block = [row for row in rows if row["workload"] == name]
        schedulers = [row["scheduler"] for row in block]
        binds = name not in sidecar.get("not_binding", ())
        splits = sidecar.get("splits", {}).get(name, {})
        gain = sidecar.get("gain_over_streams", {}).get(name)
        fastest = next((row["scheduler"] for row in block if row["recommended"]), "")
        energy = energy_cells(sidecar.get("energy", {}).get(name), schedulers)
        workloads.append(
            {
                "name": name,
                "binds": binds,
                "notes": notes(sidecar, name),
                "small": small_print(sidecar, name),
                "energy": energy is not None,
                "instances": sidecar["instances"].get(name, {}),
                "rows": _block(
                    block,
                    sidecar["unstable"].get(name, {}),
                    binds,
                    energy or {},
                    {scheduler: short(split, target) for scheduler, split in splits.items()},
                ),
                "gain": gain_sentence(gain, splits, target, fastest) if gain else "",
                "explained": read_explanations(schedules / name, schedulers) if schedules else [],
                "why": sidecar["recommendations"].get(name, ""),
                "outputs_ok": sidecar["outputs_ok"].get(name),
                "absent": sidecar["absent"].get(name, {}),
            }
        )
    environment = Environment(
        loader=PackageLoader("multidnn.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("summary.html").render(
        target=target,
        splits=listed(sidecar.get("environment", {}), target) if sidecar.get("splits") else {},
        workloads=workloads,
        measured=any(row["measured_median_ms"] is not None for row in rows),
        error=sidecar["prediction_error"],
        stand_in=sidecar.get("stand_in", []),
        uncounted=sidecar.get("not_binding", []),
        joinable=sidecar.get("kind") != "jetson",
        wrong=[name for name, ok in sidecar["outputs_ok"].items() if not ok],
        headings=HEADINGS,
        columns=MEANINGS,
        meanings={name: MEANING[name] for name in in_order({row["scheduler"] for row in rows}) if name in MEANING},
    )
    write_text(out, text)
