"""Several splits of this machine's cores in one session, their cores shared, each schedule on one of them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.runtime.jobs import RunOptions, run_workload
from multidnn.runtime.runner import Runner
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.base import Timed
from multidnn.targets.host.target import HostTarget

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")

SPEC: dict[str, Any] = {
    "kind": "host",
    "splits": {
        "apart": {
            "ort": {"runtime": "onnxruntime", "cores": "auto"},
            "ov": {"runtime": "openvino", "cores": "auto"},
        },
        "together": {"all": {"runtime": "openvino", "cores": "auto"}},
    },
}
WORKLOAD = Workload.from_dict(
    {"name": "pair", "instances": [{"name": "alpha", "network": "alpha"}, {"name": "beta", "network": "beta"}]}, "pair"
)
APART = Schedule(
    "pair", "apart", "haxconn", "latency", None, "feasible", None, None, None,
    {"alpha": ["ort", "ov", "ov", "ort"], "beta": ["ov", "ort", "ort"]},
    {"ort": [["alpha", 0, 0], ["beta", 1, 2], ["alpha", 3, 3]], "ov": [["beta", 0, 0], ["alpha", 1, 2]]},
)  # fmt: skip
TOGETHER = Schedule(
    "pair", "together", "naive", "latency", None, "feasible", None, None, None,
    {"alpha": ["all"] * 4, "beta": ["all"] * 3}, {"all": [["alpha", 0, 3], ["beta", 0, 2]]},
)  # fmt: skip


def cpu_seconds(process: int) -> float:
    """Processor time that a process has used, of all its threads (proc(5), fields utime and stime)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_splits_share_cores_and_a_split_does_not() -> None:
    target = HostTarget("box", SPEC)
    everything = tuple(sorted(os.sched_getaffinity(0)))
    assert target.splits == {"apart": ("ort", "ov"), "together": ("all",)}
    assert target.accelerators == ("ort", "ov", "all")
    assert not set(target.cores["ort"]) & set(target.cores["ov"])
    assert tuple(sorted(target.cores["all"])) == everything == target.all_cores
    assert target.facts()["splits"] == {"apart": ["ort", "ov"], "together": ["all"]}
    plain = HostTarget("box", {"kind": "host", "accelerators": SPEC["splits"]["apart"]})
    assert plain.splits == {"accelerators": ("ort", "ov")}


def test_a_core_claimed_twice_within_a_split_names_the_split() -> None:
    twice = {name: {"runtime": "openvino", "cores": [0]} for name in ("a", "b")}
    with pytest.raises(InputError, match=r"target 'box, x': core 0 is given to both 'a' and 'b'"):
        HostTarget("box", {"splits": {"x": twice}})
    one = {"a": {"runtime": "openvino", "cores": [0]}}
    with pytest.raises(InputError, match=r"target 'box': two splits have an accelerator 'a'; names must differ"):
        HostTarget("box", {"splits": {"x": one, "y": one}})


def test_one_job_runs_both_splits(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    paths = []
    for schedule in (
        APART, TOGETHER, *(Schedule("pair", "box", name, "latency", None, "feasible", None, None, None, None, None)
                           for name in ("whole", "streams")),
    ):  # fmt: skip
        paths.append(tmp_path / f"{schedule.scheduler}.json")
        schedule.write(paths[-1])
    out = tmp_path / "run.json"
    runtimes = dict.fromkeys(tiny_networks, "openvino")
    target = HostTarget("box", SPEC)
    run_workload(target, WORKLOAD, tiny_networks, paths, runtimes, RunOptions(1, 4, 4, 0.0), out)
    run = json.loads(out.read_text())
    assert all(entry["ok"] for entry in run["outputs"].values()), run["outputs"]
    used = {entry["scheduler"]: {segment[3] for segment in entry["segments"]} for entry in run["iterations"]}
    assert used == {"haxconn": {"ort", "ov"}, "naive": {"all"}, "whole": {"chip"}, "streams": {"chip"}}
    assert len(run["iterations"]) == 16


def test_the_workers_of_the_other_split_sleep(tiny_networks: dict[str, Path]) -> None:
    with Runner(HostTarget("box", SPEC), WORKLOAD, tiny_networks, [APART, TOGETHER]) as runner:
        runner.write_inputs(runner.random_inputs(np.random.default_rng(1)))
        ids = runner.process_ids()
        for name, resting in (("haxconn", ("all",)), ("naive", ("ort", "ov"))):
            for _ in range(3):
                runner.run(name)
            before = {worker: cpu_seconds(ids[worker]) for worker in ids}
            for _ in range(150):
                runner.run(name)
            spent = {worker: cpu_seconds(ids[worker]) - before[worker] for worker in ids}
            busy = sum(seconds for worker, seconds in spent.items() if worker not in resting)
            # clock ticks are 10 ms
            assert busy >= 0.05, spent
            assert all(spent[worker] <= 0.02 for worker in resting), spent


def test_a_schedule_that_mixes_splits_is_refused(tiny_networks: dict[str, Path]) -> None:
    mixed = Schedule(
        "pair", "box", "mixed", "latency", None, "feasible", None, None, None,
        {"alpha": ["ort"] * 4, "beta": ["all"] * 3}, {"ort": [["alpha", 0, 3]], "all": [["beta", 0, 2]]},
    )  # fmt: skip
    expected = (
        r"'mixed' of workload 'pair' uses accelerators of 2 splits, ort of split 'apart' and all of split 'together'"
    )
    with pytest.raises(InputError, match=expected):
        Runner(HostTarget("box", SPEC), WORKLOAD, tiny_networks, [mixed])


def test_peak_traffic_is_that_of_the_best_split(tiny_networks: dict[str, Path]) -> None:
    network = ExportedNetwork.read(tiny_networks["beta"])
    with HostTarget("box", SPEC).open_session({"beta": network}) as session:
        session.load(only={"beta": [0]})
        assert 1e6 < session.peak_traffic(0.2) < 1e13
        # what ran last has ended
        assert session.time("ort", [Timed("beta", 0)], 2)
