"""What moving from one device to another costs on a board, from profiles of marked and of moving engines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multidnn import tables
from multidnn.files import read_json, write_json
from multidnn.measure.jetson.profiles import read_profiles
from multidnn.measure.layers import read_layer_times
from multidnn.measure.sampling import Statistics
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.jetson.engines import mark_name, transition_name
from multidnn.targets.jetson.parsers import profile as profiles
from multidnn.targets.jetson.parsers.names import is_wait
from multidnn.targets.jetson.target import device_kind


def board_transitions(
    network_dirs: Sequence[Path],
    profile_files: Sequence[Path],
    layer_csv: Path,
    accelerators: Sequence[str],
    out_csv: Path,
) -> None:
    """Write transition_results.csv and its sidecar.

    out_ms: by how much an engine takes longer when the tensor of the cut is an output too, as the end of a segment makes
    it (the paper's marked engines; GPU compute time, medians). in_ms: what reformatting for the destination takes in the
    engine that moves to it at the cut, beyond what the same network needs on the source alone. A difference below zero
    is noise and counts as 0; the sidecar has it as it was.

    Raises:
        InputError: a profile or a row of the layer table is missing.
    """
    networks = [ExportedNetwork.read(directory) for directory in network_dirs]
    supported = read_layer_times(layer_csv, networks, accelerators)
    engines = read_profiles(profile_files)
    rows: list[dict[str, Any]] = []
    raw: dict[str, dict[str, float]] = {}
    for network in networks:
        own = engines[network.name]
        for group in network.groups[:-1]:
            cut = network.groups[group.index + 1].first_layer
            for source in accelerators:
                for destination in accelerators:
                    if (
                        source == destination
                        or (network.name, group.index, source) not in supported
                        or (network.name, group.index + 1, destination) not in supported
                    ):
                        continue
                    out_ms = _marking(own, source, cut)
                    in_ms = _reformatting(own, source, destination, cut)
                    raw[f"{network.name}/{group.index}/{source}/{destination}"] = {"out_ms": out_ms, "in_ms": in_ms}
                    rows.append(
                        {
                            "network": network.name,
                            "after_group": group.index,
                            "source": source,
                            "destination": destination,
                            "out_ms": max(0.0, out_ms),
                            "in_ms": max(0.0, in_ms),
                            "bytes": group.output_bytes,
                        }
                    )
    tables.write(out_csv, tables.TRANSITIONS, rows)
    environments = {
        f"{Path(p).parent.name}/{Path(p).stem}": read_json(Path(p)).get("environment") for p in profile_files
    }
    write_json(
        Path(out_csv).with_suffix(".json"),
        {
            "statistic": "median",
            "differences_ms": raw,
            "environment": next(iter(environments.values()), None),
            "environments": environments,
        },
    )


def _marking(engines: Mapping[str, Any], source: str, cut: int) -> float:
    kind = device_kind(source)
    marked, plain = engines[mark_name(kind, cut)], engines[kind]
    return _latency(marked, source) - _latency(plain, source)


def _latency(engine: Mapping[str, Any], accelerator: str) -> float:
    return Statistics.of(engine["profiles"][accelerator]["latency_ms"]).median


def _reformatting(engines: Mapping[str, Any], source: str, destination: str, cut: int) -> float:
    """Return the ms of reformatters that moving to `destination` at `cut` adds; from one DLA to another as from the GPU."""
    on_dla = next(name for name in (destination, source) if device_kind(name) == "dla")
    start = "dla" if device_kind(destination) == "gpu" else "gpu"
    # an engine that uses the GPU alone was profiled there
    plain = _reformats(engines[start], "gpu" if start == "gpu" else on_dla)
    return _reformats(engines[transition_name(start, cut)], on_dla) - plain


def _reformats(engine: Mapping[str, Any], accelerator: str) -> float:
    profile = profiles.from_entries(engine["profiles"][accelerator]["profile"], f"profile on {accelerator}")
    return sum(
        layer.time_ms if layer.median_ms is None else layer.median_ms
        for layer in profile.layers
        if layer.kind == "reformat" and not is_wait(layer.name)
    )
