"""Makes tables, a figure and small raw samples of what `benchmark.py` left in its folders.

    python docs/benchmarks/cuda/tables.py FOLDER ... --samples DIRECTORY [--figure FILE.svg]
    python docs/benchmarks/cuda/tables.py SAMPLES.json ...

Each folder is one run of the benchmark (one batch size). The tables are printed as Markdown; `--samples` gets one JSON per
folder with every makespan behind them. Of such a JSON the table of the sweeps is printed.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runs import TUNED, Run, read_runs
from scipy.stats import spearmanr

from multidnn.errors import exit_on_input_error
from multidnn.files import read_json, read_yaml, write_json, write_text

Row = Mapping[str, Any]

PLAN = read_yaml(Path(__file__).with_name("workloads.yaml"))


@dataclass(frozen=True)
class Sweep:
    """All single-transition placements of a pair on the fixed split; times are medians in ms.

    Attributes:
        errors: of prediction, in percent: (median, 90th percentile) over all placements.
        spearman: rank correlation over the random schedules of up to two transitions.
        naive: the best placement in which nothing moves, by the rounds of everything.
        chosen: what haxconn returns with one transition: the lowest prediction.
        tuned: of the placements with the lowest predictions and naive's, the best by the rounds of everything.
        optimum: the best by the rounds of everything.
        lowest: the lowest of the final rounds, which is biased downwards by picking among noisy medians.
    """

    workload: str
    batch: int
    placements: int
    errors: tuple[float, float]
    spearman: float
    naive: float
    chosen: float
    tuned: float
    optimum: float
    lowest: float

    def share(self, reached: float, best: float) -> float | None:
        """Return how much of the gain of `best` over naive a schedule that takes `reached` has, in percent; None below
        1 % of gain, where noise decides."""
        possible = self.naive / best - 1
        return 100 * (self.naive / reached - 1) / possible if possible >= 0.01 else None


def recorded_sweeps(source: Path) -> Iterator[tuple[str, int, Mapping[str, Row]]]:
    """Yield workload, batch and schedules by name of each sweep in `source`, a folder of the benchmark or a JSON that
    `write_samples` made of one; there keys without a value are missing."""
    if source.is_dir():
        for path in sorted((source / "sweeps").glob("*.json")):
            content = read_json(path)
            yield content["workload"], content["batch"], content["schedules"]
    else:
        content = read_json(source)
        for workload, rows in content["sweeps"].items():
            yield workload, content["environment"]["target"]["batch"], rows


def candidates(rows: Mapping[str, Row], single: Sequence[str]) -> list[str]:
    """Return the schedules in `single` that are predicted best, one per placement, as many as the plan says, and naive's."""
    found: dict[frozenset[tuple[Any, ...]], str] = {}
    for name in sorted(single, key=lambda name: float(rows[name]["predicted_ms"])):
        segments = ((where, *segment) for where, turns in rows[name]["order"].items() for segment in turns)
        found.setdefault(frozenset(segments), name)
        if len(found) == PLAN["candidates"]:
            break
    naive = min(
        (name for name in single if name.startswith("apart")), key=lambda name: float(rows[name]["predicted_ms"])
    )
    return [*found.values(), naive]


def sweeps(source: Path) -> Iterator[Sweep]:
    """Yield what the sweeps in `source` say; naive, chosen, tuned and optimum are picked by one set of rounds or by
    prediction, and compared by the final rounds, which had no part in picking them."""
    for workload, batch, rows in recorded_sweeps(source):
        single = [name for name in rows if name.startswith(("apart", "split"))]
        first = {name: float(np.median(row["sweep_ms"])) for name, row in rows.items() if row.get("sweep_ms")}
        final = {name: float(np.median(rows[name]["final_ms"])) for name in single if rows[name].get("final_ms")}
        errors = [100 * abs(rows[name]["predicted_ms"] / first[name] - 1) for name in single]
        drawn = [name for name in rows if name.startswith("random")]
        yield Sweep(
            workload,
            batch,
            len(single),
            (float(np.median(errors)), float(np.percentile(errors, 90))),
            float(spearmanr([rows[n]["predicted_ms"] for n in drawn], [first[n] for n in drawn]).statistic),
            final[min((n for n in single if n.startswith("apart")), key=first.__getitem__)],
            final[min(single, key=lambda name: float(rows[name]["predicted_ms"]))],
            final[min(candidates(rows, single), key=first.__getitem__)],
            final[min(single, key=first.__getitem__)],
            min(final.values()),
        )


def sweep_table(found: Sequence[Sweep]) -> str:
    """Return the sweeps as a table."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f} %"

    def shares(sweep: Sweep, best: float) -> str:
        return ", ".join(percent(sweep.share(reached, best)) for reached in (sweep.chosen, sweep.tuned))

    lines = [
        "| pair, batch | placements | error median, p90 | Spearman, random | naive | haxconn | tuned | optimum | share reached, tuned | of the lowest, tuned |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for s in found:
        lines.append(
            f"| {s.workload}, {s.batch} | {s.placements} | {s.errors[0]:.1f}, {s.errors[1]:.1f} % | {s.spearman:.3f} | "
            f"{s.naive:.3f} | {s.chosen:.3f} | {s.tuned:.3f} | {s.optimum:.3f} | {shares(s, s.optimum)} | {shares(s, s.lowest)} |"
        )
    return "\n".join(lines)


def fixed_table(found: Sequence[Run], split: str) -> str:
    """Return how haxconn and tuned compare with the best placed baseline on the fixed split as a table."""
    lines = [
        "| workload | naive | best placed baseline | haxconn, predicted | tuned, predicted | to the best baseline |",
        "|---|---|---|---|---|---|",
    ]
    for run in found:
        best, ours = run.best_baseline(split), (f"haxconn@{split}", f"{TUNED}@{split}")
        times = " | ".join(f"{run.median(name):.3f}, {run.predicted_ms[name]:.3f}" for name in ours)
        ratios = ", ".join(f"{run.median(name) / run.median(best):.3f}" for name in ours)
        lines.append(
            f"| {run.workload} | {run.median(f'naive@{split}'):.3f} | {run.median(best):.3f} ({best.partition('@')[0]}) | "
            f"{times} | {ratios} |"
        )
    return "\n".join(lines)


def auto_table(found: Sequence[Run]) -> str:
    """Return what `partitions: auto` gives as a table: naive and haxconn each on the split that its prediction chose, tuned
    on the one where it measured the fastest."""
    lines = [
        "| workload | whole | streams | naive, split | haxconn, split | tuned, split | gain over streams: split, transitions | recommended, to the best of whole, streams and naive |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in found:
        choices, gain, (best, ratio) = run.choices(), run.gain(), run.recommended()
        placed = (f"{run.median(choices[name]):.3f} ({run.splits[name]})" for name in ("naive", "haxconn", TUNED))
        lines.append(
            f"| {run.workload} | {run.median('whole'):.3f} | {run.median('streams'):.3f} | {' | '.join(placed)} | "
            f"{gain['split_pct']:.1f}, {gain['transitions_pct']:.1f} % | {best}, {ratio:.3f} |"
        )
    return "\n".join(lines)


def accuracy(found: Sequence[Run]) -> str:
    """Return what predictions, hand-overs and gaps of all placed schedules come to as a list."""
    errors = [error for run in found for error in run.errors()]
    idle = [100 * share for run in found for share in run.idle.values()]
    haxconn = [100 * share for run in found for name, share in run.idle.items() if name.startswith("haxconn@")]
    handovers = [1000 * ms for run in found for ms in run.handover_ms]
    wrong = [run.workload for run in found if not run.outputs_ok]
    return "\n".join(
        [
            f"- {len(errors)} placed schedules, error of the predicted makespan {_spread(errors)} %",
            f"- share of the makespan without a segment on the chain that decides it {_spread(idle)} %, haxconn {_spread(haxconn)} %",
            f"- {len(handovers)} hand-overs, {_spread(handovers)} µs",
            f"- outputs {'differ in ' + ', '.join(wrong) if wrong else 'equal those on one accelerator within the tolerance'}",
        ]
    )


def _spread(values: Sequence[float]) -> str:
    median, p90, largest = np.percentile(values, [50, 90, 100])
    return f"{median:.2f} at the median, {p90:.2f} at the 90th percentile, {largest:.2f} at most"


def isolation_table(folder: Path) -> str:
    """Return the latencies in `folder` as a table."""
    lines = ["| case | condition | p50 ms | p99 ms | p99 to alone | others per s |", "|---|---|---|---|---|---|"]
    for path in sorted((folder / "isolation").glob("*.json")):
        content = read_json(path)
        for name, entry in content["conditions"].items():
            others = ", ".join(f"{other} {pace:.0f}" for other, pace in entry["beside_per_s"].items())
            p50, p99 = entry["p50"], entry["p99"]
            lines.append(
                f"| {content['name']} | {name} | {p50['ms']:.3f} | {p99['ms']:.3f} | {p99['ratio']:.2f} | {others or '-'} |"
            )
    return "\n".join(lines)


def write_samples(folder: Path, out: Path) -> None:
    """Write every makespan of `folder`: of a sweep's placements four each, with the order of those run once more."""
    content: dict[str, Any] = {"sweeps": {}, "runs": {}, "isolation": {}}
    for path in sorted((folder / "sweeps").glob("*.json")):
        swept = read_json(path)
        content["environment"] = swept["environment"]
        content["sweeps"][path.stem] = {
            name: {key: value for key, value in row.items() if value and (key != "order" or row["final_ms"])}
            for name, row in swept["schedules"].items()
        }
    for run in read_runs(folder):
        content["runs"][run.workload] = {
            "makespan_ms": {name: [round(ms, 4) for ms in values] for name, values in run.makespan_ms.items()},
            "idle": {name: round(share, 5) for name, share in run.idle.items()},
            "handover_ms": [round(ms, 5) for ms in run.handover_ms],
            "predicted_ms": run.predicted_ms,
            "splits": run.splits,
        }
    for path in sorted((folder / "dynamic").glob("*.json")):
        content.setdefault("dynamic", {})[path.stem] = read_json(path)["cost_of_solving"]
    for path in sorted((folder / "isolation").glob("*.json")):
        content["isolation"][path.stem] = read_json(path)["conditions"]
    for path in sorted(folder.glob("*/contention.json")):
        content.setdefault("contention_fit", {})[path.parent.name] = read_json(path)["fit"]
    write_json(out, content)
    # makespans by the thousand: one line is enough for them
    write_text(out, json.dumps(json.loads(out.read_text()), separators=(",", ":")) + "\n")


def draw(folders: Sequence[Path], out: Path) -> None:
    """Draw predicted against measured makespan of every swept placement, one panel per pair and batch."""
    from matplotlib.figure import Figure

    paths = [path for folder in folders for path in sorted((folder / "sweeps").glob("*.json"))]
    columns = 4
    figure = Figure(figsize=(3.0 * columns, 3.1 * -(-len(paths) // columns)), layout="constrained")
    for number, path in enumerate(paths):
        content = read_json(path)
        axes = figure.add_subplot(-(-len(paths) // columns), columns, number + 1)
        rows = [row for row in content["schedules"].values() if row["sweep_ms"]]
        measured = [float(np.median(row["sweep_ms"])) for row in rows]
        predicted = [row["predicted_ms"] for row in rows]
        low, high = min(measured + predicted), max(measured + predicted)
        axes.plot([low, high], [low, high], color="0.6", linewidth=0.8)
        axes.plot(measured, predicted, ".", markersize=3, color="#2c5f8a", rasterized=True)
        axes.set_title(f"{content['workload']}, batch {content['batch']}", fontsize=9)
        axes.set_xlabel("measured (ms)", fontsize=8)
        axes.set_ylabel("predicted (ms)", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.savefig(out, dpi=150)


def main() -> None:
    """Print the tables and write the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", metavar="FOLDER or SAMPLES.json")
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    for source in arguments.sources:
        if not source.is_dir() and not (source.suffix == ".json" and source.is_file()):
            parser.error(f"{source}: no such folder; benchmark.py --out makes it")
    folders = [source for source in arguments.sources if source.is_dir()]
    if folders and not arguments.samples:
        parser.error("--samples is needed, where the samples of a folder go")
    fixed = PLAN["fixed"]
    found = [sweep for source in arguments.sources for sweep in sweeps(source)]
    if found:
        print(sweep_table(found))
    for folder in folders:
        print(f"\n{folder.name}")
        if (folder / "isolation").is_dir():
            print(f"\n{isolation_table(folder)}")
        if runs := list(read_runs(folder)):
            print(f"\n{fixed_table(runs, fixed)}\n\n{auto_table(runs)}\n\n{accuracy(runs)}")
        write_samples(folder, arguments.samples / f"{folder.name}.json")
    if arguments.figure:
        draw(folders, arguments.figure)


if __name__ == "__main__":
    with exit_on_input_error():
        main()
