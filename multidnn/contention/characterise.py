"""Measures how accelerators slow each other down and writes contention.json, checked on co-runs it was not fitted to."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from multidnn import tables
from multidnn.contention.coruns import (
    DUTIES,
    Key,
    Measured,
    Times,
    beside_networks,
    beside_traffic,
    fewest_rounds,
    traffic_levels,
    twin,
)
from multidnn.contention.fit import CoRun, Grid
from multidnn.contention.model import write_model
from multidnn.contention.pairings import draw_pairings
from multidnn.contention.resolution import fit_validated
from multidnn.errors import InputError
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sidecar import environment
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Target, require

Demands = Mapping[tuple[str, int, str], float]


def characterise(
    target: Target,
    network_dirs: Sequence[Path],
    convolution_dirs: Sequence[Path],
    emc_csv: Path,
    options: MeasureOptions,
    out_json: Path,
) -> None:
    """Write contention.json: one slowdown grid per accelerator, the fit's error, and every co-run.

    Fitted to co-runs of two sorts, as resolution and smoothness do best in cross-validation: the 25 convolutions and
    the networks' groups beside the traffic generator at several levels (the method of PCCS, MICRO 2021, with a grid in
    place of its three regions), and networks beside networks, which shows what the generator's demand does not tell
    (they share more than the memory). Checked on networks beside others, which nothing was fitted to.

    Raises:
        InputError: the target cannot do this, a demand is missing in `emc_csv`, or a worker failed.
    """
    require(target, "contention")
    demand = _demands(emc_csv)
    convolutions = [ExportedNetwork.read(directory) for directory in sorted(convolution_dirs)]
    networks = {network.name: network for network in map(ExportedNetwork.read, network_dirs)}
    missing = [n.name for n in convolutions if (n.name, 0, target.accelerators[0]) not in demand]
    if missing:
        raise InputError(f"{emc_csv}: has no rows for {', '.join(missing)}; measure emc_results again")
    rng = np.random.default_rng(options.seed)
    pairings = draw_pairings(list(networks), target.accelerators, rng)
    instances = {network.name: network for network in (*convolutions, *networks.values())}
    instances |= {twin(p.victim): networks[p.victim] for p in pairings if p.victim in dict(p.beside).values()}
    rounds = fewest_rounds(options)
    with machine_lock(), target.open_session(instances) as session:
        session.load()
        session.fill_tensors(rng)
        traffic = traffic_levels(session, target)
        victims = {
            accelerator: [
                (network.name, group.index)
                for network in (*convolutions, *networks.values())
                for group in network.groups
                if (network.name, group.index, accelerator) in demand
            ]
            for accelerator in target.accelerators
        }
        times = {
            accelerator: beside_traffic(session, target, accelerator, victims[accelerator], rounds)
            for accelerator in target.accelerators
        }
        measured, standalone = beside_networks(session, target, networks, pairings, options)
    steady = {name: _beside_traffic(name, victims[name], times[name], demand, traffic) for name in times}
    pairs = [(m, _beside_networks(m, demand, standalone)) for m in measured]
    grids, chosen = {}, {}
    fitted = {
        accelerator: [runs for m, runs in pairs if m.pairing.accelerator == accelerator and not m.pairing.held_out]
        for accelerator in target.accelerators
    }
    for accelerator, own in fitted.items():
        grids[accelerator], resolution, error = fit_validated(steady[accelerator], own, rng)
        chosen[accelerator] = {**(asdict(resolution) if resolution else {}), "cross_validation_error_pct": error}
    write_model(
        out_json,
        grids,
        [row for m, runs in pairs if m.pairing.held_out for row in _held_out(m, runs, grids)],
        {
            "resolution": chosen,
            "traffic_gb_s": {
                accelerator: dict(zip(map(str, DUTIES), levels, strict=True)) for accelerator, levels in traffic.items()
            },
            "samples": {
                accelerator: [
                    [run.demand, run.external, run.slowdown]
                    for run in itertools.chain(steady[accelerator], *fitted[accelerator])
                ]
                for accelerator in target.accelerators
            },
            "beside_traffic": {
                name: {"victims": [list(victim) for victim in victims[name]], "times_ms": times[name]} for name in times
            },
            "beside_networks": [_raw(m) for m in measured],
            "sampling": {"rounds": rounds, "seed": options.seed},
            "environment": environment(target),
        },
    )


def _demands(emc_csv: Path) -> Demands:
    return {
        (row["name"], row["group"] or 0, row["accelerator"]): row["demand_gb_s"]
        for row in tables.read(emc_csv, tables.EMC)
        if row["demand_gb_s"] is not None
    }


def _beside_traffic(
    accelerator: str,
    victims: Sequence[Key],
    times: Mapping[str, Times],
    demand: Demands,
    traffic: Mapping[str, Sequence[float]],
) -> list[CoRun]:
    """Return a co-run per duty and victim; each round's times are compared with each other, so that drift cancels."""
    samples = []
    for level, duty in enumerate(DUTIES):
        if str(duty) in times:
            external = sum(levels[level] for other, levels in traffic.items() if other != accelerator)
            ratios = np.median(np.array(times[str(duty)]) / np.array(times["alone"]), axis=0)
            samples += [
                CoRun.steady(demand[(*victim, accelerator)], external, float(ratio))
                for victim, ratio in zip(victims, ratios, strict=True)
            ]
    return samples


def _beside_networks(
    measured: Measured, demand: Demands, standalone: Mapping[tuple[str, str], Mapping[int, float]]
) -> list[CoRun]:
    """Return a co-run per group of a pairing; what runs beside has each of its groups' demands for that group's share
    of its time, and a group of the victim counts by its own share.

    Args:
        standalone: by network and accelerator, group to ms alone.
    """
    pairing = measured.pairing
    beside = [(0.0, 1.0)]
    for where, name in pairing.beside:
        alone = standalone[name, where]
        levels = [(demand[name, group, where], ms / sum(alone.values())) for group, ms in alone.items()]
        # loops run independently of each other
        beside = [(low + high, one * other) for low, one in beside for high, other in levels]
    own = standalone[pairing.victim, pairing.accelerator]
    mean = sum(own.values()) / len(own)
    return [
        CoRun(demand[pairing.victim, group, pairing.accelerator], tuple(beside), slowdown, own[group] / mean)
        for group, slowdown in zip(measured.groups, measured.slowdowns, strict=True)
    ]


def _held_out(measured: Measured, runs: Sequence[CoRun], grids: Mapping[str, Grid]) -> list[dict[str, Any]]:
    pairing = measured.pairing
    return [
        {
            "victim": [pairing.victim, group, pairing.accelerator],
            "beside": dict(pairing.beside),
            "demand_gb_s": run.demand,
            "external_gb_s": run.external,
            "slowdown": run.slowdown,
            "predicted": grids[pairing.accelerator].of(run),
        }
        for group, run in zip(measured.groups, runs, strict=True)
    ]


def _raw(measured: Measured) -> dict[str, Any]:
    return {
        "victim": [measured.pairing.victim, measured.pairing.accelerator],
        "beside": dict(measured.pairing.beside),
        "held_out": measured.pairing.held_out,
        "groups": list(measured.groups),
        "alone_ms": measured.alone_ms,
        "together_ms": measured.together_ms,
    }
