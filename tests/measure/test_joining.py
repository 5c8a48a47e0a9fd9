"""The tables and slowdown models of variants, joined into those of the target that chooses among them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import yaml

from multidnn import tables
from multidnn.contention.joining import join_models
from multidnn.errors import InputError
from multidnn.measure.joining import join_tables
from multidnn.schedule import Problem, Workload, solve
from tests.measure.variant_folders import SPLITS, write_variant, write_variants

WORKLOAD = Workload.from_dict({"name": "w", "instances": [{"name": "a", "network": "alexnet"}]}, "w")
NAMES = ("layer_results.csv", "transition_results.csv", "emc_results.csv", "contention.json")


def joined(root: Path) -> tuple[Path, dict[str, Path]]:
    """Write and join the variants of `SPLITS`; return the folder of the whole and those of the parts."""
    folders = write_variants(root)
    join(folders, root / "chip")
    return root / "chip", folders


def join(folders: dict[str, Path], out: Path) -> None:
    accelerators = join_tables(folders, out)
    join_models({name: folder / "contention.json" for name, folder in folders.items()}, accelerators, out / NAMES[3])


def test_rows_are_those_of_the_variants_in_order(tmp_path: Path) -> None:
    out, folders = joined(tmp_path)
    for name in NAMES[:2]:
        parts = [pandas.read_csv(folder / name) for folder in folders.values()]
        pandas.testing.assert_frame_equal(pandas.read_csv(out / name), pandas.concat(parts, ignore_index=True))
    for name in ("layer_results", "transition_results", "emc_results"):
        sidecar = json.loads((out / f"{name}.json").read_text())
        assert sidecar["variants"] == {split: list(names) for split, names in SPLITS.items()}
        own = json.loads((folders["chip.half"] / f"{name}.json").read_text())
        assert sidecar["parts"]["chip.half"] == {key: value for key, value in own.items() if key != "format"}


def test_utilisation_is_of_one_peak(tmp_path: Path) -> None:
    out, _ = joined(tmp_path)
    peak = json.loads((out / "emc_results.json").read_text())["peak_gb_s"]
    # the largest of 110, 120 and 130
    assert peak == 130
    table = pandas.read_csv(out / "emc_results.csv")
    assert len(table) == 7 * (25 + 10)
    np.testing.assert_allclose(table["utilization_pct"], 100 * table["demand_gb_s"] / peak, rtol=1e-4)
    view = yaml.safe_load((out / "emc_results.yaml").read_text())
    first = table[(table["accelerator"] == "quarter") & table["group"].isna()].set_index("name")["utilization_pct"]
    assert {f"{conv}_{kernel}": value for conv, row in view.items() for kernel, value in row.items()} == pytest.approx(
        dict(first), abs=0.006
    )


def test_the_error_is_over_the_co_runs_of_all(tmp_path: Path) -> None:
    out, folders = joined(tmp_path)
    whole = json.loads((out / "contention.json").read_text())
    parts = [json.loads((folder / "contention.json").read_text()) for folder in folders.values()]
    rows = [row for part in parts for row in part["held_out"]]
    errors = [100 * abs(row["predicted"] - row["slowdown"]) / row["slowdown"] for row in rows]
    assert whole["held_out"] == rows
    assert whole["fit"]["held_out"] == 2 + 2 + 6
    assert whole["fit"]["median_error_pct"] == pytest.approx(np.median(errors))
    assert whole["fit"]["p90_error_pct"] == pytest.approx(np.percentile(errors, 90))
    assert (
        list(whole["accelerators"]) == list(whole["samples"]) == [name for names in SPLITS.values() for name in names]
    )
    assert list(whole["beside_traffic"]) == list(whole["samples"])
    assert "resolution" not in whole, "what no variant has is not made up"
    assert whole["parts"]["chip.half"]["sampling"] == {"rounds": 2}


def test_nothing_is_scheduled_over_several_splits(tmp_path: Path) -> None:
    out, folders = joined(tmp_path)
    files = [out / name for name in NAMES]
    with pytest.raises(
        InputError, match=r"contention.json: these tables join variants of one chip, chip.quarter \(quarter,"
    ):
        Problem.from_files(*files, WORKLOAD)
    with pytest.raises(InputError, match=r"there is no variant 'chip.halves', found .*did you mean 'chip.half'"):
        Problem.from_files(*files, WORKLOAD, "chip.halves")
    problems = Problem.by_target(*files, WORKLOAD, "chip")
    assert {name: problem.accelerators for name, problem in problems.items()} == SPLITS
    for name, problem in problems.items():
        assert problem == Problem.from_files(*(folders[name] / file for file in NAMES), WORKLOAD)
    alone = Problem.by_target(*(folders["chip.half"] / name for name in NAMES), WORKLOAD, "chip.half")
    assert list(alone) == ["chip.half"]


def test_splits_of_one_accelerator_each(tmp_path: Path) -> None:
    folders = write_variants(tmp_path, {"left": ("l",), "right": ("r",)})
    join(folders, tmp_path / "both")
    assert tables.read(tmp_path / "both" / NAMES[1], tables.TRANSITIONS) == []
    problems = Problem.by_target(*(tmp_path / "both" / name for name in NAMES), WORKLOAD, "both")
    assert solve(problems["right"], "naive").placement == {"a": ["r"] * 4}


def _edit(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: write_variant(folder, ("quarter", "x"), 5),
         r"chip.half/layer_results.csv: accelerator 'quarter' is in .*chip.quarter/layer_results.csv too"),
        (lambda folder: write_variant(folder, ("half-a", "half-b"), 5, {"alexnet": 4, "googlenet": 5}),
         r"chip.half/layer_results.csv: network 'googlenet' has no group 5 of layers 15 to 17, which .*chip.quarter/layer_r"),
        (lambda folder: write_variant(folder, ("half-a", "half-b"), 5, {"alexnet": 4, "googlenet": 6, "vgg19": 1}),
         r"chip.quarter/layer_results.csv: network 'vgg19' has no group 0 of layers 0 to 2, which .*chip.half/layer_r"),
        (_edit("emc_results.json", lambda c: c.pop("peak_gb_s")), r"emc_results.json: peak_gb_s: found None, expected"),
        (_edit("contention.json", lambda c: c["accelerators"].pop("half-b")), r"accelerators: no grid for 'half-b'"),
        (_edit("contention.json", lambda c: c["held_out"][0].pop("predicted")), r"held_out: a co-run has no slowdown or no"),
        (_edit("contention.json", lambda c: c["environment"]["target"].update(processor="another")),
         r"chip.half/contention.json: measured on 'another', but .*chip.quarter/contention.json on 'a chip'"),
        (lambda folder: (folder / "layer_results.json").unlink(), r"layer_results.json: no such file"),
    ],
)  # fmt: skip
def test_variants_that_do_not_fit_together(tmp_path: Path, damage: Callable[[Path], None], expected: str) -> None:
    folders = write_variants(tmp_path)
    damage(folders["chip.half"])
    with pytest.raises(InputError) as caught:
        join(folders, tmp_path / "chip")
    assert re.search(expected, str(caught.value)), str(caught.value)
    assert not (tmp_path / "chip" / "contention.json").exists()
    # the slowdown models come after the tables
    assert (
        "contention.json" in str(caught.value)
        or "accelerators:" in str(caught.value)
        or not (tmp_path / "chip").exists()
    )
