"""The slowdown model of a board: recovered from co-runs of a board that follows a known one."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multidnn import tables
from multidnn.contention.jetson import characterise_board
from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.measure.options import MeasureOptions
from multidnn.targets.jetson.board.residency import Loadable, Residency
from tests.measure.jetson.boards import write_exported

ACCELERATORS = ("gpu", "dla0")
CONVOLUTIONS = [f"conv{size}_kernel{kernel}" for size in range(1, 6) for kernel in range(1, 6)]
GROUPS = 6


def true_slowdown(own: float, external: float) -> float:
    """The law that the made-up board follows: linear, so that a grid can hold it exactly."""
    return 1 + 0.002 * external + 0.00002 * own * external


class Board:
    """Answers `corun` requests by `true_slowdown`, and keeps them."""

    def __init__(self, demand: Mapping[str, float]) -> None:
        self.demand = demand
        self.request: dict[str, Any] = {}

    def call(self, command: str, request: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
        assert command == "corun"
        self.request = request
        measurements = []
        for one in request["measurements"]:
            own = self.demand[one["victim"]["engine"]]
            external = sum(self.demand[load["engine"]] for load in one["loads"])
            workers = [request["engines"][load["engine"]]["worker"] for load in one["loads"]]
            assert request["engines"][one["victim"]["engine"]]["worker"] not in workers
            measurements.append({"name": one["name"], "victim_ms": [0.5 * true_slowdown(own, external)]})
        return {"measurements": measurements}


def made_board(directory: Path) -> tuple[SimpleNamespace, dict[str, Any]]:
    """A target with 25 convolutions and a network of `GROUPS` groups, its files, and the demand of each engine."""
    demand: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(CONVOLUTIONS):
        for accelerator, factor in (("gpu", 1.0), ("dla0", 0.5)):
            demand[f"{name}@{accelerator}"] = 10 + 4 * index * factor
            rows.append({"name": name, "accelerator": accelerator, "demand_gb_s": demand[f"{name}@{accelerator}"]})
    for group in range(GROUPS):
        for accelerator, own in (("gpu", 20.0 + 10 * group), ("dla0", 15.0 + 6 * group)):
            demand[f"net/{group}@{accelerator}"] = own
            rows.append({"name": "net", "group": group, "accelerator": accelerator, "demand_gb_s": own})
    tables.write(directory / "emc_results.csv", tables.EMC, rows)
    names = [*CONVOLUTIONS, *(f"net/{group}" for group in range(GROUPS))]
    alone = [f"{name}/{accelerator}" for name in names for accelerator in ACCELERATORS]
    write_json(directory / "emc_results.json", {"alone_ms": dict.fromkeys(alone, 0.5)})
    write_json(
        directory / "engines" / "convolution.json",
        {
            "engines": {
                name: {"gpu": {"engine": f"/{name}.gpu"}, "dla": {"engine": f"/{name}.dla"}} for name in CONVOLUTIONS
            }
        },
    )
    groups = [f"{kind}_group_{group:02d}" for kind in ("gpu", "dla") for group in range(GROUPS)]
    write_json(directory / "engines" / "net.json", {"engines": {name: {"engine": f"/{name}"} for name in groups}})
    files = {
        "network_dirs": [write_exported(directory / "net", "net", GROUPS)],
        "engine_files": [directory / "engines" / "convolution.json", directory / "engines" / "net.json"],
        "emc_csv": directory / "emc_results.csv",
    }
    target = SimpleNamespace(accelerators=ACCELERATORS, board=Board(demand), facts=dict, clocks=dict)
    return target, files


def test_the_grid_is_the_law_that_the_board_follows(tmp_path: Path) -> None:
    target, files = made_board(tmp_path)
    out = tmp_path / "contention.json"
    characterise_board(target, **files, options=MeasureOptions(), out_json=out)
    model = read_json(out)
    for accelerator in ACCELERATORS:
        grid = model["accelerators"][accelerator]
        assert grid["external_gb_s"][0] == 0
        for own, row in zip(grid["demand_gb_s"], grid["slowdown"], strict=True):
            for external, slowdown in zip(grid["external_gb_s"], row, strict=True):
                assert slowdown == pytest.approx(true_slowdown(own, external), abs=0.01)
    assert model["fit"]["held_out"] == len(model["held_out"]) >= GROUPS // 2
    assert model["fit"]["median_error_pct"] < 1
    # what it is checked on was not fitted: those groups are not among the victims beside a load
    checked = {tuple(row["victim"][:2]) for row in model["held_out"]}
    loads = {load for names in model["loads_gb_s"].values() for load in names}
    assert loads
    fitted = {tuple(victim) for victim in model["fitted_to"]}
    assert fitted
    assert not checked & fitted


def test_each_round_has_every_victim_alone_and_beside_every_load(tmp_path: Path) -> None:
    target, files = made_board(tmp_path)
    characterise_board(target, **files, options=MeasureOptions(min_samples=8), out_json=tmp_path / "contention.json")
    names = [one["name"] for one in target.board.request["measurements"]]
    rounds = 4
    assert len(names) % rounds == 0
    size = len(names) // rounds
    assert all(names[i * size : (i + 1) * size] == names[:size] for i in range(rounds))
    loaded = {load["engine"] for one in target.board.request["measurements"] for load in one["loads"]}
    # few engines are in memory at once, and victims are what is loaded for each other, not what loads them
    assert target.board.request["resident"] == 7
    residency = Residency(
        {key: Loadable(key.partition("@")[2], 0, 0) for key in target.board.request["engines"]}, most=7
    )
    for one in target.board.request["measurements"]:
        residency.need([load["engine"] for load in one["loads"]] + [one["victim"]["engine"]])
    victims = len({one["victim"]["engine"] for one in target.board.request["measurements"]})
    assert residency.loads < 2 * rounds * victims < len(names)
    # the heaviest of each accelerator is among the loads
    assert {"conv5_kernel5@gpu", "conv5_kernel5@dla0"} <= loaded


def test_one_accelerator_has_nothing_beside_it(tmp_path: Path) -> None:
    target, files = made_board(tmp_path)
    target.accelerators = ("gpu",)
    out = tmp_path / "contention.json"
    characterise_board(target, **files, options=MeasureOptions(), out_json=out)
    assert read_json(out)["accelerators"] == {
        "gpu": {"demand_gb_s": [0.0], "external_gb_s": [0.0], "slowdown": [[1.0]]}
    }
    assert read_json(out)["fit"]["held_out"] == 0


def test_a_demand_that_is_missing_is_named(tmp_path: Path) -> None:
    target, files = made_board(tmp_path)
    path = tmp_path / "emc_results.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("conv")), encoding="utf-8")
    with pytest.raises(InputError, match=r"emc_results.csv: has no row of a convolution; .*measured again"):
        characterise_board(target, **files, options=MeasureOptions(), out_json=tmp_path / "contention.json")
    assert not (tmp_path / "contention.json").exists()
