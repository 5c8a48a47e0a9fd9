"""A folder of result files in the exact format of the pipeline, made up from a seed, for the report to read."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from multidnn import tables
from multidnn.files import write_json
from multidnn.schedule import Problem, Workload, evaluate

ACCELERATORS = ("ort", "ov")
GROUPS = {"alexnet": 4, "googlenet": 6}
# one row per network and accelerator, ms
TIMES = {
    ("alexnet", "ort"): [3.0, 2.0, 4.0, 1.0],
    ("alexnet", "ov"): [1.5, 2.5, 5.0, 1.0],
    ("googlenet", "ort"): [4.0, 1.0, 2.0, 2.0, 1.0, 2.0],
    ("googlenet", "ov"): [1.0, 1.2, 2.4, 2.2, 1.3, 2.1],
}
PLACEMENTS = {
    "serial": {"alexnet": ["ov"] * 4, "googlenet": ["ov"] * 6},
    "naive": {"alexnet": ["ort"] * 4, "googlenet": ["ov"] * 6},
    "haxconn": {"alexnet": ["ov", "ort", "ort", "ort"], "googlenet": ["ort"] + ["ov"] * 5},
}
ORDERS = {
    "serial": {"ort": [], "ov": [["alexnet", 0, 3], ["googlenet", 0, 5]]},
    "naive": {"ort": [["alexnet", 0, 3]], "ov": [["googlenet", 0, 5]]},
    "haxconn": {
        "ort": [["googlenet", 0, 0], ["alexnet", 1, 3]],
        "ov": [["alexnet", 0, 0], ["googlenet", 1, 5]],
    },
}
WHOLE_MS = 9.5


def workload(name: str = "alexnet+googlenet") -> Workload:
    return Workload.from_dict(
        {
            "name": name,
            "instances": [
                {"name": "alexnet", "network": "alexnet"},
                {"name": "googlenet", "network": "googlenet"},
            ],
        },
        name,
    )


class Results:
    """Writes result files below one folder and remembers where they are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers = root / "layer_results.csv"
        self.transitions = root / "transition_results.csv"
        self.emc = root / "emc_results.csv"
        self.contention = root / "contention.json"
        self.schedules = root / "schedules"
        self.runs = root / "runs"
        self.summary = root / "summary.csv"

    def write_tables(self) -> None:
        layers, transitions, emc = [], [], []
        for (network, accelerator), times in TIMES.items():
            for group, time in enumerate(times):
                layers.append(
                    {
                        "network": network,
                        "group": group,
                        "first_layer": 3 * group,
                        "last_layer": 3 * group + 2,
                        "accelerator": accelerator,
                        "supported": True,
                        "median_ms": time,
                        "mean_ms": time * 1.01,
                        "std_ms": time * 0.03,
                        "samples": 20,
                        "reason": "unstable: spread 12 %" if (group, accelerator) == (1, "ort") else None,
                    }
                )
                emc.append(
                    {
                        "name": network,
                        "group": group,
                        "accelerator": accelerator,
                        "demand_gb_s": 2.0 + group + (accelerator == "ov"),
                        "utilization_pct": 10.0 + 5 * group,
                        "method": "graph-traffic",
                    }
                )
        for network, groups in GROUPS.items():
            for cut in range(groups - 1):
                for source, destination in (("ort", "ov"), ("ov", "ort")):
                    transitions.append(
                        {
                            "network": network,
                            "after_group": cut,
                            "source": source,
                            "destination": destination,
                            "out_ms": 0.1 + 0.02 * cut,
                            "in_ms": 0.2,
                            "bytes": 4 * 200_704 // (cut + 1),
                        }
                    )
        for size in range(1, 6):
            for kernel in range(1, 6):
                for accelerator in ACCELERATORS:
                    emc.append(
                        {
                            "name": f"conv{size}_kernel{kernel}",
                            "accelerator": accelerator,
                            "demand_gb_s": 12.0 / size,
                            "utilization_pct": 100 - 12 * size - 5 * kernel + (accelerator == "ov"),
                            "method": "graph-traffic",
                        }
                    )
        tables.write(self.layers, tables.LAYERS, layers)
        tables.write(self.transitions, tables.TRANSITIONS, transitions)
        tables.write(self.emc, tables.EMC, emc)
        write_json(self.emc.with_suffix(".json"), {"peak_gb_s": 20.5, "peak_from": "memory copy on all cores"})
        grid = {
            "demand_gb_s": [0, 4, 8],
            "external_gb_s": [0, 5, 10],
            "slowdown": [[1, 1.02, 1.05], [1, 1.1, 1.3], [1, 1.2, 1.5]],
        }
        write_json(
            self.contention,
            {
                "accelerators": dict.fromkeys(ACCELERATORS, grid),
                "fit": {"held_out": 12, "median_error_pct": 3.2, "p90_error_pct": 9.1},
                "samples": {"ort": [[4, 5, 1.12], [8, 10, 1.45]], "ov": [[4, 10, 1.25]]},
                "held_out": [
                    {
                        "victim": ["googlenet", 3, "ov"],
                        "beside": ["alexnet", 1, "ort"],
                        "demand_gb_s": 6,
                        "external_gb_s": 8,
                        "slowdown": 1.3,
                        "predicted": 1.28,
                    }
                ],
            },
        )

    def problem(self, work: Workload) -> Problem:
        return Problem.from_files(self.layers, self.transitions, self.emc, self.contention, work)

    def write_schedule(self, name: str, scheduler: str, predicted: float | None) -> Path:
        placed = scheduler in PLACEMENTS
        path = self.schedules / name / f"{scheduler}.json"
        write_json(
            path,
            {
                "workload": name,
                "target": "host",
                "scheduler": scheduler,
                "objective": "latency",
                "max_transitions": 2 if scheduler == "haxconn" else None,
                "status": "optimal" if scheduler == "haxconn" else "feasible",
                "value": predicted,
                "bound": predicted if scheduler == "haxconn" else None,
                "predicted": predicted
                and {
                    "makespan_ms": predicted,
                    "throughput_per_s": 2000 / predicted,
                    "finish_ms": {"alexnet": predicted, "googlenet": predicted * 0.8},
                },
                "placement": PLACEMENTS.get(scheduler),
                "order": ORDERS.get(scheduler),
                "solve_s": 0.1,
                "incumbents": [[0.1, predicted]] if placed else [],
            },
        )
        return path

    def write_absent(self, name: str, scheduler: str, reason: str) -> Path:
        path = self.schedules / name / f"{scheduler}.json"
        write_json(path, {"workload": name, "target": "host", "scheduler": scheduler, "absent": reason})
        return path

    def write_run(self, name: str, makespans: dict[str, list[float]], ok: bool = True) -> Path:
        iterations: list[dict[str, Any]] = []
        for index in range(max(map(len, makespans.values()))):
            for scheduler, values in makespans.items():
                if index < len(values):
                    iterations.append(self.iteration(scheduler, index, values[index]))
        path = self.runs / f"{name}.json"
        write_json(
            path,
            {
                "workload": name,
                "target": "host",
                "iterations": iterations,
                "sync_overhead_ms": 0.02,
                "outputs": {
                    "alexnet": {"max_abs_err": 1e-6, "tolerance": 1e-3, "ok": True},
                    "googlenet": {"max_abs_err": 1e-6, "tolerance": 1e-3, "ok": ok},
                },
                "environment": {"cores": 2},
                "transfers": [],
            },
        )
        return path

    @staticmethod
    def iteration(scheduler: str, index: int, makespan: float) -> dict[str, Any]:
        spans: list[list[Any]]
        if scheduler == "whole":
            spans = [["alexnet", 0, 3, "chip", 0.0, 0.5], ["googlenet", 0, 5, "chip", 0.5, 1.0]]
        elif scheduler == "streams":
            spans = [["alexnet", 0, 3, "chip", 0.0, 0.8], ["googlenet", 0, 5, "chip", 0.01, 1.0]]
        elif scheduler == "serial":
            spans = [["alexnet", 0, 3, "ov", 0.0, 0.5], ["googlenet", 0, 5, "ov", 0.5, 1.0]]
        elif scheduler == "naive":
            spans = [["alexnet", 0, 3, "ort", 0.0, 0.9], ["googlenet", 0, 5, "ov", 0.0, 1.0]]
        else:
            spans = [
                ["googlenet", 0, 0, "ort", 0.0, 0.35],
                ["alexnet", 1, 3, "ort", 0.36, 1.0],
                ["alexnet", 0, 0, "ov", 0.0, 0.2],
                ["googlenet", 1, 5, "ov", 0.36, 0.98],
            ]
        segments = [[*span[:4], span[4] * makespan, span[5] * makespan] for span in spans]
        finish = {name: max(s[5] for s in segments if s[0] == name) for name in ("alexnet", "googlenet")}
        return {
            "scheduler": scheduler,
            "index": index,
            "makespan_ms": makespan,
            "finish_ms": finish,
            "segments": segments,
        }


def noisy(centre: float, count: int, seed: int) -> list[float]:
    return list(centre * (1 + 0.02 * np.random.default_rng(seed).standard_normal(count)))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """An empty `Results` folder."""
    return Results(tmp_path)


@pytest.fixture
def filled(results: Results) -> SimpleNamespace:
    """Tables, five schedules, one absent baseline and one run of alexnet+googlenet, and the samples it holds."""
    name = "alexnet+googlenet"
    results.write_tables()
    problem = results.problem(workload(name))
    predicted = {
        scheduler: evaluate(problem, PLACEMENTS[scheduler], ORDERS[scheduler]).makespan_ms for scheduler in PLACEMENTS
    }
    predicted["whole"] = WHOLE_MS
    for scheduler, makespan in predicted.items():
        results.write_schedule(name, scheduler, makespan)
    results.write_schedule(name, "streams", None)
    results.write_absent(name, "mensa", "group 3 of googlenet is not supported")
    samples = {
        "serial": noisy(21.0, 9, 1),
        "naive": noisy(13.0, 9, 2),
        "haxconn": noisy(10.5, 9, 3),
        "whole": noisy(12.0, 9, 4),
        "streams": noisy(9.0, 9, 5),
    }
    run = results.write_run(name, samples)
    return SimpleNamespace(
        results=results,
        workload=workload(name),
        problem=problem,
        predicted=predicted,
        placements=PLACEMENTS,
        orders=ORDERS,
        samples=samples,
        run=run,
        name=name,
        schedules=sorted((results.schedules / name).glob("*.json")),
    )
