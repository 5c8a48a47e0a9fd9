"""The numbers of the paper's artifact for Xavier AGX, written as the tables that every target has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from multidnn import tables
from multidnn.files import write_json, write_text
from multidnn.targets.recorded.answer import recorded_data

STATISTIC = "as recorded; the source does not say which statistic over how many samples"


def write_tables(directory: Path, environment: Mapping[str, Any]) -> None:
    """Write layer_results, transition_results, emc_results (CSV and JSON; YAML too) and contention.json.

    Times in ms, bandwidth in GB/s; what was not recorded is left empty. The JSON beside each table says where its
    numbers come from and what is doubtful about them, and holds `environment` (measure.sidecar): the target, versions,
    commit and time of writing. There are no samples, because none were published.
    """
    data, directory = recorded_data(), Path(directory)
    common = {"kind": "recorded", "statistic": STATISTIC, "environment": dict(environment)}
    for name, note, schema, rows in (
        ("layer_results", "layers", tables.LAYERS, _layer_rows(data)),
        ("transition_results", "transitions", tables.TRANSITIONS, _transition_rows(data)),
        ("emc_results", "emc", tables.EMC, _emc_rows(data)),
    ):
        tables.write(directory / f"{name}.csv", schema, rows)
        facts = {**common, "board": data["board"], "source": data["source"], "note": data["notes"][note]}
        if name == "emc_results":
            facts |= {"peak_gb_s": data["peak_gb_s"], "peak_source": data["peak_source"]}
        write_json(directory / f"{name}.json", facts)
    figure = {
        conv: {f"kernel{k}": percent for k, percent in enumerate(row, 1)}
        for conv, row in data["convolution_percent"].items()
    }
    write_text(directory / "emc_results.yaml", yaml.safe_dump(figure, sort_keys=False))
    write_json(directory / "contention.json", _contention(data) | common)


def _layer_rows(data: dict[str, Any]) -> list[tables.Row]:
    rows = []
    for network, entry in data["networks"].items():
        count = len(entry["ms"]["gpu"])
        for group in range(count):
            for accelerator in data["accelerators"]:
                rows.append(
                    {
                        "network": network,
                        "group": group,
                        "first_layer": entry["first_layer"][group] if "first_layer" in entry else None,
                        "last_layer": entry["last_layer"][group] if "last_layer" in entry else None,
                        "accelerator": accelerator,
                        "supported": True,
                        "median_ms": entry["ms"][accelerator][group],
                    }
                )
    return rows


def _transition_rows(data: dict[str, Any]) -> list[tables.Row]:
    return [
        {
            "network": network,
            "after_group": group,
            "source": source,
            "destination": destination,
            "out_ms": entry["out_ms"][source][group],
            "in_ms": 0.0,
        }
        for network, entry in data["networks"].items()
        if "out_ms" in entry
        for group in range(len(entry["ms"]["gpu"]) - 1)
        for source, destination in (("gpu", "dla"), ("dla", "gpu"))
    ]


def _emc_rows(data: dict[str, Any]) -> list[tables.Row]:
    rows = [
        _emc_row(data, network, group, accelerator, entry["percent"][accelerator][group])
        for network, entry in data["networks"].items()
        if "percent" in entry
        for group in range(len(entry["ms"]["gpu"]))
        for accelerator in data["accelerators"]
    ]
    return rows + [
        _emc_row(data, f"{conv}_kernel{kernel}", None, "gpu", percent)
        for conv, row in data["convolution_percent"].items()
        for kernel, percent in enumerate(row, 1)
    ]


def _emc_row(data: dict[str, Any], name: str, group: int | None, accelerator: str, percent: float) -> tables.Row:
    return {
        "name": name,
        "group": group,
        "accelerator": accelerator,
        "demand_gb_s": percent * data["peak_gb_s"] / 100,
        "utilization_pct": float(percent),
        "method": "recorded-percent",
    }


def _contention(data: dict[str, Any]) -> dict[str, Any]:
    pccs = data["pccs"]
    grid = {
        "demand_gb_s": pccs["demand_gb_s"],
        # undisturbed, a kernel has its standalone bandwidth
        "external_gb_s": [0.0, *pccs["external_gb_s"]],
        "slowdown": [
            [1.0, *(demand / achieved for achieved in row)]
            for demand, row in zip(pccs["demand_gb_s"], pccs["achieved_gb_s"], strict=True)
        ],
    }
    return {
        "accelerators": dict.fromkeys(data["accelerators"], grid),
        "fit": {"held_out": 0, "median_error_pct": None, "p90_error_pct": None},
        "source": pccs["source"],
    }
