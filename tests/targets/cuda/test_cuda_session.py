"""Sessions of the cuda target on a stand-in device: everything but the GPU itself, through the parts that use it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multidnn import networks
from multidnn.contention.characterise import characterise
from multidnn.errors import InputError
from multidnn.measure.emc import profile_emc
from multidnn.measure.isolation.case import IsolationCase, IsolationOptions
from multidnn.measure.isolation.job import measure_isolation
from multidnn.measure.layers import profile_layers
from multidnn.measure.merge import merge_tables
from multidnn.measure.options import MeasureOptions
from multidnn.measure.transitions import profile_transitions
from multidnn.measure.whole import profile_whole, read_chip_runtimes
from multidnn.networks.exported import ExportedNetwork
from multidnn.runtime import Runner
from multidnn.runtime.jobs import RunOptions, run_workload
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.tables import LAYERS, TRANSITIONS, read
from multidnn.targets.base import Loop, Service, Step, Timed, chip_worker
from multidnn.targets.cuda.target import CudaTarget

Open = Callable[[Mapping[str, Any]], CudaTarget]
TWO = {"partitions": {"small": {"sms": 32}, "large": {"sms": 100}}}
OPTIONS = MeasureOptions(warmup=1, min_samples=2, max_samples=3, budget_s=0.01)
WORKLOAD = Workload.from_dict(
    {"name": "pair", "instances": [{"name": n, "network": n} for n in ("alpha", "beta")]}, "t"
)


def placed(name: str, alpha: list[str], beta: list[str], order: dict[str, list[list[Any]]]) -> Schedule:
    """Return a schedule of alpha and beta."""
    placement = {"alpha": alpha, "beta": beta}
    return Schedule("pair", "gpu", name, "latency", None, "feasible", 1.0, None, None, placement, order)


def chip(name: str) -> Schedule:
    """Return a schedule of the chip used whole."""
    return Schedule("pair", "gpu", name, "latency", None, "feasible", None, None, None, None, None)


def crossing(small: str, large: str, name: str = "crossing") -> Schedule:
    """Alpha begins on `small` and ends on `large`, beta the other way round."""
    return placed(
        name,
        [small, small, large, large],
        [large, small, small],
        {small: [["alpha", 0, 1], ["beta", 1, 2]], large: [["beta", 0, 0], ["alpha", 2, 3]]},
    )


def reference(directory: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs of a network by ONNX Runtime."""
    import onnxruntime

    network = ExportedNetwork.read(directory)
    session = onnxruntime.InferenceSession(str(network.whole_path), providers=["CPUExecutionProvider"])
    return dict(zip(network.outputs, session.run(list(network.outputs), dict(inputs)), strict=True))


@pytest.mark.parametrize("name", ["crossing", "whole", "streams"])
def test_a_run_gives_what_the_network_gives(cpu_target: Open, tiny_networks: dict[str, Path], name: str) -> None:
    target = cpu_target(TWO)
    rng = np.random.default_rng(3)
    schedule = crossing("small", "large") if name == "crossing" else chip(name)
    runtimes = dict.fromkeys(tiny_networks, "torch-fp32")
    with Runner(target, WORKLOAD, tiny_networks, [schedule], runtimes) as runner:
        for _ in range(2):
            inputs = {
                instance: {key: rng.standard_normal(shape, dtype=np.float32) for key, shape in network.inputs.items()}
                for instance, network in runner.networks.items()
            }
            runner.write_inputs(inputs)
            runner.clear_outputs()
            iteration = runner.run(name)
            assert 0 < iteration.makespan_ms < 1e5
            for instance, outputs in runner.outputs().items():
                for key, expected in reference(tiny_networks[instance], inputs[instance]).items():
                    np.testing.assert_allclose(outputs[key], expected, rtol=1e-4, atol=1e-5)


def test_schedules_of_two_splits_run_in_one_job(cpu_target: Open, tiny_networks: dict[str, Path]) -> None:
    spec = {
        "splits": {
            "32-100": {"a32": {"sms": 32}, "a100": {"sms": 100}},
            "64-68": {"b64": {"sms": 64}, "b68": {"sms": 68}},
        }
    }
    target = cpu_target(spec)
    assert target.accelerators == ("a32", "a100", "b64", "b68")
    assert target.split("64-68").accelerators == ("b64", "b68")
    schedules = [crossing("a32", "a100", "one"), crossing("b68", "b64", "other")]
    with Runner(target, WORKLOAD, tiny_networks, schedules) as runner:
        results = {}
        for name in ("one", "other"):
            runner.clear_outputs()
            iteration = runner.run(name)
            results[name] = runner.outputs()
            assert {segment.accelerator for segment in iteration.segments} == (
                {"a32", "a100"} if name == "one" else {"b64", "b68"}
            )
        for instance, outputs in results["one"].items():
            for key, value in outputs.items():
                assert np.isfinite(value).all()
                np.testing.assert_array_equal(value, results["other"][instance][key])


def test_mixed_precision_is_handed_over(cpu_target: Open, tiny_networks: dict[str, Path]) -> None:
    target = cpu_target({"partitions": {"small": {"sms": 32, "precision": "bf16"}, "large": {"sms": 100}}})
    assert target.chip_runtimes == ("torch-bf16", "torch-fp32")
    assert target.output_tolerance > 1e-2
    rng = np.random.default_rng(3)
    with Runner(target, WORKLOAD, tiny_networks, [crossing("small", "large")]) as runner:
        inputs = {
            instance: {key: rng.standard_normal(shape, dtype=np.float32) for key, shape in network.inputs.items()}
            for instance, network in runner.networks.items()
        }
        runner.write_inputs(inputs)
        runner.run("crossing")
        for instance, outputs in runner.outputs().items():
            for key, expected in reference(tiny_networks[instance], inputs[instance]).items():
                assert np.abs(outputs[key] - expected).max() < 0.05 * np.abs(expected).max()


def test_a_batch_repeats_the_input_that_is_given(cpu_target: Open, tiny_networks: dict[str, Path]) -> None:
    target = cpu_target({"batch": 3, **TWO})
    network = ExportedNetwork.read(tiny_networks["alpha"])
    value = np.random.default_rng(0).standard_normal(network.inputs["data"], dtype=np.float32)
    with target.open_session({"alpha": network}) as session:
        session.load()
        session.tensor("alpha", "data")[...] = value
        session.time("large", [Timed("alpha", group.index) for group in network.groups], 1)
        (name,) = network.outputs
        found = session.tensor("alpha", name)
        assert found.shape[0] == 3
        np.testing.assert_allclose(
            found, np.repeat(reference(tiny_networks["alpha"], {"data": value})[name], 3, 0), 1e-4
        )


def test_all_profiles_and_a_run_job(cpu_target: Open, tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    target = cpu_target(TWO)
    directories = list(tiny_networks.values())
    parts = []
    for directory in directories:
        parts.append(tmp_path / f"{directory.name}.csv")
        profile_layers(target, directory, OPTIONS, parts[-1])
    layers = tmp_path / "layer_results.csv"
    merge_tables(parts, LAYERS, layers)
    assert all(row["supported"] and row["median_ms"] > 0 for row in read(layers, LAYERS))
    transitions = tmp_path / "transition_results.csv"
    profile_transitions(target, directories, layers, OPTIONS, transitions)
    # 3 and 2 borders, both ways
    assert len(read(transitions, TRANSITIONS)) == 10
    whole = tmp_path / "whole_results.csv"
    profile_whole(target, directories, OPTIONS, whole)
    assert set(read_chip_runtimes(whole).values()) == {"torch-fp32"}
    convolutions = []
    for path in sorted(Path("prototxt/convolution").glob("conv1_kernel[12].prototxt")):
        convolution = networks.load(path, seed=1)
        convolutions.append(tmp_path / path.stem)
        networks.export(convolution, networks.choose_groups(convolution, count=1), convolutions[-1])
    emc = tmp_path / "emc_results.csv"
    profile_emc(target, directories, convolutions, layers, OPTIONS, emc, tmp_path / "emc.yaml")
    characterise(target, directories, convolutions, emc, OPTIONS, tmp_path / "contention.json")
    paths = []
    for schedule in (crossing("small", "large"), chip("whole"), chip("streams")):
        paths.append(tmp_path / f"{schedule.scheduler}.json")
        schedule.write(paths[-1])
    out = tmp_path / "run.json"
    run_workload(
        target, WORKLOAD, tiny_networks, paths, read_chip_runtimes(whole), RunOptions(1, 2, 2, 0.0), out
    )  # fmt: skip
    run = json.loads(out.read_text())
    assert len(run["iterations"]) == 6
    assert all(entry["ok"] for entry in run["outputs"].values())


def test_a_loop_in_the_background_counts_its_rounds(cpu_target: Open, tiny_networks: dict[str, Path]) -> None:
    network = ExportedNetwork.read(tiny_networks["beta"])
    with cpu_target(TWO).open_session({"beta": network}) as session:
        session.load(only={"beta": [0, 1]})
        with session.background({"small": Loop((("beta", 0), ("beta", 1)))}) as answers:
            session.time("large", [Timed("beta", 1)], 2)
        assert answers["small"] > 0


def test_requests_are_answered_beside_others(cpu_target: Open, tiny_networks: dict[str, Path]) -> None:
    network = {name: ExportedNetwork.read(path) for name, path in tiny_networks.items()}
    instances = {"alpha": network["alpha"], "beta": network["beta"], "beta-2": network["beta"]}
    with cpu_target(TWO).open_session(instances, chip=dict.fromkeys(instances, "torch-fp32")) as session:
        session.load(only={})
        for accelerator, name in (("small", "alpha"), ("large", "beta"), ("large", "beta-2")):
            assert session.load_whole(accelerator, name) is None
        turns = [Service("beta", "large"), Service("beta-2", "large")]
        served = session.serve(Service("alpha", "small"), turns, 300, 2)
        assert len(served.latency_ms) == 300
        assert sum(served.latency_ms) <= 1e3 * served.window_s
        # four executions of each a launch
        assert served.executions["beta"] == served.executions["beta-2"]
        assert served.executions["beta"] % 4 == 0
        shared = session.serve(Service("alpha"), [Service("beta")], 300, 2)
        assert shared.executions["beta"] % 8 == 0
        assert shared.executions["beta"] > 0


def test_an_urgent_network_runs_what_was_captured_on_its_lane_in_another_stream(
    cpu_target: Open, tiny_networks: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from multidnn.targets.cuda import graphs

    network = ExportedNetwork.read(tiny_networks["beta"])
    launched = []
    original = graphs.Chain.launch
    monkeypatch.setattr(graphs.Chain, "launch", lambda chain: (launched.append(chain), original(chain))[1])
    with cpu_target(TWO).open_session({"beta": network}, chip={"beta": "torch-fp32"}) as session:
        session.load(only={})
        (output,) = network.outputs
        found = []
        for urgent in (False, True):
            session.tensor("beta", output)[...] = np.nan
            session.serve(Service("beta"), [], 1, 0, urgent=urgent)
            found.append(session.tensor("beta", output).copy())
        np.testing.assert_array_equal(*found)
    ordinary, urgent_chain = launched
    assert ordinary.lane.name == chip_worker("beta")
    assert urgent_chain.lane.name == f"urgent {ordinary.lane.name}"
    assert urgent_chain.lane.stream is not ordinary.lane.stream
    assert urgent_chain.work == ordinary.work
    assert [part.lane for part in ordinary.work] == [ordinary.lane]


def test_the_isolation_job(cpu_target: Open, tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    case = IsolationCase.of("kept", {"network": "alpha", "accelerator": "small"}, {"large": ["beta", "beta"]})
    options = IsolationOptions(requests=20, blocks=2, warmup=1)
    runtimes = dict.fromkeys(tiny_networks, "torch-fp32")
    measure_isolation(cpu_target(TWO), case, tiny_networks, runtimes, options, tmp_path / "kept.json")
    found = json.loads((tmp_path / "kept.json").read_text())
    assert [entry["requests"] for entry in found["conditions"].values()] == [20] * 5
    assert all(entry["ok"] for entry in found["outputs"].values())
    assert all(entry["worst_condition"] is None or entry["max_abs_err"] > 0 for entry in found["outputs"].values())


def test_a_network_that_a_partition_does_not_take_ends_the_isolation_job(
    cpu_target: Open, tiny_networks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = cpu_target(TWO)
    problems = iter([None, None, "CUDA_ERROR_INVALID_CLUSTER_SIZE"])
    monkeypatch.setattr(
        target.opened(), "graph_problem", lambda captured: next(problems, "CUDA_ERROR_INVALID_CLUSTER_SIZE")
    )
    case = IsolationCase.of("kept", {"network": "alpha", "accelerator": "small"}, {"large": ["beta"]})
    with pytest.raises(
        InputError, match=r"isolation 'kept': accelerator 'small' does not take 'alpha': .*large_clusters"
    ):
        measure_isolation(
            target, case, tiny_networks, dict.fromkeys(tiny_networks, "torch-fp32"), IsolationOptions(), tmp_path / "x.json"
        )  # fmt: skip
    assert not (tmp_path / "x.json").exists()


def test_groups_whose_kernels_a_partition_cannot_take(
    cpu_target: Open, tiny_networks: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, target = ExportedNetwork.read(tiny_networks["beta"]), cpu_target(TWO)
    tried = []

    def problem(captured: object) -> str | None:
        tried.append(captured)
        # lanes are loaded in turn: both tries of the first group on the first lane
        return "CUDA_ERROR_INVALID_CLUSTER_SIZE" if len(tried) <= 2 else None

    monkeypatch.setattr(target.opened(), "graph_problem", problem)
    with target.open_session({"beta": network}) as session:
        session.load()
        first, second = target.accelerators
        assert "INVALID_CLUSTER_SIZE (try large_clusters: true)" in str(session.refusal(first, "beta", 0))
        assert session.refusal(first, "beta", 1) is None
        assert session.refusal(second, "beta", 0) is None


def test_instances_share_no_memory_for_temporaries(cpu_target: Open, tiny_networks: dict[str, Path]) -> None:
    networks = {name: ExportedNetwork.read(directory) for name, directory in tiny_networks.items()}
    target = cpu_target(TWO)
    with target.open_session(networks) as session:
        session.load()
    lanes = target.opened().lanes.values()
    assert len({id(part.pool) for lane in lanes for part in lane.captured}) == len(lanes) * len(networks)


def test_what_is_not_loaded_cannot_be_run(cpu_target: Open, tiny_networks: dict[str, Path]) -> None:
    network = ExportedNetwork.read(tiny_networks["beta"])
    with cpu_target(TWO).open_session({"beta": network}) as session:
        session.load(only={"beta": [1]})
        with pytest.raises(InputError, match="group 0 of 'beta' is not loaded: it was not asked for"):
            session.time("large", [Timed("beta", 0)], 1)


def test_an_unknown_operator_is_a_refusal(cpu_target: Open, tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    import onnx

    directory = tmp_path / "beta"
    shutil.copytree(tiny_networks["beta"], directory)
    path = ExportedNetwork.read(directory).groups[1].path
    model = onnx.load(str(path), load_external_data=False)
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type = "Celu"
    onnx.save(model, str(path))
    network = ExportedNetwork.read(directory)
    with cpu_target(TWO).open_session({"beta": network}, chip={"beta": "torch-fp32"}) as session:
        session.load()
        assert "operator Celu is not supported by the cuda target" in (session.refusal("small", "beta", 1) or "")
        assert node.output[0] in (session.refusal("small", "beta", 1) or "") or node.name in (
            session.refusal("small", "beta", 1) or ""
        )
        assert session.refusal("small", "beta", 0) is None
        assert session.refusal_whole("beta") is None


def test_a_worker_that_waits_for_nothing_is_an_error(cpu_target: Open, tiny_networks: dict[str, Path]) -> None:
    network = ExportedNetwork.read(tiny_networks["beta"])
    with cpu_target(TWO).open_session({"beta": network}, chip={"beta": "torch-fp32"}) as session:
        session.load()
        session.plan(chip_worker("beta"), "p", [Step(("beta/whole",), waits=(4,))], spin=False)
        with pytest.raises(InputError, match="waits for event 4, which no step signals"):
            session.iterate("p", [chip_worker("beta")], 1.0)
