"""Measures what moving from one accelerator to another costs after every group: transition_results.csv."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multidnn import tables
from multidnn.measure.layers import read_layer_times
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sampling import Statistics
from multidnn.measure.sidecar import write_sidecar
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Target, require

_log = logging.getLogger(__name__)


def profile_transitions(
    target: Target, network_dirs: Sequence[Path], layer_csv: Path, options: MeasureOptions, out_csv: Path
) -> None:
    """Write transition_results.csv and its sidecar.

    One process fills the tensor of the cut in shared memory and signals, the other waits and reads it, through the
    same gate that a run uses, `options.max_samples` times (it takes milliseconds). out_ms: the source signalling. in_ms:
    from then to the signal's arrival, plus what the first read of the tensor takes beyond a second one (its lines come
    from the other core's cache).

    Raises:
        InputError: the target cannot measure transitions, or a worker failed.
    """
    require(target, "transition")
    rows: list[dict[str, Any]] = []
    samples: dict[str, Any] = {}
    networks = [ExportedNetwork.read(directory) for directory in network_dirs]
    supported = read_layer_times(layer_csv, networks, target.accelerators)
    rounds = options.warmup + options.max_samples
    with machine_lock(), target.open_session({network.name: network for network in networks}) as session:
        for number, network in enumerate(networks, start=1):
            _log.info("transition: %s (%d/%d)", network.name, number, len(networks))
            for group in network.groups[:-1]:
                # a cut is where exactly one tensor is alive
                (tensor,) = set(group.outputs) & set(network.groups[group.index + 1].inputs)
                for source in target.accelerators:
                    for destination in target.accelerators:
                        if (
                            source == destination
                            or (network.name, group.index, source) not in supported
                            or (network.name, group.index + 1, destination) not in supported
                        ):
                            continue
                        series = session.time_transition(source, destination, network.name, tensor, rounds)
                        held, arrival, cold = (list(values[options.warmup :]) for values in series)
                        medians = [Statistics.of(values).median for values in (held, arrival, cold)]
                        rows.append(
                            {
                                "network": network.name,
                                "after_group": group.index,
                                "source": source,
                                "destination": destination,
                                "out_ms": medians[0],
                                "in_ms": medians[1] + max(0.0, medians[2]),
                                "bytes": group.output_bytes * target.batch * target.value_bytes(destination) // 4,
                            }
                        )
                        samples[f"{network.name}/{group.index}/{source}/{destination}"] = {
                            "signal_ms": held,
                            "arrival_ms": arrival,
                            "cold_read_extra_ms": cold,
                        }
    tables.write(out_csv, tables.TRANSITIONS, rows)
    write_sidecar(out_csv, target, options, {"samples": samples})
