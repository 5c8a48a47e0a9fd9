"""Times every group of a network alone on every accelerator: one network's part of layer_results.csv."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multidnn import tables
from multidnn.errors import InputError
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sampling import UNSTABLE_SPREAD, Statistics, sample_rounds
from multidnn.measure.sidecar import write_sidecar
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Session, Target, Timed, require

_log = logging.getLogger(__name__)

_MOST_REPEATS = 200


def profile_layers(target: Target, network_dir: Path, options: MeasureOptions, out_csv: Path) -> None:
    """Write the layer table of one network and its sidecar with every sample.

    The groups run in the network's order, so that each finds the caches as its predecessor leaves them; the
    accelerators take turns pass by pass, so that a drift of the machine's speed meets all of them alike.

    Raises:
        InputError: the target cannot time layers, no accelerator takes a group, or a worker failed.
    """
    require(target, "layer")
    network = ExportedNetwork.read(network_dir)
    with machine_lock(), target.open_session({network.name: network}) as session:
        session.load()
        session.fill_tensors(np.random.default_rng(options.seed))
        _log.info("layer: %s: %d groups on %s", network.name, len(network.groups), ", ".join(target.accelerators))
        refused = {
            (group.index, accelerator): reason
            for group in network.groups
            for accelerator in target.accelerators
            if (reason := session.refusal(accelerator, network.name, group.index)) is not None
        }
        for group in network.groups:
            reasons = [refused[group.index, name] for name in target.accelerators if (group.index, name) in refused]
            if len(reasons) == len(target.accelerators):
                raise InputError(f"no accelerator takes group {group.index} of {network.name!r}: {'; '.join(reasons)}")
        samples, repeats = _sample(session, target, network, refused, options)
    rows = []
    for group in network.groups:
        for accelerator in target.accelerators:
            row = {
                "network": network.name,
                "group": group.index,
                "first_layer": group.first_layer,
                "last_layer": group.last_layer,
                "accelerator": accelerator,
                "supported": (group.index, accelerator) not in refused,
            }
            if row["supported"]:
                series, count = samples[accelerator][group.index], repeats[accelerator][group.index]
                row |= _summary(f"{network.name} group {group.index} on {accelerator}", series, count)
            else:
                row["reason"] = refused[group.index, accelerator]
            rows.append(row)
    tables.write(out_csv, tables.LAYERS, rows)
    content = {
        "network": network.name,
        # a list per group, empty where the accelerator does not take it
        "samples_ms": {name: [s.get(g.index, []) for g in network.groups] for name, s in samples.items()},
        "repeats": {name: [r.get(g.index) for g in network.groups] for name, r in repeats.items()},
        "unstable_above_spread": UNSTABLE_SPREAD,
    }
    write_sidecar(out_csv, target, options, content)


def read_layer_times(
    layer_csv: Path, networks: Sequence[ExportedNetwork], accelerators: Sequence[str]
) -> dict[tuple[str, int, str], float]:
    """Return the median in ms of each supported (network, group, accelerator).

    Raises:
        InputError: a row that there must be is missing; the message names the table and the row.
    """
    rows = {(row["network"], row["group"], row["accelerator"]): row for row in tables.read(layer_csv, tables.LAYERS)}
    times: dict[tuple[str, int, str], float] = {}
    for network in networks:
        for group in network.groups:
            for accelerator in accelerators:
                key = (network.name, group.index, accelerator)
                if key not in rows:
                    raise InputError(
                        f"{layer_csv}: no row for network {network.name!r}, group {group.index}, accelerator "
                        f"{accelerator!r}; delete the file to have it measured again"
                    )
                if rows[key]["supported"]:
                    times[key] = rows[key]["median_ms"]
    return times


def _summary(what: str, samples: Sequence[float], repeats: int) -> dict[str, Any]:
    """Return the measured columns of one row; `reason` holds the marks."""
    statistics = Statistics.of(samples)
    marks = []
    if repeats > 1:
        marks.append(f"repeated {repeats} times within one sample")
    if statistics.unstable:
        marks.append(f"unstable: quartiles {100 * statistics.spread:.0f} % of the median apart")
        _log.warning("layer: %s is %s", what, marks[-1])
    return {
        "median_ms": statistics.median,
        "mean_ms": statistics.mean,
        "std_ms": statistics.std,
        "samples": statistics.samples,
        "reason": "; ".join(marks) or None,
    }


def repeats_for(milliseconds: float, shortest_sample_ms: float) -> int:
    """Return how often a group of that length runs within one sample."""
    return min(_MOST_REPEATS, max(1, math.ceil(shortest_sample_ms / max(milliseconds, 1e-6))))


def _sample(
    session: Session,
    target: Target,
    network: ExportedNetwork,
    refused: Mapping[tuple[int, str], str],
    options: MeasureOptions,
) -> tuple[dict[str, dict[int, list[float]]], dict[str, dict[int, int]]]:
    """Return samples in ms per accelerator and group, and how often each group ran within one sample."""
    plans: dict[str, list[Timed]] = {}
    for accelerator in target.accelerators:
        taken = [group.index for group in network.groups if (group.index, accelerator) not in refused]
        once = [Timed(network.name, index) for index in taken]
        trial = np.median(session.time(accelerator, once, options.warmup + 1), axis=0)
        plans[accelerator] = [
            Timed(network.name, index, repeats_for(time, target.shortest_sample_ms))
            for index, time in zip(taken, trial, strict=True)
        ]
    passes: dict[str, list[list[float]]] = {accelerator: [] for accelerator in target.accelerators}

    def take() -> None:
        for accelerator, plan in plans.items():
            passes[accelerator] += session.time(accelerator, plan, 1)

    sample_rounds(take, options)
    samples = {
        accelerator: {
            timed.group: list(series)
            for timed, series in zip(plan, zip(*passes[accelerator][options.warmup :], strict=True), strict=True)
        }
        for accelerator, plan in plans.items()
    }
    return samples, {name: {timed.group: timed.repeats for timed in plan} for name, plan in plans.items()}
