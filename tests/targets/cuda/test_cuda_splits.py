"""Several splits of one GPU on a CPU stand-in: shares of its multiprocessors, and one job that runs them all."""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from multidnn.config import settings
from multidnn.config.validation import validate
from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.runtime.jobs import RunOptions, run_workload
from multidnn.runtime.runner import Runner
from multidnn.runtime.tuning import tune_workload
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.cuda.partitions import divide
from multidnn.targets.cuda.spec import REST, CudaSpec, share_of
from multidnn.targets.cuda.target import CudaTarget
from multidnn.variants import DEFAULT_SPLITS

ROOT = Path(__file__).parents[3]
Open = Callable[[Mapping[str, Any]], CudaTarget]
WORKLOAD = Workload.from_dict(
    {"name": "pair", "instances": [{"name": "alpha", "network": "alpha"}, {"name": "beta", "network": "beta"}]}, "pair"
)


def _wanted(split: str) -> dict[str, Any]:
    sizes = {name: partition["sms"] for name, partition in DEFAULT_SPLITS[split].items()}
    return {name: None if sms == REST else share_of(sms) for name, sms in sizes.items()}


@pytest.mark.parametrize(
    ("split", "total", "counts"),
    [
        ("quarter", 132, [32, 100]),
        ("half", 132, [64, 68]),
        ("thirds", 132, [40, 48, 44]),
        ("quarter", 24, [8, 16]),
        ("thirds", 24, [8, 8, 8]),
        ("half", 16, [8, 8]),
    ],
)
def test_default_splits_on_a_gpu_of_this_size(split: str, total: int, counts: list[int]) -> None:
    assert list(divide(_wanted(split), total, 8).counts.values()) == counts


@pytest.mark.parametrize("split", sorted(DEFAULT_SPLITS))
@pytest.mark.parametrize("unit", [2, 4, 8])
def test_default_splits_fit_every_gpu_of_three_units(split: str, unit: int) -> None:
    wanted = _wanted(split)
    for total in range(3 * unit, 401):
        counts = divide(wanted, total, unit).counts
        # nothing is left over, the rest has a unit at least, and each share is met to within a unit
        assert sum(counts.values()) == total
        for name, share in wanted.items():
            assert counts[name] >= unit
            if share is not None:
                assert counts[name] % unit == 0
                assert abs(counts[name] - share * total) <= unit


@given(st.lists(st.integers(1, 99), min_size=1, max_size=4), st.integers(32, 400))
def test_shares_up_to_all_of_it_fit(percents: list[int], total: int) -> None:
    assume(sum(percents) <= 100)
    assume(all(percent * total >= 800 for percent in percents))
    wanted = {str(number): Fraction(percent, 100) for number, percent in enumerate(percents)}
    counts = divide(wanted, total, 8).counts
    assert all(count >= 8 for count in counts.values())
    assert sum(counts.values()) <= total


def test_too_small_a_gpu_is_named_with_what_was_asked() -> None:
    expected = r"third-a: 33%, third-b: 33%, third-c: rest do not fit on 20 multiprocessors"
    with pytest.raises(InputError, match=expected):
        divide(_wanted("thirds"), 20, 8)


def place(scheduler: str, placement: dict[str, list[str]], order: dict[str, list[list[Any]]], target: str) -> Schedule:
    return Schedule("pair", target, scheduler, "latency", None, "feasible", None, None, None, placement, order)


def rotating(scheduler: str, accelerators: tuple[str, ...], target: str) -> Schedule:
    """Both networks change the accelerator after every group, over all of `accelerators`."""
    count = len(accelerators)
    placement = {
        "alpha": [accelerators[group % count] for group in range(4)],
        "beta": [accelerators[(group + 1) % count] for group in range(3)],
    }
    order: dict[str, list[list[Any]]] = {name: [] for name in accelerators}
    for group in range(4):
        for instance in ("alpha", "beta"):
            if group < len(placement[instance]):
                order[placement[instance][group]].append([instance, group, group])
    return place(scheduler, placement, order, target)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The configuration that comes with the project, with everything filled in."""
    import yaml

    monkeypatch.chdir(ROOT)
    return validate(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")), ROOT)


def test_one_job_runs_all_splits_of_the_configuration(
    cpu_target: Open, tiny_networks: dict[str, Path], tmp_path: Path, checked: dict[str, Any]
) -> None:
    target = cpu_target(settings.target_spec(checked, "cuda-auto"))
    assert target.splits == {f"cuda-auto.{name}": tuple(partitions) for name, partitions in DEFAULT_SPLITS.items()}
    assert target.accelerators == tuple(name for split in target.splits.values() for name in split)
    paths = []
    for scheduler, split in zip(("serial", "naive", "haxconn"), target.splits, strict=True):
        paths.append(tmp_path / f"{scheduler}.json")
        rotating(scheduler, target.splits[split], split).write(paths[-1])
    for name in ("whole", "streams"):
        paths.append(tmp_path / f"{name}.json")
        Schedule("pair", "gpu", name, "latency", None, "feasible", None, None, None, None, None).write(paths[-1])
    out = tmp_path / "run.json"
    runtimes = dict.fromkeys(tiny_networks, "torch-tf32")
    run_workload(target, WORKLOAD, tiny_networks, paths, runtimes, RunOptions(1, 3, 3, 0.0), out)
    run = json.loads(out.read_text())
    assert all(entry["ok"] for entry in run["outputs"].values())
    used = {
        scheduler: {segment[3] for entry in run["iterations"] if entry["scheduler"] == scheduler for segment in entry["segments"]}
        for scheduler in ("serial", "naive", "haxconn", "whole", "streams")
    }  # fmt: skip
    assert used["serial"] == {"quarter", "three-quarters"}
    assert used["naive"] == {"half-a", "half-b"}
    assert used["haxconn"] == {"third-a", "third-b", "third-c"}
    assert used["whole"] == used["streams"] == {"chip"}
    # interleaved: each round has one iteration of each
    assert [len({entry["scheduler"] for entry in run["iterations"][5 * i : 5 * i + 5]}) for i in range(3)] == [5] * 3


def test_candidates_of_several_splits_are_measured_in_one_job(
    cpu_target: Open, tiny_networks: dict[str, Path], tmp_path: Path, checked: dict[str, Any]
) -> None:
    target = cpu_target(settings.target_spec(checked, "cuda-auto"))
    listed = [
        replace(rotating("haxconn", names, split), value=1.0 + number)
        for number, (split, names) in enumerate(target.splits.items())
    ]
    write_json(tmp_path / "candidates.json", {"candidates": [schedule.to_dict() for schedule in listed]})
    replace(listed[0], bound=1.0).write(tmp_path / "haxconn.json")
    paths = tmp_path / "candidates.json", tmp_path / "haxconn.json"
    tune_workload(target, WORKLOAD, tiny_networks, *paths, [], RunOptions(1, 3, 3, 0.0), tmp_path / "tuned.json")
    tuned = Schedule.read(tmp_path / "tuned.json")
    assert tuned.extra is not None
    tuning = tuned.extra["tuning"]
    assert [entry["target"] for entry in tuning["candidates"]] == list(target.splits)
    medians = [statistics.median(entry["samples"]) for entry in tuning["candidates"]]
    chosen = listed[medians.index(min(medians))]
    assert (tuned.target, tuned.placement, tuned.value, tuned.bound) == (
        chosen.target,
        chosen.placement,
        chosen.value,
        1.0,
    )
    assert tuned.status == ("optimal" if chosen is listed[0] else "feasible")
    assert all(entry["ok"] for entry in tuning["outputs"].values())


def test_outputs_are_the_same_on_every_split(cpu_target: Open, tiny_networks: dict[str, Path], checked: Any) -> None:
    target = cpu_target(settings.target_spec(checked, "cuda-auto"))
    schedules = [rotating(split, names, split) for split, names in target.splits.items()]
    with Runner(target, WORKLOAD, tiny_networks, schedules) as runner:
        runner.write_inputs(runner.random_inputs(np.random.default_rng(1)))
        found = []
        for schedule in schedules:
            runner.clear_outputs()
            runner.run(schedule.scheduler)
            found.append(runner.outputs())
    for instance, outputs in found[0].items():
        for name, value in outputs.items():
            assert np.isfinite(value).all()
            for other in found[1:]:
                np.testing.assert_array_equal(value, other[instance][name])


def test_a_schedule_that_mixes_splits_is_refused(
    cpu_target: Open, tiny_networks: dict[str, Path], checked: Any
) -> None:
    target = cpu_target(settings.target_spec(checked, "cuda-auto"))
    mixed = rotating("mixed", ("half-a", "third-c"), "cuda-auto")
    expected = (
        r"schedule 'mixed' of workload 'pair' uses accelerators of 2 splits, half-a of split 'cuda-auto.half' and third-c of "
        r"split 'cuda-auto.thirds'; they share what they run on and cannot run at once"
    )
    with pytest.raises(InputError, match=expected):
        Runner(target, WORKLOAD, tiny_networks, [mixed])
    fine = rotating("fine", target.splits["cuda-auto.half"], "cuda-auto.half")
    with (
        Runner(target, WORKLOAD, tiny_networks, [fine], adopting=True) as runner,
        pytest.raises(InputError, match="2 splits"),
    ):
        runner.adopt(mixed)


def test_splits_may_differ_in_precision() -> None:
    spec = CudaSpec.of(
        "gpu",
        {"splits": {"x": {"a": {"sms": "25%", "precision": "fp16"}}, "y": {"b": {"sms": "rest", "precision": "tf32"}}}},
    )
    assert spec.precisions == ("fp16", "tf32")
    assert [partition.sms for partition in spec.partitions] == [Fraction(1, 4), None]
    with pytest.raises(InputError, match="sms is '0%', expected a whole number of at least 8"):
        CudaSpec.of("gpu", {"partitions": {"a": {"sms": "0%"}}})
