"""Profiles of tiny networks on this machine: files as documented, columns that follow from the raw samples beside them."""

import csv
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from multidnn import tables
from multidnn.errors import InputError
from multidnn.measure.emc import graph_traffic_bytes, profile_emc
from multidnn.measure.layers import profile_layers
from multidnn.measure.merge import merge_tables
from multidnn.measure.options import MeasureOptions
from multidnn.measure.transitions import profile_transitions
from multidnn.measure.whole import profile_whole, read_chip_runtimes
from multidnn.networks.exported import ExportedNetwork, GroupModel
from multidnn.targets.host.bandwidth import find_counter
from multidnn.targets.host.session import HostSession
from multidnn.targets.host.target import HostTarget

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")

OPTIONS = MeasureOptions(warmup=1, min_samples=4, max_samples=4, budget_s=0.0, seed=3)
RUNTIMES = {"ort": "onnxruntime", "ov": "openvino"}
CONVOLUTION = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 dim: 16 dim: 16 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 16 kernel_size: 3 } }
"""


@pytest.fixture(scope="module", autouse=True)
def own_lock(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Tests take their own lock, so that a measurement elsewhere on the machine does not stop them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("lock")))
        yield


@pytest.fixture
def target(host_spec: dict[str, Any]) -> HostTarget:
    return HostTarget("box", host_spec)


@pytest.fixture(scope="module")
def layer_tables(tiny_networks: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The layer table of each tiny network."""
    folder = tmp_path_factory.mktemp("layer")
    spec = {"accelerators": {name: {"runtime": run, "cores": "auto"} for name, run in RUNTIMES.items()}}
    for name, directory in tiny_networks.items():
        profile_layers(HostTarget("box", spec), directory, OPTIONS, folder / f"{name}.csv")
    return {name: folder / f"{name}.csv" for name in tiny_networks}


def header(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0]


def sidecar(path: Path) -> dict[str, Any]:
    """The JSON beside a table, with what every sidecar must say checked."""
    content: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert content["format"] == 1
    assert content["statistic"] == "median"
    assert content["sampling"]["warmup"] == OPTIONS.warmup
    environment = content["environment"]
    assert environment["target"]["target"] == "box"
    assert set(environment["target"]["accelerators"]) == set(RUNTIMES)
    assert environment["versions"]["python"] == platform.python_version()
    assert environment["git_commit"] is None or len(environment["git_commit"]) == 40
    age = datetime.now().astimezone() - datetime.fromisoformat(environment["time_utc"])
    assert -5 < age.total_seconds() < 3600
    return content


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_layer_table_has_a_row_per_group_and_accelerator_from_the_samples_beside_it(
    tiny_networks: dict[str, Path], layer_tables: dict[str, Path], name: str
) -> None:
    path = layer_tables[name]
    assert header(path) == (
        "network,group,first_layer,last_layer,accelerator,supported,median_ms,mean_ms,std_ms,samples,reason"
    )
    groups = json.loads((tiny_networks[name] / "network.json").read_text())["groups"]
    rows = tables.read(path, tables.LAYERS)
    content = sidecar(path)
    assert {(row["group"], row["accelerator"]) for row in rows} == {
        (group, accelerator) for group in range(len(groups)) for accelerator in RUNTIMES
    }
    assert len(rows) == len(groups) * len(RUNTIMES)
    for row in rows:
        samples = content["samples_ms"][row["accelerator"]][row["group"]]
        assert row["network"] == name
        assert [row["first_layer"], row["last_layer"]] == groups[row["group"]]
        assert row["supported"] is True
        assert row["samples"] == len(samples) == OPTIONS.min_samples
        assert row["median_ms"] == pytest.approx(statistics.median(samples), rel=1e-5)
        assert row["mean_ms"] == pytest.approx(statistics.fmean(samples), rel=1e-5)
        assert row["std_ms"] == pytest.approx(statistics.stdev(samples), rel=1e-4, abs=1e-6)
        assert min(samples) > 0


def test_a_group_too_short_to_time_is_repeated_and_marked(layer_tables: dict[str, Path]) -> None:
    content, marked = sidecar(layer_tables["alpha"]), 0
    for row in tables.read(layer_tables["alpha"], tables.LAYERS):
        repeats = content["repeats"][row["accelerator"]][row["group"]]
        if repeats > 1:
            marked += 1
            assert f"repeated {repeats} times" in row["reason"]
        else:
            assert "repeated" not in (row["reason"] or "")
    # the pooling alone takes some microseconds
    assert marked > 0


def test_merged_tables_hold_every_row_and_every_sidecar(layer_tables: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "layer_results.csv"
    merge_tables(list(layer_tables.values()), tables.LAYERS, out)
    rows = [row for path in layer_tables.values() for row in tables.read(path, tables.LAYERS)]
    assert tables.read(out, tables.LAYERS) == rows
    parts = json.loads(out.with_suffix(".json").read_text())["parts"]
    for name, path in layer_tables.items():
        assert parts[name]["samples_ms"] == sidecar(path)["samples_ms"]


def test_merging_a_table_twice_names_the_row_and_writes_nothing(layer_tables: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "layer_results.csv"
    with pytest.raises(InputError, match=r"alpha\.csv: repeats the row alpha, 0, ort"):
        merge_tables([layer_tables["alpha"], layer_tables["alpha"]], tables.LAYERS, out)
    assert list(tmp_path.iterdir()) == []


def test_transition_table_has_a_row_per_boundary_and_ordered_pair(
    target: HostTarget,
    tiny_networks: dict[str, Path],
    layer_tables: dict[str, Path],
    tmp_path: Path,
    children: Callable[[], set[int]],
) -> None:
    layers, out = tmp_path / "layers.csv", tmp_path / "transition_results.csv"
    merge_tables(list(layer_tables.values()), tables.LAYERS, layers)
    profile_transitions(target, list(tiny_networks.values()), layers, OPTIONS, out)
    assert header(out) == "network,after_group,source,destination,out_ms,in_ms,bytes"
    rows = tables.read(out, tables.TRANSITIONS)
    networks = {name: ExportedNetwork.read(directory) for name, directory in tiny_networks.items()}
    assert [(row["network"], row["after_group"], row["source"], row["destination"]) for row in rows] == [
        (name, group, source, destination)
        for name, network in networks.items()
        for group in range(len(network.groups) - 1)
        for source, destination in (("ort", "ov"), ("ov", "ort"))
    ]
    samples = sidecar(out)["samples"]
    for row in rows:
        (shape,) = networks[row["network"]].groups[row["after_group"]].outputs.values()
        count = 1
        for size in shape:
            count *= size
        assert row["bytes"] == 4 * count
        series = samples["/".join(str(row[key]) for key in ("network", "after_group", "source", "destination"))]
        assert row["out_ms"] == pytest.approx(statistics.median(series["signal_ms"]), rel=1e-5)
        arrival, cold = (statistics.median(series[key]) for key in ("arrival_ms", "cold_read_extra_ms"))
        assert row["in_ms"] == pytest.approx(arrival + max(0.0, cold), rel=1e-5)
        assert min(series["signal_ms"]) > 0
        # counted from the end of signalling: zero where the other core saw the signal before that call returned
        assert min(series["arrival_ms"]) >= 0


def test_a_transition_from_or_to_an_unsupported_group_has_no_row(
    target: HostTarget, tiny_networks: dict[str, Path], layer_tables: dict[str, Path], tmp_path: Path
) -> None:
    rows = tables.read(layer_tables["beta"], tables.LAYERS)
    for row in rows:
        if (row["group"], row["accelerator"]) == (1, "ov"):
            row.update(supported=False, median_ms=None, mean_ms=None, std_ms=None, samples=None, reason="for the test")
    tables.write(tmp_path / "layers.csv", tables.LAYERS, rows)
    out = tmp_path / "transitions.csv"
    profile_transitions(target, [tiny_networks["beta"]], tmp_path / "layers.csv", OPTIONS, out)
    assert [
        (row["after_group"], row["source"], row["destination"]) for row in tables.read(out, tables.TRANSITIONS)
    ] == [(0, "ov", "ort"), (1, "ort", "ov")]


def test_whole_table_holds_the_faster_runtime(
    target: HostTarget, tiny_networks: dict[str, Path], tmp_path: Path, children: Callable[[], set[int]]
) -> None:
    out = tmp_path / "whole_results.csv"
    profile_whole(target, list(tiny_networks.values()), OPTIONS, out)
    assert header(out) == "network,median_ms,mean_ms,std_ms,samples"
    content, chosen = sidecar(out), read_chip_runtimes(out)
    assert isinstance(content["unstable"], list)
    for row in tables.read(out, tables.WHOLE):
        samples = content["samples_ms"][row["network"]]
        medians = {runtime: statistics.median(series) for runtime, series in samples.items()}
        assert set(medians) == set(RUNTIMES.values())
        assert chosen[row["network"]] == min(medians, key=medians.__getitem__)
        assert row["median_ms"] == pytest.approx(min(medians.values()), rel=1e-5)
        assert row["samples"] == len(samples[chosen[row["network"]]]) == OPTIONS.min_samples
    assert set(chosen) == set(tiny_networks)


def test_a_whole_sidecar_without_runtimes_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "whole_results.json").write_text("{}")
    with pytest.raises(InputError, match=r"whole_results\.json: key 'runtime' is missing; measure"):
        read_chip_runtimes(tmp_path / "whole_results.csv")


@pytest.fixture(scope="module")
def convolution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One exported convolution, named as those of the zoo."""
    from multidnn.networks import export, load

    folder = tmp_path_factory.mktemp("convolution")
    source = folder / "conv1_kernel1.prototxt"
    source.write_text(CONVOLUTION, encoding="utf-8")
    export(load(source), [(0, 0)], folder / "conv1_kernel1")
    return folder / "conv1_kernel1"


def profile_demand(
    target: HostTarget, tiny_networks: dict[str, Path], layer_tables: dict[str, Path], convolution: Path, folder: Path
) -> list[dict[str, Any]]:
    out = folder / "emc_results.csv"
    profile_emc(
        target, [tiny_networks["beta"]], [convolution], layer_tables["beta"], OPTIONS, out, out.with_suffix(".yaml")
    )
    assert header(out) == "name,group,accelerator,demand_gb_s,utilization_pct,method"
    rows = tables.read(out, tables.EMC)
    assert {(row["name"], row["group"], row["accelerator"]) for row in rows} == {
        (name, group, accelerator)
        for name, group in (("conv1_kernel1", None), ("beta", 0), ("beta", 1), ("beta", 2))
        for accelerator in RUNTIMES
    }
    peak = sidecar(out)["peak_gb_s"]
    assert peak > 0
    for row in rows:
        assert row["utilization_pct"] == pytest.approx(100 * row["demand_gb_s"] / peak, rel=1e-4)
    view = yaml.safe_load(out.with_suffix(".yaml").read_text())
    (first,) = (row for row in rows if row["group"] is None and row["accelerator"] == "ort")
    assert view == {"conv1": {"kernel1": pytest.approx(first["utilization_pct"], abs=0.006)}}
    return rows


def no_counter(process_id: int) -> tuple[None, str]:
    return None, "none in this test"


def test_demand_without_counters_is_the_traffic_of_the_graph_over_time(
    target: HostTarget,
    tiny_networks: dict[str, Path],
    layer_tables: dict[str, Path],
    convolution: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("target", "session"):
        monkeypatch.setattr(f"multidnn.targets.host.{module}.find_counter", no_counter)
    rows = profile_demand(target, tiny_networks, layer_tables, convolution, tmp_path)
    times = {
        (row["group"], row["accelerator"]): row["median_ms"] for row in tables.read(layer_tables["beta"], tables.LAYERS)
    }
    # beta's first group: 4 x 20 x 20 in, 12 x 16 x 16 out of the convolution and in and out of the ReLU, 5 x 5 kernels
    expected = {0: 4 * (1600 + 3 * 3072 + 12 * 4 * 25 + 12)}
    network = ExportedNetwork.read(tiny_networks["beta"])
    assert graph_traffic_bytes(network.groups[0]) == expected[0]
    for row in rows:
        assert row["method"] == "graph-traffic"
        if row["group"] is not None:
            traffic = graph_traffic_bytes(network.groups[row["group"]])
            milliseconds = times[row["group"], row["accelerator"]]
            assert row["demand_gb_s"] == pytest.approx(traffic / milliseconds / 1e6, rel=1e-4)
    content = sidecar(tmp_path / "emc_results.csv")
    assert content["counter"] == "none in this test"
    for row in rows:
        if row["group"] is None:
            samples = content["convolution_samples_ms"][row["accelerator"]]["conv1_kernel1"]
            assert len(samples) == OPTIONS.min_samples


@pytest.mark.skipif(platform.machine() != "x86_64", reason="perf_event_open is used on x86_64 only")
def test_demand_comes_from_the_kernels_counter_where_there_is_one(
    target: HostTarget,
    tiny_networks: dict[str, Path],
    layer_tables: dict[str, Path],
    convolution: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a memory controller whose events are really the processor clocks of all cores, one byte per nanosecond
    unit = tmp_path / "sys" / "bus" / "event_source" / "devices" / "uncore_imc"
    (unit / "events").mkdir(parents=True)
    (unit / "type").write_text("1\n")
    (unit / "cpumask").write_text(",".join(map(str, target.all_cores)))
    for name in ("data_reads", "data_writes"):
        for suffix, text in (("", "config=0"), (".scale", "1"), (".unit", "Bytes")):
            (unit / "events" / f"{name}{suffix}").write_text(f"{text}\n")
    find = partial(find_counter, root=tmp_path / "sys")
    counter, reason = find(os.getpid())
    if counter is None:
        pytest.skip(reason)
    counter.close()
    for module in ("target", "session"):
        monkeypatch.setattr(f"multidnn.targets.host.{module}.find_counter", find)
    rows = profile_demand(target, tiny_networks, layer_tables, convolution, tmp_path)
    for row in rows:
        assert row["method"] == "perf-uncore-imc"
        # both clocks of at least the looping core ran, and of no more cores than there are
        assert 0.2 < row["demand_gb_s"] < 2.2 * len(target.all_cores)


def test_a_group_that_one_runtime_refuses_is_unsupported_with_the_reason(
    target: HostTarget, tiny_networks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = HostSession._load_group

    def refuse(self: HostSession, instance: str, network: ExportedNetwork, group: GroupModel) -> None:
        """Give OpenVINO a file that is no model in place of group 1."""
        if group.index == 1:
            broken = tmp_path / "broken.onnx"
            broken.write_bytes(b"this is no model")
            path, send = group.path, self._crew.send

            def swap(worker: str, command: str, **arguments: Any) -> None:
                if worker == "ov" and arguments.get("model") == str(path):
                    arguments["model"] = str(broken)
                send(worker, command, **arguments)

            monkeypatch.setattr(self._crew, "send", swap)
        call(self, instance, network, group)

    monkeypatch.setattr(HostSession, "_load_group", refuse)
    out = tmp_path / "beta.csv"
    profile_layers(target, tiny_networks["beta"], OPTIONS, out)
    rows = {(row["group"], row["accelerator"]): row for row in tables.read(out, tables.LAYERS)}
    assert [key for key, row in rows.items() if not row["supported"]] == [(1, "ov")]
    assert "broken.onnx: openvino cannot load it" in rows[1, "ov"]["reason"]
    assert rows[1, "ov"]["median_ms"] is None
    assert all(row["median_ms"] > 0 for row in rows.values() if row["supported"])
    # what follows leaves out the moves onto it and its demand, and says so by their absence only there
    transitions = tmp_path / "transitions.csv"
    profile_transitions(target, [tiny_networks["beta"]], out, OPTIONS, transitions)
    moves = {(r["after_group"], r["source"], r["destination"]) for r in tables.read(transitions, tables.TRANSITIONS)}
    assert moves == {(0, "ov", "ort"), (1, "ort", "ov")}


def test_a_missing_layer_row_is_named(target: HostTarget, tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    table = tmp_path / "layers.csv"
    tables.write(table, tables.LAYERS, [])
    with pytest.raises(InputError, match=r"layers\.csv: no row for network 'beta', group 0, accelerator 'ort'"):
        profile_transitions(target, [tiny_networks["beta"]], table, OPTIONS, tmp_path / "transitions.csv")
    assert not (tmp_path / "transitions.csv").exists()


def test_a_table_is_not_half_written_when_a_worker_fails(
    target: HostTarget, tiny_networks: dict[str, Path], tmp_path: Path, children: Callable[[], set[int]]
) -> None:
    import shutil

    broken, out = tmp_path / "broken", tmp_path / "broken.csv"
    shutil.copytree(tiny_networks["beta"], broken)
    (broken / "models" / "group_01.onnx").write_bytes(b"this is no model")
    out.write_text("an earlier result")
    with pytest.raises(
        InputError, match=r"no accelerator takes group 1 of 'beta': .*group_01\.onnx: onnxruntime cannot"
    ):
        profile_layers(target, broken, OPTIONS, out)
    assert out.read_text() == "an earlier result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "broken.csv"]


def test_tables_are_plain_csv(layer_tables: dict[str, Path]) -> None:
    with layer_tables["beta"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["supported"] for row in rows} == {"true"}
    assert all(float(row["median_ms"]) > 0 for row in rows)
