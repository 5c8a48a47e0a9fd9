"""Times every group of a network alone on every accelerator: one network's part of layer_results.csv."""

import logging
import math
from pathlib import Path

import numpy as np

from multidnn import tables
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sampling import UNSTABLE_SPREAD, Statistics, sample_rounds
from multidnn.measure.sidecar import write_sidecar
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import require
from multidnn.targets.host.session import HostSession, Timed
from multidnn.targets.host.target import HostTarget

_log = logging.getLogger(__name__)

# a shorter group is repeated within one sample, so that interrupts and the clock do not decide its time
SHORTEST_SAMPLE_MS = 0.2
_MOST_REPEATS = 200


def profile_layers(target: HostTarget, network_dir: Path, options: MeasureOptions, out_csv: Path) -> None:
    """Write the layer table of one network and its sidecar with every sample.

    The groups run in the network's order, so that each finds the caches as its predecessor leaves them; the
    accelerators take turns pass by pass, so that a drift of the machine's speed meets all of them alike.

    Raises:
        InputError: the target cannot time layers, or a worker failed.
    """
    require(target, "layer")
    network = ExportedNetwork.read(network_dir)
    with machine_lock(), target.open_session({network.name: network}) as session:
        session.load()
        session.fill_inputs(np.random.default_rng(options.seed))
        _log.info("layer: %s: %d groups on %s", network.name, len(network.groups), ", ".join(target.accelerators))
        samples, repeats = _sample(session, target, network, options)
    rows = []
    for group in network.groups:
        for accelerator in target.accelerators:
            statistics = Statistics.of(samples[accelerator][group.index])
            marks = []
            if repeats[accelerator][group.index] > 1:
                marks.append(f"repeated {repeats[accelerator][group.index]} times within one sample")
            if statistics.unstable:
                marks.append(f"unstable: quartiles {100 * statistics.spread:.0f} % of the median apart")
                _log.warning("layer: %s group %d on %s is %s", network.name, group.index, accelerator, marks[-1])
            rows.append(
                {
                    "network": network.name,
                    "group": group.index,
                    "first_layer": group.first_layer,
                    "last_layer": group.last_layer,
                    "accelerator": accelerator,
                    "supported": True,
                    "median_ms": statistics.median,
                    "mean_ms": statistics.mean,
                    "std_ms": statistics.std,
                    "samples": statistics.samples,
                    "reason": "; ".join(marks) or None,
                }
            )
    tables.write(out_csv, tables.LAYERS, rows)
    content = {
        "network": network.name,
        "samples_ms": samples,
        "repeats": repeats,
        "unstable_above_spread": UNSTABLE_SPREAD,
    }
    write_sidecar(out_csv, target, options, content)


def repeats_for(milliseconds: float) -> int:
    """Return how often a group of that length runs within one sample."""
    return min(_MOST_REPEATS, max(1, math.ceil(SHORTEST_SAMPLE_MS / max(milliseconds, 1e-6))))


def _sample(
    session: HostSession, target: HostTarget, network: ExportedNetwork, options: MeasureOptions
) -> tuple[dict[str, list[list[float]]], dict[str, list[int]]]:
    """Return samples in ms per accelerator and group, and how often each group ran within one sample."""
    plans: dict[str, list[Timed]] = {}
    repeats: dict[str, list[int]] = {}
    for accelerator in target.accelerators:
        once = [Timed(network.name, group.index) for group in network.groups]
        trial = np.median(session.time(accelerator, once, options.warmup + 1), axis=0)
        repeats[accelerator] = [repeats_for(time) for time in trial]
        plans[accelerator] = [Timed(network.name, index, count) for index, count in enumerate(repeats[accelerator])]
    passes: dict[str, list[list[float]]] = {accelerator: [] for accelerator in target.accelerators}

    def take() -> None:
        for accelerator, plan in plans.items():
            passes[accelerator] += session.time(accelerator, plan, 1)

    sample_rounds(take, options)
    return {
        accelerator: [list(series) for series in zip(*rows[options.warmup :], strict=True)]
        for accelerator, rows in passes.items()
    }, repeats
