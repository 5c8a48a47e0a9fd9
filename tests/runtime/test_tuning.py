"""The tune job: which candidate it takes, what it writes of it, and what it does without any."""

import json
import os
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.runtime import Runner
from multidnn.runtime.iteration import Iteration
from multidnn.runtime.jobs import RunOptions
from multidnn.runtime.tuning import tune_workload, tuned_schedule
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.host.target import HostTarget

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")

OPTIONS = RunOptions(warmup=1, min_iterations=5, max_iterations=5, budget_s=0.0, seed=4)
EXPLAINED = {"explanation": "of the prediction"}


@pytest.fixture
def tune(host_spec: dict[str, Any], tiny_networks: dict[str, Path], tmp_path: Path) -> Callable[..., Schedule]:
    """Measure these schedules of a workload as candidates, and return what is taken; the file is tuned.json."""

    def run(
        workload: Workload, schedules: list[Schedule], bound: float | None, baselines: Sequence[Path] = ()
    ) -> Schedule:
        write_json(tmp_path / "candidates.json", {"candidates": [schedule.to_dict() for schedule in schedules]})
        replace(schedules[0], bound=bound).write(tmp_path / "haxconn.json")
        tune_workload(
            HostTarget("box", host_spec),
            workload,
            tiny_networks,
            tmp_path / "candidates.json",
            tmp_path / "haxconn.json",
            baselines,
            OPTIONS,
            tmp_path / "tuned.json",
        )
        return Schedule.read(tmp_path / "tuned.json")

    return run


@pytest.fixture
def three(random_schedules: list[Schedule]) -> list[Schedule]:
    """Three candidates of the trio, predicted to take 4, 5 and 6 ms."""
    return [
        replace(schedule, scheduler="haxconn", value=4.0 + number, solve_s=0.5, extra=EXPLAINED)
        for number, schedule in enumerate(random_schedules[:3])
    ]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[dict[str, float]]]], None]:
    """Have the iterations of each candidate, the warm-up among them, finish its instances at these times (ms)."""

    def install(times: dict[str, list[dict[str, float]]]) -> None:
        run, taken = Runner.run, Counter[str]()

        def pretended(self: Runner, scheduler: str) -> Iteration:
            finish = times[scheduler][taken[scheduler]]
            taken[scheduler] += 1
            return replace(run(self, scheduler), makespan_ms=max(finish.values()), finish_ms=finish)

        monkeypatch.setattr(Runner, "run", pretended)

    return install


def ending(*makespans: float, first: float = 1.0) -> list[dict[str, float]]:
    return [{"alpha": first, "beta": first, "last": ms} for ms in makespans]


def test_the_fastest_median_is_taken_and_all_samples_are_kept(
    tune: Callable[..., Schedule], pretend: Callable[..., None], trio: Workload, three: list[Schedule], tmp_path: Path
) -> None:
    # the warm-up of the first would make it the fastest, and so would its mean or its minimum
    pretend(
        {
            "candidate0": ending(0.1, 9.0, 2.0, 9.0, 2.0, 9.0),
            "candidate1": ending(90.0, 8.0, 7.0, 8.0, 8.0, 99.0),
            "candidate2": ending(1.0, 8.5, 8.5, 8.5, 8.5, 8.5),
        }
    )
    tuned = tune(trio, three, 3.0)
    assert (tuned.scheduler, tuned.value, tuned.bound, tuned.status) == ("tuned", 5.0, 3.0, "feasible")
    assert (tuned.placement, tuned.order) == (three[1].placement, three[1].order)
    assert tuned.solve_s == pytest.approx(1.5)
    content = json.loads((tmp_path / "tuned.json").read_text())
    assert content["explanation"] == "of the prediction"
    tuning = content["tuning"]
    assert tuning["chosen"] == 1
    assert [entry["value"] for entry in tuning["candidates"]] == [4.0, 5.0, 6.0]
    assert [entry["measured"] for entry in tuning["candidates"]] == [9.0, 8.0, 8.5]
    assert [entry["samples"] for entry in tuning["candidates"]] == [
        [9.0, 2.0, 9.0, 2.0, 9.0], [8.0, 7.0, 8.0, 8.0, 99.0], [8.5] * 5
    ]  # fmt: skip
    assert [entry["placement"] for entry in tuning["candidates"]] == [schedule.placement for schedule in three]
    assert tuning["options"]["max_iterations"] == 5
    assert tuning["environment"]["target"]["kind"] == "host"


def test_the_baselines_compete(
    tune: Callable[..., Schedule], pretend: Callable[..., None], trio: Workload, three: list[Schedule], tmp_path: Path
) -> None:
    # by prediction: haxconn's 4.0, h2h's 5.0, haxconn's 6.0; naive's is one of haxconn's
    compared = {"explanation": "kept", "variants": {}, "stopped": "early"}
    replace(three[1], scheduler="h2h", max_transitions=None, extra=compared).write(tmp_path / "h2h.json")
    replace(three[2], scheduler="naive", max_transitions=None).write(tmp_path / "naive.json")
    write_json(tmp_path / "serial.json", {"absent": "no accelerator takes all of it"})
    pretend({"candidate0": ending(*[9.0] * 6), "candidate1": ending(*[8.0] * 6), "candidate2": ending(*[8.5] * 6)})
    others = [tmp_path / f"{name}.json" for name in ("serial", "naive", "h2h")]
    tuned = tune(trio, [three[0], three[2]], 3.0, others)
    assert (tuned.scheduler, tuned.value, tuned.order) == ("tuned", 5.0, three[1].order)
    assert (tuned.max_transitions, tuned.bound) == (None, 3.0)
    assert tuned.extra is not None
    # what compared h2h's schedule with others does not compare that of tuned
    assert set(tuned.extra) == {"explanation", "tuning"}
    tuning = tuned.extra["tuning"]
    assert [entry["scheduler"] for entry in tuning["candidates"]] == ["haxconn", "h2h", "haxconn"]


@pytest.mark.parametrize(("more", "bound", "status"), [(0, 5.0, "optimal"), (-1, None, "feasible")])
def test_the_bound_is_none_of_a_baseline_that_moves_more_often(
    trio: Workload, three: list[Schedule], more: int, bound: float | None, status: str
) -> None:
    baseline = replace(max(three, key=lambda one: one.transitions), scheduler="h2h", max_transitions=None, value=5.0)
    assert baseline.transitions > 0
    haxconn = replace(three[0], max_transitions=baseline.transitions + more, bound=5.0)
    tuned = tuned_schedule([haxconn, baseline], 1, haxconn, {})
    assert (tuned.value, tuned.bound, tuned.status) == (5.0, bound, status)


def test_for_throughput_it_is_the_sum_of_the_instances(
    tune: Callable[..., Schedule], pretend: Callable[..., None], trio: Workload, three: list[Schedule]
) -> None:
    # the longest makespan, but two instances that are done soon
    pretend(
        {
            "candidate0": ending(*[4.0] * 6, first=2.0),
            "candidate1": ending(*[8.0] * 6, first=1.0),
            "candidate2": ending(*[4.0] * 6, first=4.0),
        }
    )
    listed = [replace(schedule, objective="throughput", value=3000.0 - n) for n, schedule in enumerate(three)]
    tuned = tune(trio.with_objective("throughput"), listed, 2999.0)
    assert (tuned.value, tuned.bound, tuned.status) == (2999.0, 2999.0, "optimal")
    assert tuned.extra is not None
    assert [entry["measured"] for entry in tuned.extra["tuning"]["candidates"]] == [1250.0, 2125.0, 750.0]


def test_really_measured_the_choice_is_that_of_its_samples(
    tune: Callable[..., Schedule], trio: Workload, three: list[Schedule]
) -> None:
    tuned = tune(trio, three, None)
    assert tuned.extra is not None
    tuning = tuned.extra["tuning"]
    medians = [statistics.median(entry["samples"]) for entry in tuning["candidates"]]
    assert [entry["measured"] for entry in tuning["candidates"]] == pytest.approx(medians)
    assert tuning["chosen"] == medians.index(min(medians))
    assert tuned.placement == three[tuning["chosen"]].placement
    assert all(len(entry["samples"]) == 5 for entry in tuning["candidates"])
    assert set(tuning["outputs"]) == {"alpha", "beta", "last"}
    for entry in tuning["outputs"].values():
        assert entry["ok"] is True
        assert entry["worst_scheduler"] in (None, "candidate0", "candidate1", "candidate2")


def test_without_haxconn_the_reason_is_passed_on(
    host_spec: dict[str, Any], trio: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostTarget, "open_session", lambda *_, **__: pytest.fail("nothing is to be opened"))
    write_json(tmp_path / "candidates.json", {"absent": "alpha fits nowhere"})
    paths = tmp_path / "candidates.json", tmp_path / "haxconn.json"
    tune_workload(HostTarget("box", host_spec), trio, {}, *paths, [], OPTIONS, tmp_path / "tuned.json")
    assert json.loads((tmp_path / "tuned.json").read_text()) == {
        "format": 1, "workload": "trio", "target": "box", "scheduler": "tuned", "absent": "alpha fits nowhere",
    }  # fmt: skip


def test_a_candidate_that_does_not_fit_leaves_nothing(
    tune: Callable[..., Schedule], trio: Workload, three: list[Schedule], tmp_path: Path
) -> None:
    order = three[2].order or {}
    broken = replace(three[2], order={"ort": order["ort"], "gpu": order["ov"]})
    with pytest.raises(InputError, match="gpu"):
        tune(trio, [*three[:2], broken], None)
    assert not (tmp_path / "tuned.json").exists()
