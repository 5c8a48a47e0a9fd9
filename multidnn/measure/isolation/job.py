"""The isolation job of the pipeline: one network's requests under every condition, interleaved: isolation/{name}.json."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.measure.isolation.case import Condition, IsolationCase, IsolationOptions, described
from multidnn.measure.isolation.latency import Latency, Quantile, latencies
from multidnn.measure.lock import machine_lock
from multidnn.measure.sidecar import environment
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Served, Session, Target, require

_log = logging.getLogger(__name__)

Outputs = dict[str, NDArray[np.float32]]


def measure_isolation(
    target: Target,
    case: IsolationCase,
    network_dirs: Mapping[str, Path],
    chip_runtimes: Mapping[str, str],
    options: IsolationOptions,
    out_json: Path,
) -> None:
    """Measure the latency of the protected network under every condition and write isolation/{name}.json.

    Every round has one block of requests of each condition, in an order drawn anew. After each block the outputs of
    everything that ran are compared with those of the same network on the whole chip.

    Args:
        network_dirs: network name to its exported directory.
        chip_runtimes: network name to the runtime for the chip used whole (`measure.whole.read_chip_runtimes`).

    Raises:
        InputError: an accelerator does not take a network, or a worker failed; nothing is written then.
    """
    require(target, "isolation")
    networks = {name: ExportedNetwork.read(network_dirs[network]) for name, network in case.networks.items()}
    for network in case.networks.values():
        if network not in chip_runtimes:
            raise InputError(f"isolation {case.name!r}: no runtime is known for network {network!r} on the whole chip")
    chip = {name: chip_runtimes[network] for name, network in case.networks.items()}
    conditions = case.conditions()
    rng = np.random.default_rng(options.seed)
    samples: list[dict[str, Any]] = []
    with machine_lock(), target.open_session(networks, chip=chip) as session:
        _log.info("isolation: %s: %s", case.name, ", ".join(conditions))
        _load(session, case)
        session.fill_inputs(rng)
        outputs = _Outputs(session, networks, target.output_tolerance)
        for condition in conditions.values():
            _serve(session, condition, 1, options.warmup)
        sizes = options.sizes()
        for number, requests in enumerate(sizes):
            _log.info("isolation: %s: round %d of %d", case.name, number + 1, len(sizes))
            for name in rng.permutation(np.array(list(conditions), dtype=object)):
                outputs.clear()
                served = _serve(session, conditions[name], requests, options.warmup)
                ran = [conditions[name].protected.instance, *(i for i, count in served.executions.items() if count)]
                outputs.compare(ran, name)
                samples.append({"round": number, "condition": name, **asdict(served)})
        facts = environment(target)
    write_json(
        out_json,
        {
            **described(case),
            "target": target.name,
            "conditions": _summary(conditions, samples, options.seed),
            "outputs": outputs.found(),
            "samples": samples,
            "options": asdict(options),
            "chip_runtimes": chip,
            "environment": facts,
        },
    )


def _load(session: Session, case: IsolationCase) -> None:
    """Load every instance uncut on the chip and on its accelerator."""
    session.load(only={})
    for service in (case.protected, *case.beside):
        accelerator = str(service.accelerator)
        for where, reason in (
            ("the whole chip", session.refusal_whole(service.instance)),
            (f"accelerator {accelerator!r}", session.load_whole(accelerator, service.instance)),
        ):
            if reason is not None:
                raise InputError(f"isolation {case.name!r}: {where} does not take {service.instance!r}: {reason}")


def _serve(session: Session, condition: Condition, requests: int, warmup: int) -> Served:
    return session.serve(condition.protected, condition.beside, requests, warmup, urgent=condition.urgent)


class _Outputs:
    """Keeps the largest deviation of each instance's outputs from those on the whole chip, and where it was."""

    def __init__(self, session: Session, networks: Mapping[str, ExportedNetwork], tolerance: float) -> None:
        self._session, self._networks, self._tolerance = session, networks, tolerance
        self._error = dict.fromkeys(networks, 0.0)
        self._worst: dict[str, str | None] = dict.fromkeys(networks)
        self._expected: dict[str, Outputs] = {}
        for name in networks:
            session.time_whole(name, 1)
            self._expected[name] = {key: session.tensor(name, key).copy() for key in networks[name].outputs}

    def clear(self) -> None:
        """Fill every output with NaN, so that one which is not written cannot pass for right."""
        for name, network in self._networks.items():
            for key in network.outputs:
                self._session.tensor(name, key)[...] = np.nan

    def compare(self, instances: list[str], condition: str) -> None:
        """Compare what `instances` wrote last."""
        for name in instances:
            for key, expected in self._expected[name].items():
                difference = float(np.max(np.abs(self._session.tensor(name, key) - expected)))
                # NaN must win
                if not difference <= self._error[name]:
                    self._error[name] = difference if np.isfinite(difference) else float("inf")
                    self._worst[name] = condition

    def found(self) -> dict[str, dict[str, Any]]:
        """Return the `outputs` entry of the file; null stands for a number that is not finite."""
        result = {}
        for name, error in self._error.items():
            largest = max(float(np.max(np.abs(value))) for value in self._expected[name].values())
            allowed = self._tolerance * largest
            ok = bool(error <= allowed < np.inf)
            if not ok:
                _log.error(
                    "isolation: outputs of %s under %s differ by %g from those on the whole chip (allowed %g)",
                    name, self._worst[name], error, allowed,
                )  # fmt: skip
            result[name] = {
                "max_abs_err": error if np.isfinite(error) else None,
                "tolerance": allowed if np.isfinite(allowed) else None,
                "ok": ok,
                "worst_condition": self._worst[name],
            }
        return result


def _summary(
    conditions: Mapping[str, Condition], samples: list[dict[str, Any]], seed: int
) -> dict[str, dict[str, Any]]:
    blocks = {name: [s["latency_ms"] for s in samples if s["condition"] == name] for name in conditions}
    result = {}
    for name, latency in latencies(blocks, seed).items():
        own = [sample for sample in samples if sample["condition"] == name]
        window_s = sum(sample["window_s"] for sample in own)
        others = [service.instance for service in conditions[name].beside]
        result[name] = {
            **_quantiles(latency),
            "beside_per_s": {i: sum(sample["executions"][i] for sample in own) / window_s for i in others},
        }
    return result


def _quantiles(latency: Latency) -> dict[str, Any]:
    def entry(quantile: Quantile | None) -> dict[str, Any] | None:
        return None if quantile is None else asdict(quantile)

    return {
        "requests": latency.requests,
        "p50": entry(latency.p50),
        "p99": entry(latency.p99),
        "p99_supported": latency.p99_supported,
    }
