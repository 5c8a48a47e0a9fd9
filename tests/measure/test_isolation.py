"""One network's requests under every condition: what the numbers are, and that what was planted comes out again."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from multidnn.errors import InputError
from multidnn.measure.isolation.case import IsolationCase, IsolationOptions
from multidnn.measure.isolation.job import measure_isolation
from multidnn.measure.isolation.latency import latencies
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets import open_target
from multidnn.targets.base import Served, Service

CONDITIONS = ["alone", "alone_on_partition", "streams", "priority", "partitions"]
CASE = IsolationCase.of("kept", {"network": "alpha", "accelerator": "ov"}, {"ort": ["beta", "alpha"]})


# ---- the numbers


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0.01, 1e4), min_size=20, max_size=20), min_size=5, max_size=8), st.integers(0, 99))
def test_percentiles_are_those_of_all_requests_together(blocks: list[list[float]], seed: int) -> None:
    found = latencies({"alone": blocks, "other": blocks[::-1]}, seed, resamples=20)["other"]
    pooled = np.concatenate(blocks)
    assert found.requests == len(pooled)
    assert found.p50.ms == pytest.approx(np.percentile(pooled, 50))
    assert found.p99 is not None
    assert found.p99.ms == pytest.approx(np.percentile(pooled, 99))
    # the same requests in another order
    assert found.p50.ratio == found.p99.ratio == 1
    for quantile in (found.p50, found.p99):
        low, high = quantile.ms_interval
        assert pooled.min() <= low <= high <= pooled.max()


def test_intervals_of_single_requests_are_scipys() -> None:
    samples = np.random.default_rng(1).lognormal(1, 0.4, 400)
    found = latencies({"alone": [[value] for value in samples]}, 7, resamples=4000)["alone"]
    for quantile, share in ((found.p50, 50), (found.p99, 99)):
        expected = stats.bootstrap(
            (samples,),
            lambda values, axis, share=share: np.percentile(values, share, axis=axis),
            n_resamples=4000,
            method="percentile",
            rng=np.random.default_rng(2),
        ).confidence_interval
        width = expected.high - expected.low
        assert quantile is not None
        assert quantile.ms_interval == pytest.approx((expected.low, expected.high), abs=0.15 * width)


def test_intervals_hold_the_truth_where_rounds_differ() -> None:
    """Every block has a drift of its own, which intervals over single requests would take for nothing."""
    rng = np.random.default_rng(5)
    held = {"rounds": 0, "requests": 0}
    for _ in range(100):
        blocks = [list(10 * np.exp(rng.normal(0, 0.1) + rng.normal(0, 0.1, 40))) for _ in range(12)]
        low, high = latencies({"alone": blocks}, 3, resamples=200)["alone"].p50.ms_interval
        held["rounds"] += low <= 10 <= high
        singles = [[value] for block in blocks for value in block]
        low, high = latencies({"alone": singles}, 3, resamples=200)["alone"].p50.ms_interval
        held["requests"] += low <= 10 <= high
    assert held["rounds"] >= 85
    assert held["requests"] < 70


def test_a_ratio_is_of_the_same_rounds() -> None:
    rng = np.random.default_rng(1)
    # a machine that gets slower from round to round, for both alike
    alone = [list((1 + 0.3 * number) * rng.lognormal(0, 0.2, 50)) for number in range(8)]
    twice = [[2 * value for value in block] for block in alone]
    found = latencies({"alone": alone, "streams": twice}, 1)
    assert found["streams"].p50.ratio_interval == pytest.approx((2, 2))
    low, high = found["streams"].p50.ms_interval
    assert high / low > 1.3


@pytest.mark.parametrize(("requests", "given_at_all", "supported"), [(99, False, False), (100, True, False), (999, True, False), (1000, True, True)])  # fmt: skip
def test_few_requests_give_no_99th_percentile(requests: int, given_at_all: bool, supported: bool) -> None:
    samples = list(np.random.default_rng(0).lognormal(0, 0.1, requests))
    found = latencies({"alone": [samples[: requests // 2], samples[requests // 2 :]]}, 0, resamples=10)["alone"]
    assert (found.p99 is not None) == given_at_all
    assert found.p99_supported == supported


@given(st.integers(2, 3000), st.integers(2, 50))
def test_blocks_add_up(requests: int, blocks: int) -> None:
    sizes = IsolationOptions(requests, blocks).sizes()
    assert (len(sizes), sum(sizes)) == (min(blocks, requests), requests)
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_executions_count_where_they_end_within_the_window() -> None:
    times = np.array([[1000, 2000], [2100, 3600]])
    served = Served.of(times, {"a": [1000, 1001, 3600, 3601], "b": []}, {"a": 4, "b": 8})
    assert served.latency_ms == (0.001, 0.0015)
    assert served.window_s == pytest.approx(2600e-9)
    assert served.executions == {"a": 8, "b": 0}


def test_instances_are_told_apart() -> None:
    assert CASE.networks == {"alpha": "alpha", "beta": "beta", "alpha-2": "alpha"}
    assert CASE.protected == Service("alpha", "ov")
    assert CASE.beside == (Service("beta", "ort"), Service("alpha-2", "ort"))


# ---- the job, on a machine whose latencies are known

# per condition the median (ms) and the spread of the logarithm of its latencies
PLANTED = {
    "alone": (2.0, 0.05),
    "alone_on_partition": (3.0, 0.05),
    "streams": (6.0, 0.5),
    "priority": (4.0, 0.3),
    "partitions": (3.3, 0.1),
}
RATES = {"streams": 50.0, "priority": 40.0, "partitions": 30.0}


class PlantedSession:
    """Answers as `PLANTED` says, and writes outputs as they should be but for one instance under one condition."""

    def __init__(self, networks: Mapping[str, ExportedNetwork], wrong: tuple[str, str] | None) -> None:
        self._networks, self._wrong = networks, wrong
        self._rng = np.random.default_rng(11)
        self._tensors = {
            (name, key): np.zeros(shape, np.float32) for name, n in networks.items() for key, shape in n.outputs.items()
        }
        self.order: list[tuple[str, int]] = []

    def __enter__(self) -> "PlantedSession":
        return self

    def __exit__(self, *details: object) -> None: ...

    def load(self, only: Mapping[str, Sequence[int]] | None = None) -> None: ...

    def refusal_whole(self, instance: str) -> str | None:
        return None

    def load_whole(self, accelerator: str, instance: str) -> str | None:
        return None

    def fill_inputs(self, rng: np.random.Generator) -> None: ...

    def tensor(self, instance: str, name: str) -> Any:
        return self._tensors[instance, name]

    def _write(self, instance: str, offset: float = 0.0) -> None:
        for (owner, _), tensor in self._tensors.items():
            if owner == instance:
                tensor[...] = 1 + offset

    def time_whole(self, instance: str, passes: int) -> list[float]:
        self._write(instance)
        return [1.0]

    def serve(
        self, protected: Service, beside: Sequence[Service], requests: int, warmup: int, *, urgent: bool = False
    ) -> Served:
        if not beside:
            condition = "alone" if protected.accelerator is None else "alone_on_partition"
        elif protected.accelerator is None:
            assert all(service.accelerator is None for service in beside)
            condition = "priority" if urgent else "streams"
        else:
            assert all(service.accelerator == "ort" for service in beside)
            condition = "partitions"
        self.order.append((condition, requests))
        median, spread = PLANTED[condition]
        latency = median * self._rng.lognormal(0, spread, requests)
        for service in (protected, *beside):
            self._write(service.instance, 0.5 if self._wrong == (service.instance, condition) else 0.0)
        window = latency.sum() / 1e3
        return Served(
            tuple(latency), window, {s.instance: int(self._rng.poisson(RATES[condition] * window)) for s in beside}
        )


class PlantedTarget:
    """A target whose only session is a planted one."""

    name, kind, output_tolerance = "planted", "host", 1e-3
    capabilities = frozenset({"isolation"})

    def __init__(self, wrong: tuple[str, str] | None = None) -> None:
        self._wrong = wrong
        self.session: PlantedSession | None = None

    def facts(self) -> dict[str, Any]:
        return {"target": self.name}

    def clocks(self) -> dict[str, Any]:
        return {}

    def open_session(self, instances: Any, *, chip: Any = None, events: int = 0) -> PlantedSession:
        assert chip == {"alpha": "x", "beta": "y", "alpha-2": "x"}
        self.session = PlantedSession(instances, self._wrong)
        return self.session


def measured(target: Any, networks: dict[str, Path], out: Path, options: IsolationOptions) -> dict[str, Any]:
    measure_isolation(target, CASE, networks, {"alpha": "x", "beta": "y"}, options, out)
    found = json.loads(out.read_text())
    assert isinstance(found, dict)
    return found


def test_what_was_planted_comes_out(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    options = IsolationOptions(requests=2000, blocks=20)
    found = measured(PlantedTarget(), tiny_networks, tmp_path / "kept.json", options)
    assert (found["format"], found["name"], found["target"]) == (1, "kept", "planted")
    assert found["protected"] == {"instance": "alpha", "accelerator": "ov"}
    assert found["beside"] == {"ort": ["beta", "alpha-2"]}
    for name, (median, spread) in PLANTED.items():
        entry = found["conditions"][name]
        truth = {"p50": median, "p99": stats.lognorm.ppf(0.99, spread, scale=median)}
        alone = {"p50": 2.0, "p99": stats.lognorm.ppf(0.99, 0.05, scale=2.0)}
        assert entry["requests"] == 2000
        assert entry["p99_supported"]
        for key, value in truth.items():
            low, high = entry[key]["ms_interval"]
            assert entry[key]["ms"] == pytest.approx(value, rel=0.12)
            # three times as wide as 95 % would have it
            assert low - (high - low) <= value <= high + (high - low)
            assert entry[key]["ratio"] == pytest.approx(value / alone[key], rel=0.15)
        assert entry["beside_per_s"] == pytest.approx(
            dict.fromkeys(["beta", "alpha-2"], RATES[name]) if name in RATES else {}, rel=0.12
        )
    assert all(entry["ok"] for entry in found["outputs"].values())


def test_conditions_take_turns_in_an_order_of_their_own_each_round(
    tiny_networks: dict[str, Path], tmp_path: Path
) -> None:
    target = PlantedTarget()
    found = measured(target, tiny_networks, tmp_path / "kept.json", IsolationOptions(requests=25, blocks=6))
    assert target.session is not None
    # one request of each first, which sets everything up
    rounds = [target.session.order[5 * number : 5 * number + 5] for number in range(7)]
    assert all(sorted(name for name, _ in entry) == sorted(CONDITIONS) for entry in rounds)
    assert len({tuple(entry) for entry in rounds}) > 3
    assert [entry[0][1] for entry in rounds] == [1, 5, 4, 4, 4, 4, 4]
    assert [len(sample["latency_ms"]) for sample in found["samples"]] == [5] * 5 + [4] * 25
    assert found["conditions"]["alone"]["p99"] is None


def test_wrong_outputs_are_said(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    target = PlantedTarget(wrong=("beta", "priority"))
    outputs = measured(target, tiny_networks, tmp_path / "kept.json", IsolationOptions(requests=40, blocks=2))[
        "outputs"
    ]
    assert {name: entry["ok"] for name, entry in outputs.items()} == {"alpha": True, "beta": False, "alpha-2": True}
    assert outputs["beta"]["worst_condition"] == "priority"
    assert outputs["beta"]["max_abs_err"] == pytest.approx(0.5)


def test_a_network_without_a_runtime_for_the_chip_is_one_message(
    tiny_networks: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="isolation 'kept': no runtime is known for network 'beta' on the whole chip"):
        measure_isolation(
            PlantedTarget(), CASE, tiny_networks, {"alpha": "x"}, IsolationOptions(), tmp_path / "kept.json"  # type: ignore[arg-type]
        )  # fmt: skip
    assert not (tmp_path / "kept.json").exists()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")
def test_on_this_machine(
    tiny_networks: dict[str, Path], host_spec: dict[str, Any], tmp_path: Path, children: Any
) -> None:
    measure_isolation(
        open_target("box", host_spec), CASE, tiny_networks, {"alpha": "openvino", "beta": "onnxruntime"},
        IsolationOptions(requests=120, blocks=3, warmup=2), tmp_path / "kept.json",
    )  # fmt: skip
    assert not children()
    found = json.loads((tmp_path / "kept.json").read_text())
    assert list(found["conditions"]) == CONDITIONS
    for name, entry in found["conditions"].items():
        pooled = [ms for s in found["samples"] if s["condition"] == name for ms in s["latency_ms"]]
        assert len(pooled) == entry["requests"] == 120
        assert 0 < entry["p50"]["ms"] <= entry["p99"]["ms"] < 1e5
        assert entry["p50"]["ms"] == pytest.approx(np.median(pooled))
        assert set(entry["beside_per_s"]) == (set() if name.startswith("alone") else {"beta", "alpha-2"})
    # two that take turns on one accelerator are run equally often, which on a busy machine may be not at all
    pace = found["conditions"]["partitions"]["beside_per_s"]
    assert pace["beta"] == pace["alpha-2"]
    assert all(entry["ok"] for entry in found["outputs"].values())
