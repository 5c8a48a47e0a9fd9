"""Measures how accelerators slow each other down and writes contention.json, checked on co-runs it was not fitted to."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from multidnn import tables
from multidnn.contention.fit import CoRun, Grid, fit_samples
from multidnn.contention.model import write_model
from multidnn.errors import InputError
from multidnn.measure.layers import repeats_for
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sidecar import environment
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Loop, Session, Target, Timed, Traffic, require

_log = logging.getLogger(__name__)

DUTIES = (0.25, 0.5, 1.0)
_DEMAND_POINTS = 5
_TRAINING_GROUPS = 24
_HELD_OUT_PAIRS = 24
_GENERATOR_S = 0.3

Key = tuple[str, int]


def _rounds(options: MeasureOptions) -> int:
    """Return the rounds of co-runs: half the samples of a layer, as each round has a time alone and several beside."""
    return max(3, options.min_samples // 2)


@dataclass(frozen=True)
class _Victims:
    """Groups by role: the generator runs beside `training`, groups of `held_out` run beside each other."""

    training: tuple[Key, ...]
    held_out: tuple[Key, ...]


def characterise(
    target: Target,
    network_dirs: Sequence[Path],
    convolution_dirs: Sequence[Path],
    emc_csv: Path,
    options: MeasureOptions,
    out_json: Path,
) -> None:
    """Write contention.json: one slowdown grid per accelerator, the fit's error, and every co-run.

    Fitted from co-runs of the 25 convolutions and of a sample of groups against the traffic generator at several
    levels (the method of PCCS, MICRO 2021, with a grid in place of its three regions); checked on co-runs of other
    groups with each other. Times alone and together alternate within each round.

    Raises:
        InputError: the target cannot do this, a demand is missing in `emc_csv`, or a worker failed.
    """
    require(target, "contention")
    demand = _demands(emc_csv)
    convolutions = [ExportedNetwork.read(directory) for directory in sorted(convolution_dirs)]
    networks = [ExportedNetwork.read(directory) for directory in network_dirs]
    rng = np.random.default_rng(options.seed)
    victims = _choose(convolutions, networks, demand, target.accelerators, rng)
    loaded: dict[str, list[int]] = {}
    for name, group in (*victims.training, *victims.held_out):
        loaded.setdefault(name, []).append(group)
    instances = {network.name: network for network in (*convolutions, *networks) if network.name in loaded}
    with machine_lock(), target.open_session(instances) as session:
        session.load(only=loaded)
        session.fill_tensors(rng)
        traffic = _traffic_levels(session, target)
        rounds = _rounds(options)
        times = {
            accelerator: _against_traffic(session, target, accelerator, victims.training, rounds)
            for accelerator in target.accelerators
        }
        training = {name: _co_runs(name, victims.training, series, demand, traffic) for name, series in times.items()}
        grids = {accelerator: fit_samples(samples, _DEMAND_POINTS) for accelerator, samples in training.items()}
        held_out = _against_each_other(session, target, victims.held_out, demand, grids, rng, rounds)
    write_model(
        out_json,
        grids,
        held_out,
        {
            "traffic_gb_s": {
                accelerator: dict(zip(map(str, DUTIES), levels, strict=True)) for accelerator, levels in traffic.items()
            },
            "samples": {
                accelerator: [[s.demand, s.external, s.slowdown] for s in samples]
                for accelerator, samples in training.items()
            },
            "fitted_to": [list(victim) for victim in victims.training],
            "times_ms": times,
            "sampling": {"rounds": rounds, "seed": options.seed},
            "environment": environment(target),
        },
    )


def _demands(emc_csv: Path) -> dict[tuple[str, int, str], float]:
    return {
        (row["name"], row["group"] or 0, row["accelerator"]): row["demand_gb_s"]
        for row in tables.read(emc_csv, tables.EMC)
        if row["demand_gb_s"] is not None
    }


def _choose(
    convolutions: Sequence[ExportedNetwork],
    networks: Sequence[ExportedNetwork],
    demand: Mapping[tuple[str, int, str], float],
    accelerators: Sequence[str],
    rng: np.random.Generator,
) -> _Victims:
    """Deal the groups out to training and held-out, evenly along the demand axis."""
    groups = [
        (network.name, group.index)
        for network in networks
        for group in network.groups
        if all((network.name, group.index, accelerator) in demand for accelerator in accelerators)
    ]
    groups.sort(key=lambda key: demand[(*key, accelerators[0])])
    wanted = min(len(groups), 2 * _TRAINING_GROUPS)
    spread = [groups[i] for i in np.unique(np.linspace(0, len(groups) - 1, wanted).astype(int))] if groups else []
    chosen = rng.permuted(np.arange(len(spread)) % 2)
    missing = [n.name for n in convolutions if (n.name, 0, accelerators[0]) not in demand]
    if missing:
        raise InputError(f"emc_results.csv has no rows for {', '.join(missing)}; measure emc_results again")
    return _Victims(
        training=(*((n.name, 0) for n in convolutions), *(k for k, c in zip(spread, chosen, strict=True) if c == 0)),
        held_out=tuple(k for k, c in zip(spread, chosen, strict=True) if c == 1),
    )


def _traffic_levels(session: Session, target: Target) -> dict[str, list[float]]:
    """Return the traffic generator's bandwidth alone, in GB/s, per accelerator and duty."""
    levels: dict[str, list[float]] = {}
    for accelerator in target.accelerators:
        levels[accelerator] = []
        for duty in DUTIES:
            with session.background({accelerator: Traffic(duty)}) as answers:
                sleep(_GENERATOR_S)
            moved, seconds = answers[accelerator]
            levels[accelerator].append(moved / seconds / 1e9)
        listing = ", ".join(f"{level:.1f}" for level in levels[accelerator])
        _log.info("contention: traffic generator on %s: %s GB/s", accelerator, listing)
    return levels


def _against_traffic(
    session: Session, target: Target, accelerator: str, victims: Sequence[Key], rounds: int
) -> dict[str, list[list[float]]]:
    """Time `victims` on `accelerator` alone and with the generator on every other accelerator, in turn.

    Returns:
        Under "alone" and each duty, milliseconds per round and victim.
    """
    others = [other for other in target.accelerators if other != accelerator]
    plan = _plan(session, accelerator, victims, target.shortest_sample_ms)
    times: dict[str, list[list[float]]] = {"alone": []}
    for number in range(rounds):
        _log.info("contention: %s beside traffic, round %d/%d", accelerator, number + 1, rounds)
        times["alone"] += session.time(accelerator, plan, 1)
        for duty in DUTIES if others else ():
            with session.background(dict.fromkeys(others, Traffic(duty))):
                times.setdefault(str(duty), []).extend(session.time(accelerator, plan, 1))
    return times


def _co_runs(
    accelerator: str,
    victims: Sequence[Key],
    times: Mapping[str, Sequence[Sequence[float]]],
    demand: Mapping[tuple[str, int, str], float],
    traffic: Mapping[str, Sequence[float]],
) -> list[CoRun]:
    """Return a co-run per duty and victim; each round's times are compared with each other, so that drift cancels."""
    samples = []
    for level, duty in enumerate(DUTIES):
        if str(duty) in times:
            external = sum(levels[level] for other, levels in traffic.items() if other != accelerator)
            ratios = np.median(np.array(times[str(duty)]) / np.array(times["alone"]), axis=0)
            samples += [
                CoRun(demand[(*victim, accelerator)], external, float(ratio))
                for victim, ratio in zip(victims, ratios, strict=True)
            ]
    return samples


def _against_each_other(
    session: Session,
    target: Target,
    groups: Sequence[Key],
    demand: Mapping[tuple[str, int, str], float],
    grids: Mapping[str, Grid],
    rng: np.random.Generator,
    rounds: int,
) -> list[dict[str, Any]]:
    """Time held-out groups alone and beside another held-out group; return demand, measured and predicted slowdown."""
    rows: list[dict[str, Any]] = []
    if len(groups) < 2 or len(target.accelerators) < 2:
        return rows
    for number in range(_HELD_OUT_PAIRS):
        victim, other = (groups[i] for i in rng.choice(len(groups), 2, replace=False))
        accelerator, beside = rng.choice(np.array(target.accelerators), 2, replace=False).tolist()
        plan = _plan(session, accelerator, [victim], target.shortest_sample_ms)
        alone: list[float] = []
        together: list[float] = []
        for _ in range(rounds):
            alone += [row[0] for row in session.time(accelerator, plan, 2)]
            with session.background({beside: Loop((other,))}):
                together += [row[0] for row in session.time(accelerator, plan, 2)]
        own, external = demand[(*victim, accelerator)], demand[(*other, beside)]
        rows.append(
            {
                "victim": [*victim, accelerator],
                "beside": [*other, beside],
                "demand_gb_s": own,
                "external_gb_s": external,
                "slowdown": float(np.median(np.array(together) / np.array(alone))),
                "alone_ms": alone,
                "together_ms": together,
                "predicted": grids[accelerator].at(own, external),
            }
        )
        if number % 8 == 7:
            _log.info("contention: held-out pair %d/%d", number + 1, _HELD_OUT_PAIRS)
    return rows


def _plan(session: Session, accelerator: str, groups: Sequence[Key], shortest_sample_ms: float) -> list[Timed]:
    """Return what to time: each group as often in a row as a sample needs."""
    once = [Timed(name, group) for name, group in groups]
    trial = np.median(session.time(accelerator, once, 2), axis=0)
    return [
        Timed(name, group, repeats_for(ms, shortest_sample_ms)) for (name, group), ms in zip(groups, trial, strict=True)
    ]
