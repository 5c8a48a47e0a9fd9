"""Measures how the accelerators of a board slow each other down: engines beside convolution engines of known demand."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multidnn import tables
from multidnn.contention.fit import CoRun, Grid, fit_samples
from multidnn.contention.model import write_model
from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.measure.jetson.emc import read_engines
from multidnn.measure.jetson.profiles import read_profiles
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sidecar import environment
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.jetson.engines import group_name
from multidnn.targets.jetson.target import JetsonTarget, device_kind, dla_core

_log = logging.getLogger(__name__)

# convolutions that load the other accelerators, by their rank in demand, the heaviest first; curves of slowdown bend
# sharply (PCCS, MICRO 2021), so there are as many as time allows
_LOAD_RANKS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
_DEMAND_POINTS = 9
_TRAINING_GROUPS = 24
_HELD_OUT_PAIRS = 24
# a victim runs so long within one sample that it sees the load's average
_SAMPLE_MS = 2.0
_MOST_REPEATS = 200


@dataclass(frozen=True)
class _Runnable:
    """An engine that can run on `accelerator`: its demand (GB/s) and time (ms) alone, and its path on the board.

    `group` is None for a whole network and for a convolution.
    """

    network: str
    group: int | None
    accelerator: str
    demand: float
    alone_ms: float
    path: str

    @property
    def key(self) -> str:
        name = self.network if self.group is None else f"{self.network}/{self.group}"
        return f"{name}@{self.accelerator}"

    @property
    def repeats(self) -> int:
        return min(_MOST_REPEATS, max(1, math.ceil(_SAMPLE_MS / self.alone_ms)))


def characterise_board(
    target: JetsonTarget,
    network_dirs: Sequence[Path],
    engine_files: Sequence[Path],
    whole_files: Sequence[Path],
    emc_csv: Path,
    options: MeasureOptions,
    out_json: Path,
) -> None:
    """Write contention.json: one slowdown grid per accelerator, the fit's error, and every co-run.

    Victims are the 25 convolutions, on the GPU also groups of the networks and on a DLA whole networks; each runs alone
    and beside convolutions of falling demand on all other accelerators, alternately. The fit is checked on groups
    beside whole networks that it has not seen together.

    Raises:
        InputError: a demand is missing in `emc_csv` or its sidecar, or an engine is missing.
    """
    networks = [ExportedNetwork.read(directory) for directory in network_dirs]
    convolutions, groups, wholes = _runnables(target, networks, engine_files, whole_files, emc_csv)
    rng = np.random.default_rng(options.seed)
    training_groups, held_out_groups = _dealt(groups, rng)
    loads = {name: _loads([c for c in convolutions if c.accelerator == name]) for name in target.accelerators}
    victims = {
        name: [
            *(c for c in convolutions if c.accelerator == name),
            *(training_groups if dla_core(name) is None else (w for w in wholes if w.accelerator == name)),
        ]
        for name in target.accelerators
    }
    pairs = _pairs(held_out_groups, wholes, rng)
    rounds = max(3, options.min_samples // 2)
    measurements = _measurements(victims, loads, pairs, rounds, options.warmup)
    runnables = {runnable.key: runnable for runnable in (*convolutions, *groups, *wholes)}
    used = {m["victim"]["engine"] for m in measurements} | {load["engine"] for m in measurements for load in m["loads"]}
    _log.info("contention: %d co-runs on %s", len(measurements), ", ".join(target.accelerators))
    request = {
        "workers": {name: {"dla_core": dla_core(name)} for name in target.accelerators},
        "engines": {key: {"path": runnables[key].path, "worker": runnables[key].accelerator} for key in sorted(used)},
        "measurements": measurements,
        "sampler": None,
        "timeout_s": 60,
    }
    with machine_lock():
        answer = target.board.call("corun", request, None)
        facts = environment(target)
    times: dict[str, list[float]] = {}
    for result in answer["measurements"]:
        times.setdefault(result["name"], []).append(float(np.median(result["victim_ms"])))
    training = {name: _co_runs(victims[name], loads, times) for name in target.accelerators}
    grids = {name: fit_samples(samples, _DEMAND_POINTS) for name, samples in training.items()}
    held_out = [_checked(pair, grids, times) for pair in pairs]
    write_model(
        out_json,
        grids,
        held_out,
        {
            "loads_gb_s": {name: [load.demand for load in entries] for name, entries in loads.items()},
            "samples": {
                name: [[s.demand, s.external, s.slowdown] for s in entries] for name, entries in training.items()
            },
            "times_ms": times,
            "sampling": {"rounds": rounds, "seed": options.seed},
            "environment": facts,
        },
    )


def _runnables(
    target: JetsonTarget,
    networks: Sequence[ExportedNetwork],
    engine_files: Sequence[Path],
    whole_files: Sequence[Path],
    emc_csv: Path,
) -> tuple[list[_Runnable], list[_Runnable], list[_Runnable]]:
    """Return the convolutions on every accelerator, the groups on the GPU, and whole networks on every accelerator."""
    sidecar = Path(emc_csv).with_suffix(".json")
    said = read_json(sidecar)
    demands = {
        (row["name"], row["group"], row["accelerator"]): row["demand_gb_s"] for row in tables.read(emc_csv, tables.EMC)
    }
    engines, profiles = read_engines(engine_files), read_profiles(whole_files)
    try:
        convolutions = [
            _Runnable(
                name,
                None,
                accelerator,
                demands[name, None, accelerator],
                said["loop_ms"][f"{name}/{accelerator}"],
                devices[device_kind(accelerator)]["engine"],
            )
            for name, devices in sorted(engines["convolution"].items())
            for accelerator in target.accelerators
            if (name, None, accelerator) in demands
        ]
        groups = [
            _Runnable(
                network.name,
                group.index,
                "gpu",
                demands[network.name, group.index, "gpu"],
                said["loop_ms"][f"{network.name}/{group.index}/gpu"],
                engines[network.name][group_name("gpu", group.index)]["engine"],
            )
            for network in networks
            for group in network.groups
        ]
        wholes = [
            _Runnable(
                network.name,
                None,
                accelerator,
                said["whole_gb_s"][network.name][accelerator],
                said["loop_ms"][f"{network.name}/{accelerator}"],
                profiles[network.name][device_kind(accelerator)]["build"]["engine"],
            )
            for network in networks
            for accelerator in said["whole_gb_s"][network.name]
        ]
    except KeyError as error:
        raise InputError(
            f"{emc_csv}, {sidecar}: nothing on {error}; delete them to have emc_results measured again"
        ) from None
    return convolutions, groups, wholes


def _dealt(groups: Sequence[_Runnable], rng: np.random.Generator) -> tuple[list[_Runnable], list[_Runnable]]:
    """Deal groups, evenly along the demand axis, to what is fitted and what is held out."""
    ordered = sorted(groups, key=lambda group: group.demand)
    wanted = min(len(ordered), 2 * _TRAINING_GROUPS)
    spread = [ordered[i] for i in np.unique(np.linspace(0, len(ordered) - 1, wanted).astype(int))] if ordered else []
    dealt = rng.permuted(np.arange(len(spread)) % 2)
    training = [group for group, hand in zip(spread, dealt, strict=True) if hand == 0]
    return training, [group for group, hand in zip(spread, dealt, strict=True) if hand == 1]


def _loads(convolutions: Sequence[_Runnable]) -> list[_Runnable]:
    """Return the convolutions that load one accelerator, the heaviest first."""
    ordered = sorted(convolutions, key=lambda convolution: convolution.demand)
    ranks = [max(0, math.ceil(rank * len(ordered)) - 1) for rank in _LOAD_RANKS]
    return [ordered[index] for index in dict.fromkeys(ranks)]


def _pairs(
    groups: Sequence[_Runnable], wholes: Sequence[_Runnable], rng: np.random.Generator
) -> list[tuple[_Runnable, _Runnable]]:
    """Return random pairs of a victim and what runs beside it: a group on the GPU and a network on a DLA, either way."""
    on_dla = [whole for whole in wholes if dla_core(whole.accelerator) is not None]
    if not groups or not on_dla:
        return []
    pairs = []
    for number in range(_HELD_OUT_PAIRS):
        pair = (groups[int(rng.integers(len(groups)))], on_dla[int(rng.integers(len(on_dla)))])
        pairs.append(pair if number % 2 == 0 else pair[::-1])
    return list(dict.fromkeys(pairs))


def _measurements(
    victims: Mapping[str, Sequence[_Runnable]],
    loads: Mapping[str, Sequence[_Runnable]],
    pairs: Sequence[tuple[_Runnable, _Runnable]],
    rounds: int,
    warmup: int,
) -> list[dict[str, Any]]:
    """Return the co-runs in order: in every round each victim alone and beside each load, so that drift meets all."""

    def one(name: str, victim: _Runnable, beside: Sequence[_Runnable]) -> dict[str, Any]:
        return {
            "name": name,
            "victim": {"engine": victim.key, "repeats": victim.repeats},
            "loads": [{"engine": load.key, "duty": 1.0} for load in beside],
            "samples": 1,
            "warmup": warmup,
            "seconds": None,
        }

    listed = []
    for _ in range(rounds):
        for accelerator, own in victims.items():
            others = [entries for name, entries in loads.items() if name != accelerator]
            levels = list(zip(*others, strict=True)) if others else []
            for victim in own:
                listed.append(one(_alone(victim), victim, ()))
                listed += [one(_beside(victim, level), victim, level) for level in levels]
        for victim, other in pairs:
            listed.append(one(_alone(victim), victim, ()))
            listed.append(one(_beside(victim, (other,)), victim, (other,)))
    return listed


def _alone(victim: _Runnable) -> str:
    return f"{victim.key} alone"


def _beside(victim: _Runnable, others: Sequence[_Runnable]) -> str:
    return f"{victim.key} beside {' and '.join(other.key for other in others)}"


def _slowdown(times: Mapping[str, Sequence[float]], victim: _Runnable, others: Sequence[_Runnable]) -> float:
    return float(np.median(times[_beside(victim, others)]) / np.median(times[_alone(victim)]))


def _co_runs(
    victims: Sequence[_Runnable], loads: Mapping[str, Sequence[_Runnable]], times: Mapping[str, Sequence[float]]
) -> list[CoRun]:
    samples = []
    for victim in victims:
        others = [entries for name, entries in loads.items() if name != victim.accelerator]
        for level in zip(*others, strict=True) if others else ():
            external = sum(load.demand for load in level)
            samples.append(CoRun(victim.demand, external, _slowdown(times, victim, level)))
    return samples


def _checked(
    pair: tuple[_Runnable, _Runnable], grids: Mapping[str, Grid], times: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    victim, other = pair
    return {
        "victim": [victim.network, victim.group, victim.accelerator],
        "beside": [other.network, other.group, other.accelerator],
        "demand_gb_s": victim.demand,
        "external_gb_s": other.demand,
        "slowdown": _slowdown(times, victim, (other,)),
        "predicted": grids[victim.accelerator].at(victim.demand, other.demand),
    }
