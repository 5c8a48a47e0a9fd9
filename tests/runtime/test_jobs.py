"""The run job: its file, its comparison of outputs, and what a failure in the middle leaves."""

import json
import logging
import os
import signal
import statistics
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.networks.exported import ExportedNetwork
from multidnn.runtime import Runner
from multidnn.runtime.jobs import RunOptions, read_schedules, run_workload
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.base import Timed
from multidnn.targets.host.session import HostSession
from multidnn.targets.host.target import HostTarget

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")

OPTIONS = RunOptions(warmup=1, min_iterations=6, max_iterations=6, budget_s=0.0, seed=4)


@pytest.fixture
def target(host_spec: dict[str, Any]) -> HostTarget:
    return HostTarget("box", host_spec)


@pytest.fixture
def schedule_paths(tmp_path: Path, zigzag: Schedule, serial: Schedule, chip_schedules: list[Schedule]) -> list[Path]:
    """Files of four schedules, and one that says why there is none."""
    folder = tmp_path / "schedules"
    paths = []
    for schedule in (serial, zigzag, *chip_schedules):
        paths.append(folder / f"{schedule.scheduler}.json")
        schedule.write(paths[-1])
    paths.append(folder / "naive.json")
    write_json(paths[-1], {"scheduler": "naive", "absent": "group 1 has no accelerator"})
    return paths


def test_run_file_holds_every_iteration_of_every_scheduler(
    target: HostTarget,
    trio: Workload,
    tiny_networks: dict[str, Path],
    schedule_paths: list[Path],
    chip_runtimes: dict[str, str],
    tmp_path: Path,
    children: Callable[[], set[int]],
) -> None:
    out = tmp_path / "runs" / "trio.json"
    run_workload(target, trio, tiny_networks, schedule_paths, chip_runtimes, OPTIONS, out)
    content = json.loads(out.read_text())
    assert content["format"] == 1
    assert (content["workload"], content["target"]) == ("trio", "box")
    names = ["serial", "zigzag", "whole", "streams"]
    iterations = content["iterations"]
    assert Counter((i["scheduler"], i["index"]) for i in iterations) == {(n, k): 1 for n in names for k in range(6)}
    rounds = [[i["scheduler"] for i in iterations if i["index"] == k] for k in range(6)]
    # interleaved: one of each before the next round, and not always in the same order
    assert [i["index"] for i in iterations] == [k for k in range(6) for _ in names]
    assert len(set(map(tuple, rounds))) > 1
    lengths = {"serial": 3, "zigzag": 11, "whole": 3, "streams": 3}
    for iteration in iterations:
        assert len(iteration["segments"]) == lengths[iteration["scheduler"]]
        ends: dict[str, float] = {}
        for instance, first, last, accelerator, start, end in iteration["segments"]:
            assert 0 <= start < end
            assert 0 <= first <= last
            assert accelerator in (("chip",) if iteration["scheduler"] in ("whole", "streams") else ("ort", "ov"))
            ends[instance] = max(end, ends.get(instance, 0.0))
        assert iteration["finish_ms"] == ends
        assert iteration["makespan_ms"] == max(ends.values())
    assert set(content["outputs"]) == {"alpha", "beta", "last"}
    for entry in content["outputs"].values():
        assert entry["ok"] is True
        assert 0 <= entry["max_abs_err"] <= entry["tolerance"]
    # two runtimes do not round alike: an error of exactly zero everywhere would mean that nothing was compared
    assert max(entry["max_abs_err"] for entry in content["outputs"].values()) > 0
    placed = [ms for name in ("serial", "zigzag") for ms in content["handover_ms"][name]]
    assert content["sync_overhead_ms"] == pytest.approx(statistics.median(placed))
    assert content["absent"] == {"naive": "group 1 has no accelerator"}
    assert content["chip_runtimes"] == chip_runtimes


def test_a_wrong_result_is_found_and_its_scheduler_named(
    target: HostTarget,
    trio: Workload,
    tiny_networks: dict[str, Path],
    other_weights: dict[str, Path],
    schedule_paths: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    load = HostSession.load

    def load_wrongly(self: HostSession, only: Any = None) -> None:
        """Give one accelerator other weights in one group of beta, as a broken engine would have."""
        load(self, only)
        group = ExportedNetwork.read(other_weights["beta"]).groups[2]
        self._crew.call("ov", "load", key="wrong", runtime="openvino", model=str(group.path), threads=1)
        self._bind("ov", "beta/2", "wrong", "beta", group.inputs, group.outputs)

    monkeypatch.setattr(HostSession, "load", load_wrongly)
    out = tmp_path / "runs.json"
    with caplog.at_level(logging.ERROR):
        run_workload(target, trio, tiny_networks, schedule_paths[:2], {}, OPTIONS, out)
    outputs = json.loads(out.read_text())["outputs"]
    assert {instance: entry["ok"] for instance, entry in outputs.items()} == {
        "alpha": True,
        "beta": False,
        "last": True,
    }
    assert outputs["beta"]["worst_scheduler"] == "zigzag"
    assert outputs["beta"]["max_abs_err"] > outputs["beta"]["tolerance"]
    assert "outputs of beta under zigzag differ" in caplog.text


def test_an_output_that_nobody_writes_is_found(
    target: HostTarget,
    trio: Workload,
    tiny_networks: dict[str, Path],
    schedule_paths: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Runner.run

    def run_and_lose(self: Runner, scheduler: str) -> Any:
        iteration = run(self, scheduler)
        self._session.tensor("beta", next(iter(self.networks["beta"].outputs)))[...] = float("nan")
        return iteration

    monkeypatch.setattr(Runner, "run", run_and_lose)
    out = tmp_path / "runs.json"
    run_workload(target, trio, tiny_networks, schedule_paths[:1], {}, OPTIONS, out)
    outputs = json.loads(out.read_text())["outputs"]
    assert outputs["beta"]["ok"] is False
    assert outputs["beta"]["max_abs_err"] is None
    assert outputs["alpha"]["ok"] is True


def test_a_tensor_left_over_from_the_iteration_before_is_found(
    target: HostTarget,
    trio: Workload,
    tiny_networks: dict[str, Path],
    schedule_paths: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, kept = Runner.run, []

    def run_stale(self: Runner, scheduler: str) -> Any:
        """As if the last group had started before the one in front of it wrote its tensor."""
        iteration = run(self, scheduler)
        network = self.networks["last"]
        (name,) = network.groups[-1].inputs
        tensor = self._session.tensor("last", name)
        kept.append(tensor.copy())
        tensor[...] = kept[max(0, len(kept) - 2)]
        self._session.time("ort", [Timed("last", network.groups[-1].index)], 1)
        return iteration

    monkeypatch.setattr(Runner, "run", run_stale)
    out = tmp_path / "runs.json"
    # two schedulers: the iteration before is another one of the same round
    run_workload(target, trio, tiny_networks, schedule_paths[:2], {}, OPTIONS, out)
    outputs = json.loads(out.read_text())["outputs"]
    assert {instance: entry["ok"] for instance, entry in outputs.items()} == {
        "alpha": True,
        "beta": True,
        "last": False,
    }


def test_a_reference_that_is_not_finite_is_not_ok(
    target: HostTarget,
    trio: Workload,
    tiny_networks: dict[str, Path],
    schedule_paths: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def alone(self: Runner, instance: str, accelerator: str) -> dict[str, Any]:
        return {name: value + float("inf") for name, value in self.outputs()[instance].items()}

    monkeypatch.setattr(Runner, "run_alone", alone)
    out = tmp_path / "runs.json"
    run_workload(target, trio, tiny_networks, schedule_paths[:1], {}, OPTIONS, out)
    for entry in json.loads(out.read_text())["outputs"].values():
        assert entry["ok"] is False
        assert entry["tolerance"] is None


def test_a_worker_killed_in_the_middle_leaves_the_earlier_result(
    target: HostTarget,
    trio: Workload,
    tiny_networks: dict[str, Path],
    schedule_paths: list[Path],
    chip_runtimes: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    children: Callable[[], set[int]],
) -> None:
    out = tmp_path / "runs" / "trio.json"
    out.parent.mkdir()
    out.write_text("an earlier result")
    named, run, calls = set(os.listdir("/dev/shm")), Runner.run, 0

    def run_and_kill(self: Runner, scheduler: str) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            threading.Timer(0.02, os.kill, (self.process_ids()["ort"], signal.SIGKILL)).start()
        return run(self, scheduler)

    monkeypatch.setattr(Runner, "run", run_and_kill)
    endless = RunOptions(warmup=0, min_iterations=10**6, max_iterations=10**6, budget_s=60.0)
    with pytest.raises(InputError, match=r"worker 'ort' .*killed by signal 9.*nothing was written"):
        run_workload(target, trio, tiny_networks, schedule_paths, chip_runtimes, endless, out)
    assert children() == set()
    assert out.read_text() == "an earlier result"
    assert [path.name for path in out.parent.iterdir()] == ["trio.json"]
    assert set(os.listdir("/dev/shm")) == named


def test_a_workload_without_any_schedule_says_why(
    target: HostTarget, trio: Workload, tiny_networks: dict[str, Path], schedule_paths: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"'trio': there is no schedule to run: .*group 1 has no accelerator"):
        run_workload(target, trio, tiny_networks, schedule_paths[-1:], {}, OPTIONS, tmp_path / "runs.json")
    assert not (tmp_path / "runs.json").exists()


def test_schedules_and_reasons_are_told_apart(schedule_paths: list[Path], zigzag: Schedule) -> None:
    schedules, absent = read_schedules(schedule_paths)
    assert [schedule.scheduler for schedule in schedules] == ["serial", "zigzag", "whole", "streams"]
    assert schedules[1].order == zigzag.order
    assert absent == {"naive": "group 1 has no accelerator"}


def test_a_truncated_schedule_names_file_and_line(schedule_paths: list[Path]) -> None:
    text = schedule_paths[0].read_text()
    schedule_paths[0].write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"serial\.json:\d+: not valid JSON"):
        read_schedules(schedule_paths)
