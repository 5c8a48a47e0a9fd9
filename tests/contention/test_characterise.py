"""Characterising contention with tiny networks on this machine: the file, and that its error follows from its rows."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import trim_mean

from multidnn import tables
from multidnn.contention import coruns
from multidnn.contention.characterise import characterise
from multidnn.contention.coruns import DUTIES
from multidnn.errors import InputError
from multidnn.measure.options import MeasureOptions
from multidnn.networks.exported import ExportedNetwork
from multidnn.schedule.problem import read_contention
from multidnn.targets.host.target import HostTarget

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")

ACCELERATORS = ("ort", "ov")


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A lock of the tests' own, and short measurements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("lock")))
        patch.setattr(coruns, "_GENERATOR_S", 0.05)
        yield


def write_emc(path: Path, networks: dict[str, Path], leave_out: str | None = None) -> None:
    rows = [
        {
            "name": name,
            "group": group.index,
            "accelerator": accelerator,
            "demand_gb_s": 1.0 + group.index,
            "utilization_pct": 1.0,
            "method": "graph-traffic",
        }
        for name, directory in networks.items()
        for group in ExportedNetwork.read(directory).groups
        for accelerator in ACCELERATORS
        if name != leave_out
    ]
    tables.write(path, tables.EMC, rows)


def test_file_is_complete_and_its_error_follows_from_its_rows(
    tiny_networks: dict[str, Path], host_spec: dict[str, Any], tmp_path: Path
) -> None:
    write_emc(tmp_path / "emc.csv", tiny_networks)
    out = tmp_path / "contention.json"
    characterise(
        HostTarget("box", host_spec), [tiny_networks["alpha"], tiny_networks["beta"]], [],
        tmp_path / "emc.csv", MeasureOptions(), out,
    )  # fmt: skip
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["format"] == 1
    curves = read_contention(out, ACCELERATORS)
    together: dict[tuple[str, int, str, bool], float] = {}
    for pairing in content["beside_networks"]:
        network, accelerator = pairing["victim"]
        assert accelerator not in pairing["beside"]
        ratios = trim_mean(np.divide(pairing["together_ms"], pairing["alone_ms"]), 0.34, axis=0)
        for group, ratio in zip(pairing["groups"], ratios, strict=True):
            together[network, group, accelerator, pairing["held_out"]] = float(ratio)
    # two networks, each beside itself and the other, one of which is held out
    assert len(content["beside_networks"]) == 2 * 2 * 2
    for accelerator, curve in zip(ACCELERATORS, curves, strict=True):
        assert len(content["traffic_gb_s"][accelerator]) == len(DUTIES)
        assert all(level > 0 for level in content["traffic_gb_s"][accelerator].values())
        beside = content["beside_traffic"][accelerator]
        assert beside["victims"] == [["alpha", group] for group in range(4)] + [["beta", group] for group in range(3)]
        times = {key: np.array(series) for key, series in beside["times_ms"].items()}
        ratios = [np.median(times[str(duty)] / times["alone"], axis=0) for duty in DUTIES]
        fitted = [value for (*_, where, held), value in together.items() if where == accelerator and not held]
        slowdowns = [slowdown for *_, slowdown in content["samples"][accelerator]]
        assert sorted(slowdowns) == pytest.approx(sorted([*np.concatenate(ratios), *fitted]))
        assert curve.external[0] == 0
    errors = []
    for row in content["held_out"]:
        curve = curves[ACCELERATORS.index(row["victim"][2])]
        assert row["slowdown"] == pytest.approx(together[(*row["victim"], True)])
        # what runs beside is a mixture of demands, so the prediction lies between those of its ends
        assert curve(row["demand_gb_s"], 0.0) <= row["predicted"] + 1e-9
        assert row["predicted"] <= curve(row["demand_gb_s"], 1e9) + 1e-9
        errors.append(100 * abs(row["predicted"] / row["slowdown"] - 1))
    assert content["fit"]["held_out"] == len(errors) == 2 * (4 + 3)
    assert content["fit"]["median_error_pct"] == pytest.approx(np.median(errors))
    assert content["fit"]["p90_error_pct"] == pytest.approx(np.percentile(errors, 90))


def test_missing_demand_of_a_convolution_is_named(
    tiny_networks: dict[str, Path], host_spec: dict[str, Any], tmp_path: Path
) -> None:
    write_emc(tmp_path / "emc.csv", tiny_networks, leave_out="beta")
    with pytest.raises(InputError, match="no rows for beta"):
        characterise(
            HostTarget("box", host_spec), [tiny_networks["alpha"]], [tiny_networks["beta"]],
            tmp_path / "emc.csv", MeasureOptions(), tmp_path / "contention.json",
        )  # fmt: skip
    assert not (tmp_path / "contention.json").exists()
