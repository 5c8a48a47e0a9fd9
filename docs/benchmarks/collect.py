"""Collects the figures of a finished pipeline run, with its raw samples, for docs/benchmarks.

    uv run snakemake --cores 4 all
    uv run python docs/benchmarks/collect.py --target host --out docs/benchmarks/host

writes DIR/samples.json (every makespan, hand-over and idle time, the environment), copies summary.csv and the tables it
rests on, and prints the tables of docs/benchmarks/README.md.
"""

import argparse
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from multidnn import tables
from multidnn.errors import InputError, exit_on_input_error
from multidnn.files import read_json, write_json

BASELINES = ("serial", "naive", "mensa", "herald", "h2h")
CHIP = ("whole", "streams")


def by_scheduler(run: dict[str, Any], key: str) -> dict[str, list[float]]:
    """Return the values of `key` per scheduler, in the order they were measured."""
    found: dict[str, list[float]] = {}
    for iteration in run["iterations"]:
        found.setdefault(iteration["scheduler"], []).append(iteration[key])
    return found


def moves(schedule: dict[str, Any]) -> int:
    """Return how many transitions a schedule has."""
    return sum(a != b for placed in schedule["placement"].values() for a, b in itertools.pairwise(placed))


def row(*cells: Any) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Collect and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="host")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    results = Path("results") / arguments.target
    summary = tables.read(results / "summary.csv", tables.SUMMARY)
    paths = sorted((results / "runs").glob("*.json"))
    if not paths:
        raise InputError(f"{results / 'runs'}: no runs; make them with `snakemake --cores 4 all`")
    runs = {path.stem: read_json(path) for path in paths}
    samples: dict[str, Any] = {}
    idle: list[float] = []
    handover: list[float] = []
    errors: list[float] = []
    print(row("workload", *BASELINES[:2], "haxconn", *CHIP, "haxconn / best baseline", "transitions", "recommended"))
    print(row(*["---"] * 9))
    for workload, run in runs.items():
        makespan, gaps = by_scheduler(run, "makespan_ms"), by_scheduler(run, "idle_ms")
        median = {name: float(np.median(times)) for name, times in makespan.items()}
        placed = [name for name in makespan if name not in CHIP]
        for name in placed:
            idle += [100 * gap / whole for gap, whole in zip(gaps[name], makespan[name], strict=True)]
            handover += [1000 * gap for gap in run["handover_ms"][name]]
        rows = {entry["scheduler"]: entry for entry in summary if entry["workload"] == workload}
        errors += [100 * abs(rows[name]["predicted_ms"] / median[name] - 1) for name in placed]
        schedule = read_json(results / "schedules" / workload / "haxconn.json")
        best = min(median[name] for name in BASELINES if name in median)
        print(
            row(
                workload,
                *(f"{median[name]:.1f}" for name in (*BASELINES[:2], "haxconn", *CHIP)),
                f"{median['haxconn'] / best:.3f}",
                moves(schedule),
                next(name for name, entry in rows.items() if entry["recommended"]),
            )
        )
        samples[workload] = {
            "makespan_ms": makespan,
            "idle_ms": gaps,
            "handover_ms": run["handover_ms"],
            "outputs": run["outputs"],
            "predicted_ms": {name: entry["predicted_ms"] for name, entry in rows.items()},
            "haxconn": {key: schedule[key] for key in ("status", "value", "bound", "solve_s", "order")},
            "environment": run["environment"],
        }
    fit = read_json(results / "contention.json")["fit"]
    print()
    print(f"prediction of placed schedules: median error {np.median(errors):.2f} %, worst {max(errors):.2f} %")
    print(
        f"hand-over: median {np.median(handover):.1f} us over {len(handover)}, 95 % below {np.percentile(handover, 95):.1f} us"
    )
    print(f"makespan not in segments of the deciding chain: median {np.median(idle):.3f} %, worst {max(idle):.3f} %")
    print(f"contention, held out: median error {fit['median_error_pct']:.2f} %, p90 {fit['p90_error_pct']:.2f} %")
    print(
        f"outputs equal to the single accelerator's: {all(o['ok'] for r in runs.values() for o in r['outputs'].values())}"
    )
    write_json(arguments.out / "samples.json", {"workloads": samples, "contention_fit": fit})
    for name in ("summary.csv", "layer_results.csv", "emc_results.csv", "transition_results.csv", "contention.json"):
        shutil.copyfile(results / name, arguments.out / name)


if __name__ == "__main__":
    with exit_on_input_error():
        main()
