"""Makes summary.csv and its sidecar: every schedule of every workload, predicted beside measured, with what to use."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.measure.sampling import UNSTABLE_SPREAD, Statistics
from multidnn.report.advice import recommendation
from multidnn.report.conditions import randomly_calibrated
from multidnn.report.records import BASELINES, Run, ScheduleRecord, in_order, read_run, read_schedule
from multidnn.report.splits import chosen_splits, gain_over_streams

if TYPE_CHECKING:
    from multidnn.schedule.workload import Workload

_log = logging.getLogger(__name__)

STATISTIC = "median; 95th percentile by linear interpolation; gain = 100 (best baseline's median / this median - 1)"


def workload_rows(
    workload: str, instances: int, schedules: Mapping[str, ScheduleRecord], run: Run | None
) -> list[tables.Row]:
    """Return the summary rows of one workload, in the order of the summary (columns and units: `tables.SUMMARY`).

    Args:
        workload: its name.
        instances: how many networks one iteration runs, for fps.
        schedules: the schedules that exist, by scheduler.
        run: what was measured, or None where the target cannot run; then the measured columns stay empty.

    Raises:
        InputError: the run lacks an iteration of one of the schedules.
    """
    samples = {name: np.array(run.makespans(name)) for name in schedules} if run else {}
    medians = {name: float(np.median(values)) for name, values in samples.items()}
    baseline = min((medians[name] for name in BASELINES if name in medians), default=None)
    fastest = min(in_order(set(medians)), key=medians.__getitem__, default=None)
    rows: list[tables.Row] = []
    for name in in_order(set(schedules)):
        row: tables.Row = {
            "workload": workload,
            "scheduler": name,
            "predicted_ms": schedules[name].makespan_ms,
            "recommended": name == fastest,
        }
        if name in medians:
            row["measured_median_ms"] = medians[name]
            row["measured_p95_ms"] = float(np.percentile(samples[name], 95))
            row["fps"] = 1000 * instances / medians[name]
            if baseline is not None and name not in BASELINES:
                row["gain_over_best_baseline_pct"] = 100 * (baseline / medians[name] - 1)
        rows.append(row)
    return rows


def prediction_error(rows: Sequence[tables.Row], placed: set[tuple[str, str]]) -> dict[str, Any] | None:
    """Return median, 90th percentile and worst of 100 |predicted - measured median| / measured median, in percent.

    Only the rows whose (workload, scheduler) is in `placed` count: `whole` and `streams` are no timelines, and where
    the run did not enforce the turns of a schedule its prediction did not bind. None when none was measured.
    """
    errors = {
        (row["workload"], row["scheduler"]): 100 * abs(row["predicted_ms"] / row["measured_median_ms"] - 1)
        for row in rows
        if (row["workload"], row["scheduler"]) in placed and row.get("measured_median_ms") is not None
    }
    if not errors:
        return None
    worst = max(errors, key=errors.__getitem__)
    return {
        "schedules": len(errors),
        "median_pct": float(np.median(list(errors.values()))),
        "p90_pct": float(np.percentile(list(errors.values()), 90)),
        "worst_pct": errors[worst],
        "worst": list(worst),
    }


def unstable(schedulers: Sequence[str], run: Run) -> dict[str, float]:
    """Return the spread, (third - first quartile) / median, of every scheduler whose median is not to be trusted."""
    spreads = {name: Statistics.of(run.makespans(name)) for name in schedulers}
    return {name: statistics.spread for name, statistics in spreads.items() if statistics.unstable}


def _schedules(directory: Path, workload: str, schedulers: Sequence[str] | None) -> dict[str, ScheduleRecord]:
    if schedulers is None:
        paths = sorted(directory.glob("*.json"))
    else:
        paths = [directory / f"{name}.json" for name in schedulers]
    if not paths:
        raise InputError(f"{directory}: no schedule found, expected one JSON file per scheduler")
    found = {}
    for path in paths:
        record = read_schedule(path)
        if (record.workload, record.scheduler) != (workload, path.stem):
            raise InputError(
                f"{path}: holds workload {record.workload!r}, scheduler {record.scheduler!r}; "
                f"expected {workload!r}, {path.stem!r}"
            )
        found[record.scheduler] = record
    return found


def _keep_of_board(sidecar: dict[str, Any], run: Run) -> None:
    if not run.prediction_binds:
        sidecar["not_binding"].append(run.workload)
    if run.board.get("stand_in"):
        sidecar["stand_in"].append(run.workload)
    if run.board.get("unlocked"):
        sidecar["unlocked"].append(run.workload)
    for key in ("energy", "start_skew_us"):
        if key in run.board:
            sidecar[key][run.workload] = run.board[key]


def summarise(
    workloads: Sequence["Workload"],
    schedules_dir: Path,
    runs_dir: Path | None,
    out_csv: Path,
    schedulers: Mapping[str, Sequence[str]] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> None:
    """Write summary.csv (docs/formats.md) and, beside it, summary.json.

    Args:
        workloads: one block of rows each, in this order.
        schedules_dir: holds {workload}/{scheduler}.json.
        runs_dir: holds {workload}.json; None on a target that cannot run, then the measured columns stay empty and no
            row is recommended.
        out_csv: the table; the sidecar has its stem and holds the schedulers that are absent with the reason, a
            recommendation per workload with its reason, the prediction error over placed schedules (percent), whether
            outputs agreed, the spread of those schedulers whose samples are unstable, every makespan (ms), the facts
            under which each workload was run, what only a board has (`conditions.KEYS`), and on a target with
            variants which one each schedule uses and what the gain over streams consists of (`splits`).
        schedulers: by workload, read these only; all files of a workload's folder when None.
        environment: facts about this target and the software that summarises (measure.sidecar), for the sidecar.

    Raises:
        InputError: a file is missing, truncated, or belongs to another workload or scheduler.
    """
    rows: list[tables.Row] = []
    placed: set[tuple[str, str]] = set()
    sidecar: dict[str, Any] = {
        "statistic": STATISTIC,
        "environment": dict(environment or {}),
        "target": None,
        "absent": {},
        "recommendations": {},
        "prediction_error": None,
        "outputs_ok": {},
        "instances": {},
        "transitions": {},
        "unstable": {},
        "unstable_above_spread": UNSTABLE_SPREAD,
        "samples_ms": {},
        "run_environments": {},
        "kind": (environment or {}).get("target", {}).get("kind"),
        "not_binding": [],
        "stand_in": [],
        "unlocked": [],
        "random_calibration": {},
        "differing_by_calibration": {},
        "energy": {},
        "start_skew_us": {},
        "splits": {},
        "gain_over_streams": {},
    }
    for workload in workloads:
        records = _schedules(
            Path(schedules_dir) / workload.name, workload.name, schedulers[workload.name] if schedulers else None
        )
        # a schedule of a target that chooses among splits names the split
        chooses = sidecar["environment"].get("target", {})
        sidecar["target"] = chooses["name"] if chooses.get("splits") else next(iter(records.values())).target
        absent = {name: records[name].absent for name in in_order(set(records)) if records[name].absent is not None}
        present = {name: record for name, record in records.items() if record.absent is None}
        run = read_run(Path(runs_dir) / f"{workload.name}.json") if runs_dir is not None else None
        if run and run.workload != workload.name:
            raise InputError(f"{run.path}: holds workload {run.workload!r}, expected {workload.name!r}")
        block = workload_rows(workload.name, len(workload.instances), present, run)
        rows += block
        if run is None or run.prediction_binds:
            placed |= {(workload.name, name) for name, record in present.items() if record.placement is not None}
        if absent:
            sidecar["absent"][workload.name] = absent
        sidecar["instances"][workload.name] = {item.name: item.network for item in workload.instances}
        sidecar["transitions"][workload.name] = {
            name: record.transitions for name, record in present.items() if record.placement is not None
        }
        if splits := chosen_splits(present, chooses.get("splits") or ()):
            sidecar["splits"][workload.name] = splits
            medians = {row["scheduler"]: row["measured_median_ms"] for row in block if row.get("measured_median_ms")}
            if gain := gain_over_streams(medians, splits):
                sidecar["gain_over_streams"][workload.name] = gain
        if run:
            # a run knows its precision, the configuration which networks have calibration data
            facts = {**sidecar["environment"].get("target", {}), **run.target_facts}
            sidecar["kind"] = sidecar["kind"] or facts.get("kind")
            random = randomly_calibrated(facts, workload.networks)
            meaningless = {item.name for item in workload.instances if item.network in random}
            wrong = [name for name in run.wrong_outputs if name not in meaningless]
            if block:
                sidecar["recommendations"][workload.name] = recommendation(block, present, run, wrong)
            sidecar["samples_ms"][workload.name] = {name: run.makespans(name) for name in in_order(set(present))}
            sidecar["run_environments"][workload.name] = dict(run.environment)
            if shaky := unstable(in_order(set(present)), run):
                sidecar["unstable"][workload.name] = shaky
            if set(run.outputs) - meaningless:
                sidecar["outputs_ok"][workload.name] = not wrong
            if wrong:
                _log.error(
                    "error: %s: outputs of %s differ from the single-accelerator result beyond the tolerance; "
                    "the times of workload %s are not valid",
                    run.path, ", ".join(wrong), workload.name,
                )  # fmt: skip
            if random:
                sidecar["random_calibration"][workload.name] = random
            if differing := [name for name in run.wrong_outputs if name in meaningless]:
                sidecar["differing_by_calibration"][workload.name] = differing
            _keep_of_board(sidecar, run)
    sidecar["prediction_error"] = prediction_error(rows, placed)
    tables.write(out_csv, tables.SUMMARY, rows)
    write_json(Path(out_csv).with_suffix(".json"), sidecar)
