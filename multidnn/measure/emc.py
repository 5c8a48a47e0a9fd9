"""Memory demand of every group and of the 25 convolutions, alone on each accelerator: emc_results.csv and .yaml."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import write_text
from multidnn.measure.layers import read_layer_times
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sampling import Statistics, sample_rounds
from multidnn.measure.sidecar import write_sidecar
from multidnn.networks.exported import ExportedNetwork, GroupModel
from multidnn.targets.base import Session, Target, Timed, require

_log = logging.getLogger(__name__)

_PEAK_S = 1.0
_COUNTER_S = 0.3
GRAPH = "graph-traffic"


def graph_traffic_bytes(group: GroupModel, batch: int = 1, value_bytes: int = 4) -> int:
    """Return the bytes that one execution of `group` moves if every layer reads its inputs and weights and writes its
    outputs once; caches can only make the traffic at the memory smaller."""
    return (group.weight_bytes + batch * group.activation_bytes) * value_bytes // 4


def profile_emc(
    target: Target,
    network_dirs: Sequence[Path],
    convolution_dirs: Sequence[Path],
    layer_csv: Path,
    options: MeasureOptions,
    out_csv: Path,
    out_yaml: Path,
) -> None:
    """Write emc_results.csv, its sidecar, and the figure-3 view of the first accelerator.

    Where the target counts memory traffic, that is the demand; otherwise it is `graph_traffic_bytes` over the measured
    time. The column `method` says which. The peak is that of the traffic
    generator on all accelerators at once.

    Raises:
        InputError: the target cannot measure memory demand, or a worker failed.
    """
    require(target, "emc")
    networks = [ExportedNetwork.read(directory) for directory in network_dirs]
    convolutions = {network.name: network for network in map(ExportedNetwork.read, sorted(convolution_dirs))}
    times = read_layer_times(layer_csv, networks, target.accelerators)
    counter, found = target.traffic_counter()
    counted: dict[tuple[str, int, str], float] = {}
    with machine_lock():
        with target.open_session(convolutions) as session:
            _log.info("emc: %d convolutions on %s", len(convolutions), ", ".join(target.accelerators))
            session.load()
            session.fill_inputs(np.random.default_rng(options.seed))
            samples = _sample(session, target, convolutions, options)
            peak_gb_s = session.peak_traffic(_PEAK_S) / 1e9
        if counter is not None:
            counted = _count(target, [convolutions, *({network.name: network} for network in networks)], options)
        else:
            _log.info("emc: demand from the graph's traffic over measured time: %s", found)
    rows = []
    for network in (*convolutions.values(), *networks):
        convolution = network.name in convolutions
        for group in network.groups:
            for accelerator in target.accelerators:
                moved = graph_traffic_bytes(group, target.batch, target.value_bytes(accelerator))
                if (network.name, group.index, accelerator) in counted:
                    demand, method = counted[network.name, group.index, accelerator], counter
                elif convolution:
                    milliseconds = Statistics.of(samples[accelerator][network.name]).median
                    demand, method = moved / 1e6 / milliseconds, GRAPH
                elif (network.name, group.index, accelerator) in times:
                    milliseconds = times[network.name, group.index, accelerator]
                    demand, method = moved / 1e6 / milliseconds, GRAPH
                else:
                    # the layer table says that this accelerator does not take the group
                    continue
                rows.append(
                    {
                        "name": network.name,
                        "group": None if convolution else group.index,
                        "accelerator": accelerator,
                        "demand_gb_s": demand,
                        "utilization_pct": 100 * demand / peak_gb_s,
                        "method": method,
                    }
                )
    tables.write(out_csv, tables.EMC, rows)
    write_text(out_yaml, yaml.safe_dump(figure_3(rows, target.accelerators[0]), sort_keys=True))
    content = {
        "counter": found,
        "peak_gb_s": peak_gb_s,
        "peak_from": f"memory copy on all accelerators at once for {_PEAK_S:g} s, bytes read plus written",
        "convolution_samples_ms": samples,
    }
    write_sidecar(out_csv, target, options, content)


def figure_3(rows: Sequence[Mapping[str, Any]], accelerator: str) -> dict[str, dict[str, float]]:
    """Return conv -> kernel -> percent of the peak for `accelerator` (figure 3 of HaX-CoNN, PPoPP 2024)."""
    view: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["group"] is None and row["accelerator"] == accelerator:
            conv, separator, kernel = row["name"].partition("_")
            if not separator:
                raise InputError(f"convolution {row['name']!r}: expected a name such as conv1_kernel1")
            view.setdefault(conv, {})[kernel] = round(row["utilization_pct"], 2)
    return view


def _count(
    target: Target, batches: Sequence[Mapping[str, ExportedNetwork]], options: MeasureOptions
) -> dict[tuple[str, int, str], float]:
    """Return the counted demand in GB/s of every group on every accelerator, one batch of networks loaded at a time."""
    counted: dict[tuple[str, int, str], float] = {}
    for number, batch in enumerate(batches, start=1):
        _log.info("emc: counting memory traffic, batch %d/%d", number, len(batches))
        groups = [(network.name, group.index) for network in batch.values() for group in network.groups]
        with target.open_session(batch) as session:
            session.load()
            session.fill_tensors(np.random.default_rng(options.seed))
            for accelerator in target.accelerators:
                rates = session.count_traffic(accelerator, groups, _COUNTER_S)
                counted |= {(*group, accelerator): rate / 1e9 for group, rate in zip(groups, rates, strict=True)}
    return counted


def _sample(
    session: Session, target: Target, convolutions: Mapping[str, ExportedNetwork], options: MeasureOptions
) -> dict[str, dict[str, list[float]]]:
    """Return the times of the convolutions in ms per accelerator and name, the accelerators taking turns."""
    plan = [Timed(name, 0) for name in convolutions]
    passes: dict[str, list[list[float]]] = {accelerator: [] for accelerator in target.accelerators}

    def take() -> None:
        for accelerator in target.accelerators:
            passes[accelerator] += session.time(accelerator, plan, 1)

    sample_rounds(take, options)
    return {
        accelerator: {
            name: list(series)
            for name, series in zip(convolutions, zip(*kept[options.warmup :], strict=True), strict=True)
        }
        for accelerator, kept in passes.items()
    }
