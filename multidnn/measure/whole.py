"""Times each network alone on the whole chip, with the fastest way the target has: whole_results.csv."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sampling import Statistics, sample_rounds
from multidnn.measure.sidecar import write_sidecar
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Target, require

_log = logging.getLogger(__name__)


def profile_whole(target: Target, network_dirs: Sequence[Path], options: MeasureOptions, out_csv: Path) -> None:
    """Write whole_results.csv and its sidecar, which also says which runtime was chosen for each network and why.

    Raises:
        InputError: the target cannot run networks on the whole chip, or a worker failed.
    """
    require(target, "whole")
    rows: list[dict[str, Any]] = []
    chosen: dict[str, str] = {}
    samples: dict[str, dict[str, list[float]]] = {}
    unstable: list[str] = []
    for number, directory in enumerate(network_dirs, start=1):
        network = ExportedNetwork.read(directory)
        with machine_lock():
            _log.info("whole: %s (%d/%d)", network.name, number, len(network_dirs))
            samples[network.name] = _sample(target, network, options)
        statistics = {runtime: Statistics.of(series) for runtime, series in samples[network.name].items()}
        for runtime, found in statistics.items():
            if found.unstable:
                unstable.append(f"{network.name} in {runtime}")
                _log.warning("whole: %s is unstable: quartiles %.0f %% apart", unstable[-1], 100 * found.spread)
        fastest = min(statistics, key=lambda runtime: statistics[runtime].median)
        chosen[network.name] = fastest
        rows.append(
            {
                "network": network.name,
                "median_ms": statistics[fastest].median,
                "mean_ms": statistics[fastest].mean,
                "std_ms": statistics[fastest].std,
                "samples": statistics[fastest].samples,
            }
        )
    tables.write(out_csv, tables.WHOLE, rows)
    write_sidecar(out_csv, target, options, {"runtime": chosen, "samples_ms": samples, "unstable": unstable})


def read_chip_runtimes(whole_csv: Path) -> dict[str, str]:
    """Return the runtime chosen for each network on the whole chip, from the sidecar of `whole_csv`."""
    path = Path(whole_csv).with_suffix(".json")
    runtimes = read_json(path).get("runtime")
    if not isinstance(runtimes, dict):
        raise InputError(f"{path}: key 'runtime' is missing; measure whole_results again")
    return runtimes


def _sample(target: Target, network: ExportedNetwork, options: MeasureOptions) -> dict[str, list[float]]:
    """Return the network's times in ms per runtime, the runtimes taking turns."""
    runtimes = target.chip_runtimes
    instances = dict.fromkeys(runtimes, network)
    times: dict[str, list[float]] = {runtime: [] for runtime in runtimes}

    def take() -> None:
        for runtime in times:
            times[runtime] += session.time_whole(runtime, 1)

    with target.open_session(instances, chip={runtime: runtime for runtime in runtimes}) as session:
        session.load(only={})
        refused = {runtime: reason for runtime in runtimes if (reason := session.refusal_whole(runtime)) is not None}
        for runtime, reason in refused.items():
            _log.warning("whole: %s: %s", network.name, reason)
            del times[runtime]
        if not times:
            raise InputError(f"no runtime takes network {network.name!r}: {'; '.join(refused.values())}")
        session.fill_inputs(np.random.default_rng(options.seed))
        sample_rounds(take, options)
    return {runtime: series[options.warmup :] for runtime, series in times.items()}
