"""Measures how the accelerators of a board slow each other down: engines beside engines of known demand."""

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
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sidecar import environment
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.jetson.engines import group_name
from multidnn.targets.jetson.target import JetsonTarget, device_kind, dla_core

_log = logging.getLogger(__name__)

# what loads the other accelerators, by its rank in demand, the heaviest first; curves of slowdown bend
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
    emc_csv: Path,
    options: MeasureOptions,
    out_json: Path,
) -> None:
    """Write contention.json: one slowdown grid per accelerator, the fit's error, and every co-run.

    Victims are the 25 convolutions and half of a sample of the networks' groups; each runs alone and beside engines of
    falling demand, out of the same, on all other accelerators, alternately. The fit is checked on pairs of the other
    half of the groups beside each other.

    Args:
        engine_files: engines/{network}.json of every network, and engines/convolution.json.
        emc_csv: emc_results.csv, beside which its sidecar lies.

    Raises:
        InputError: a demand is missing in `emc_csv` or its sidecar, or an engine is missing.
    """
    networks = [ExportedNetwork.read(directory) for directory in network_dirs]
    convolutions, groups = _runnables(target, networks, engine_files, emc_csv)
    rng = np.random.default_rng(options.seed)
    training, held_out_groups = _dealt(groups, rng)
    victims = {
        name: [runnable for runnable in (*convolutions, *training) if runnable.accelerator == name]
        for name in target.accelerators
    }
    loads = {name: _loads(own) for name, own in victims.items()}
    pairs = _pairs(held_out_groups, rng)
    rounds = max(3, options.min_samples // 2)
    measurements = _measurements(victims, loads, pairs, rounds, options.warmup)
    runnables = {runnable.key: runnable for runnable in (*convolutions, *groups)}
    used = {m["victim"]["engine"] for m in measurements} | {load["engine"] for m in measurements for load in m["loads"]}
    _log.info("contention: %d co-runs on %s", len(measurements), ", ".join(target.accelerators))
    request = {
        "workers": {name: {"dla_core": dla_core(name)} for name in target.accelerators},
        "engines": {key: {"path": runnables[key].path, "worker": runnables[key].accelerator} for key in sorted(used)},
        "measurements": measurements,
        # what loads an accelerator comes again for every victim, and beside it one engine that comes once
        "resident": len(_LOAD_RANKS) + 1,
        "sampler": None,
        "timeout_s": 60,
    }
    with machine_lock():
        answer = target.board.call("corun", request, None)
        facts = environment(target)
    times: dict[str, list[float]] = {}
    for result in answer["measurements"]:
        times.setdefault(result["name"], []).append(float(np.median(result["victim_ms"])))
    co_runs = {name: _co_runs(victims[name], loads, times) for name in target.accelerators}
    grids = {name: fit_samples(samples, _DEMAND_POINTS) for name, samples in co_runs.items()}
    held_out = [_checked(pair, grids, times) for pair in pairs]
    write_model(
        out_json,
        grids,
        held_out,
        {
            "loads_gb_s": {name: [load.demand for load in entries] for name, entries in loads.items()},
            "samples": {
                name: [[s.demand, s.external, s.slowdown] for s in entries] for name, entries in co_runs.items()
            },
            "fitted_to": [[group.network, group.group] for group in training],
            "times_ms": times,
            "sampling": {"rounds": rounds, "seed": options.seed},
            "environment": facts,
        },
    )


def _runnables(
    target: JetsonTarget,
    networks: Sequence[ExportedNetwork],
    engine_files: Sequence[Path],
    emc_csv: Path,
) -> tuple[list[_Runnable], list[_Runnable]]:
    """Return the convolutions and the groups on every accelerator that takes them."""
    sidecar = Path(emc_csv).with_suffix(".json")
    said = read_json(sidecar)
    demands = {
        (row["name"], row["group"], row["accelerator"]): row["demand_gb_s"] for row in tables.read(emc_csv, tables.EMC)
    }
    engines = read_engines(engine_files)
    try:
        convolutions = [
            _Runnable(
                name,
                None,
                accelerator,
                demands[name, None, accelerator],
                said["alone_ms"][f"{name}/{accelerator}"],
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
                accelerator,
                demands[network.name, group.index, accelerator],
                said["alone_ms"][f"{network.name}/{group.index}/{accelerator}"],
                engines[network.name][group_name(device_kind(accelerator), group.index)]["engine"],
            )
            for network in networks
            for group in network.groups
            for accelerator in target.accelerators
            if (network.name, group.index, accelerator) in demands
        ]
    except KeyError as error:
        raise InputError(
            f"{emc_csv}, {sidecar}: nothing on {error}; delete them to have emc_results measured again"
        ) from None
    if not convolutions:
        raise InputError(f"{emc_csv}: has no row of a convolution; delete it to have emc_results measured again")
    return convolutions, groups


def _dealt(groups: Sequence[_Runnable], rng: np.random.Generator) -> tuple[list[_Runnable], list[_Runnable]]:
    """Deal groups out to what is fitted and what is held out, evenly along the demand axis; on all accelerators alike."""
    names = {(group.network, group.group) for group in groups}
    heaviest = {
        name: max(group.demand for group in groups if (group.network, group.group) == name) for name in sorted(names)
    }
    ordered = sorted(heaviest, key=heaviest.__getitem__)
    wanted = min(len(ordered), 2 * _TRAINING_GROUPS)
    spread = [ordered[i] for i in np.unique(np.linspace(0, len(ordered) - 1, wanted).astype(int))] if ordered else []
    dealt = dict(zip(spread, rng.permuted(np.arange(len(spread)) % 2).tolist(), strict=True))
    hands: tuple[list[_Runnable], list[_Runnable]] = ([], [])
    for group in groups:
        hand = dealt.get((group.network, group.group))
        if hand is not None:
            hands[hand].append(group)
    return hands


def _loads(runnables: Sequence[_Runnable]) -> list[_Runnable]:
    """Return what loads one accelerator, the heaviest first."""
    ordered = sorted(runnables, key=lambda runnable: runnable.demand)
    return [ordered[round(rank * (len(ordered) - 1))] for rank in _LOAD_RANKS]


def _pairs(groups: Sequence[_Runnable], rng: np.random.Generator) -> list[tuple[_Runnable, _Runnable]]:
    """Return random pairs of groups on different accelerators: a victim, and what runs beside it."""
    possible = [(a, b) for a in groups for b in groups if a.accelerator != b.accelerator]
    chosen = rng.permutation(len(possible))[:_HELD_OUT_PAIRS].tolist()
    return [possible[number] for number in chosen]


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
            samples.append(CoRun.steady(victim.demand, external, _slowdown(times, victim, level)))
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
