"""Made-up tables of variants, as the pipeline writes them into the folder of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multidnn import tables
from multidnn.files import write_json

GROUPS = {"alexnet": 4, "googlenet": 6}
SPLITS = {
    "chip.quarter": ("quarter", "three-quarters"),
    "chip.half": ("half-a", "half-b"),
    "chip.thirds": ("third-a", "third-b", "third-c"),
}


def write_variant(folder: Path, accelerators: Sequence[str], seed: int, groups: Mapping[str, int] = GROUPS) -> None:
    """Write the layer, transition and EMC tables, their sidecars and contention.json of one variant to `folder`."""
    rng = np.random.default_rng(seed)
    layers: list[dict[str, Any]] = []
    transitions: list[dict[str, Any]] = []
    emc: list[dict[str, Any]] = []
    peak = 100.0 + 10 * seed
    for name in [f"conv{size}_kernel{kernel}" for size in range(1, 6) for kernel in range(1, 6)]:
        for accelerator in accelerators:
            demand = float(rng.uniform(1, 50))
            emc.append({"name": name, "accelerator": accelerator, "demand_gb_s": demand, "method": "graph-traffic"})
    for network, count in groups.items():
        for group in range(count):
            for accelerator in accelerators:
                time = float(rng.uniform(0.5, 4))
                layers.append(
                    {
                        "network": network, "group": group, "first_layer": 3 * group, "last_layer": 3 * group + 2,
                        "accelerator": accelerator, "supported": True, "median_ms": time, "mean_ms": time,
                        "std_ms": 0.04 * time, "samples": 20,
                    }
                )  # fmt: skip
                demand = float(rng.uniform(1, 50))
                emc.append(
                    {
                        "name": network, "group": group, "accelerator": accelerator, "demand_gb_s": demand,
                        "method": "graph-traffic",
                    }
                )  # fmt: skip
        for after in range(count - 1):
            for source in accelerators:
                for destination in accelerators:
                    if source != destination:
                        ends = {"source": source, "destination": destination}
                        holds = {"out_ms": 0.05, "in_ms": float(rng.uniform(0.01, 0.2)), "bytes": 4000 * (after + 1)}
                        transitions.append({"network": network, "after_group": after, **ends, **holds})
    for row in emc:
        row["utilization_pct"] = 100 * row["demand_gb_s"] / peak
    tables.write(folder / "layer_results.csv", tables.LAYERS, layers)
    tables.write(folder / "transition_results.csv", tables.TRANSITIONS, transitions)
    tables.write(folder / "emc_results.csv", tables.EMC, emc)
    write_json(folder / "layer_results.json", {"parts": {name: {"samples_ms": seed} for name in groups}})
    write_json(folder / "transition_results.json", {"samples": []})
    write_json(folder / "emc_results.json", {"peak_gb_s": peak, "peak_from": "a copy of memory"})
    held_out = [
        {
            "victim": ["googlenet", 1, accelerator], "beside": ["alexnet", 0, other], "demand_gb_s": 10.0,
            "external_gb_s": 20.0, "slowdown": float(rng.uniform(1.1, 1.5)), "predicted": 1.25,
        }
        for accelerator in accelerators
        for other in accelerators
        if other != accelerator
    ]  # fmt: skip
    grid = {"demand_gb_s": [0.0, 30.0], "external_gb_s": [0.0, 60.0], "slowdown": [[1.0, 1.1], [1.0, 1.6]]}
    write_json(
        folder / "contention.json",
        {
            "accelerators": dict.fromkeys(accelerators, grid),
            "fit": {"held_out": len(held_out), "median_error_pct": 1.0, "p90_error_pct": 2.0},
            "held_out": held_out,
            "samples": {accelerator: [[10.0, 30.0, 1.2]] for accelerator in accelerators},
            "traffic_gb_s": {accelerator: {"1.0": 30.0} for accelerator in accelerators},
            "beside_traffic": {accelerator: {"victims": [["alexnet", 0]]} for accelerator in accelerators},
            "sampling": {"rounds": seed},
            "environment": {"target": {"processor": "a chip"}},
        },
    )


def write_variants(root: Path, splits: Mapping[str, Sequence[str]] = SPLITS) -> dict[str, Path]:
    """Write a folder per split below `root`; return the folders by name."""
    for seed, (name, accelerators) in enumerate(splits.items(), start=1):
        write_variant(root / name, accelerators, seed)
    return {name: root / name for name in splits}
