"""Memory demand of every group and of the 25 convolutions on a board: emc_results.csv and .yaml, from the EMC's counter."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json, write_text
from multidnn.measure.emc import figure_3
from multidnn.measure.jetson.profiles import read_profiles
from multidnn.measure.layers import read_layer_times
from multidnn.measure.lock import machine_lock
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sampling import Statistics
from multidnn.measure.sidecar import write_sidecar
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.jetson.engines import group_name
from multidnn.targets.jetson.parsers.emc import peak_gb_s
from multidnn.targets.jetson.readings import SAMPLING_MS, demand, readings, within
from multidnn.targets.jetson.target import JetsonTarget, device_kind, dla_core
from multidnn.targets.jetson.tools import sampler_command

_log = logging.getLogger(__name__)

# DLA = EMC of the network on the DLA / EMC of it on the GPU x the group's on the GPU (HaX-CoNN, PPoPP 2024)
RATIO = "emc-ratio"


def profile_emc_on_board(
    target: JetsonTarget,
    network_dirs: Sequence[Path],
    engine_files: Sequence[Path],
    whole_files: Sequence[Path],
    layer_csv: Path,
    options: MeasureOptions,
    out_csv: Path,
    out_yaml: Path,
) -> None:
    """Write emc_results.csv, its sidecar, and the figure-3 view of the first accelerator.

    Each engine loops alone while tegrastats or jtop prints the memory controller's utilisation; readings count once
    the running average has settled. Measured: the convolutions on every accelerator that takes them, the groups on the
    GPU, and whole networks on every accelerator. A group's demand is the traffic of one execution of its engine over
    its time within the network. A DLA runs no single group as it would within a network, so a group's demand there
    follows from the ratio of the whole network's on both (the paper's method).

    Args:
        engine_files: engines/{network}.json of every network, and engines/convolution.json.
        whole_files: profiles/{network}/whole.json.

    Raises:
        InputError: the utilisation cannot be read (tegrastats shows none without root, a counter that is always 0), or an
            engine is missing.
    """
    networks = [ExportedNetwork.read(directory) for directory in network_dirs]
    times = read_layer_times(layer_csv, networks, target.accelerators)
    paths = _engine_paths(target, networks, times, engine_files, whole_files)
    # how much a group moves on a DLA follows from the GPU's
    loops = [loop for loop in paths if loop[1] is None or loop[2] == "gpu"]
    settle, window = target.spec["emc_settle_s"], target.spec["emc_window_s"]
    tool, bus = target.spec["emc"], target.memory_bus_bytes()
    minutes = len(loops) * (settle + window) / 60
    _log.info("emc: %d engines with %s, about %.0f minutes", len(loops), tool, minutes)
    request = {
        "workers": {name: {"dla_core": dla_core(name)} for name in target.accelerators},
        "engines": {_key(loop): {"path": path, "worker": loop[2]} for loop, path in paths.items()},
        "measurements": [
            {
                "name": _key(loop),
                "victim": None,
                "loads": [{"engine": _key(loop), "duty": 1.0}],
                "samples": 0,
                "warmup": options.warmup,
                "seconds": settle + window,
            }
            for loop in loops
        ]
        + [
            {
                "name": _key(loop),
                "victim": {"engine": _key(loop), "repeats": 1},
                "loads": [],
                "samples": options.min_samples,
                "warmup": options.warmup,
                "seconds": None,
            }
            for loop in paths
        ],
        # one engine after the other
        "resident": 1,
        "sampler": {"command": sampler_command(target.board, tool, SAMPLING_MS)},
        "timeout_s": 60,
    }
    with machine_lock():
        answer = target.board.call("corun", request, None)
    found = readings(tool, answer["sampler_lines"])
    measured: dict[tuple[str, int | None, str], float] = {}
    samples: dict[str, list[list[float]]] = {}
    alone_ms = {
        result["name"]: Statistics.of(result["victim_ms"]).median for result in answer["measurements"][len(loops) :]
    }
    for loop, result in zip(loops, answer["measurements"][: len(loops)], strict=True):
        chosen = within(found, result["begin_ns"] + int(settle * 1e9), result["end_ns"])
        measured[loop] = demand(chosen, bus)
        samples[_key(loop)] = [[reading.emc.percent, reading.emc.mhz or 0.0] for reading in chosen if reading.emc]
    _require_traffic(tool, measured)
    clock = _highest_clock(target, found)
    peak = peak_gb_s(clock, bus)
    rows = _rows(target, networks, times, measured, alone_ms, tool, peak)
    tables.write(out_csv, tables.EMC, rows)
    write_text(out_yaml, yaml.safe_dump(figure_3(rows, target.accelerators[0]), sort_keys=True))
    content = {
        "counter": f"memory controller's utilisation as {tool} prints it, every {SAMPLING_MS} ms",
        "settle_s": settle,
        "window_s": window,
        "peak_gb_s": peak,
        "peak_from": f"{clock:g} MHz x 2 transfers x {bus} bytes",
        "whole_gb_s": {
            network.name: {
                name: measured[network.name, None, name]
                for name in target.accelerators
                if (network.name, None, name) in measured
            }
            for network in networks
        },
        "alone_ms": alone_ms,
        "percent_and_mhz": samples,
    }
    write_sidecar(out_csv, target, options, content)


def read_engines(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the engines in engines/*.json: by network those of its groups; under ``convolution`` each layer's by device.

    Raises:
        InputError: a file is missing, truncated, or holds no engines.
    """
    engines: dict[str, dict[str, Any]] = {}
    for path in map(Path, paths):
        content = read_json(path)
        if not isinstance(content.get("engines"), dict):
            raise InputError(f"{path}: has no engines; delete it to have them built again")
        engines[path.stem] = content["engines"]
    return engines


Loop = tuple[str, int | None, str]
"""Network or convolution, group (None: the whole), accelerator."""


def _key(loop: Loop) -> str:
    name, group, accelerator = loop
    return f"{name}/{accelerator}" if group is None else f"{name}/{group}/{accelerator}"


def _engine_paths(
    target: JetsonTarget,
    networks: Sequence[ExportedNetwork],
    times: Mapping[tuple[str, int, str], float],
    engine_files: Sequence[Path],
    whole_files: Sequence[Path],
) -> dict[Loop, str]:
    """Return what can run alone, and the path of its engine on the board."""
    engines, wholes = read_engines(engine_files), read_profiles(whole_files)
    paths: dict[Loop, str] = {}
    for name, devices in sorted(engines["convolution"].items()):
        for accelerator in target.accelerators:
            record = devices[device_kind(accelerator)]
            # what the DLA refused runs on the GPU, and would be measured as if it were the DLA's
            if dla_core(accelerator) is None or (record["placement"]["dla"] and not record["refused"]):
                paths[name, None, accelerator] = record["engine"]
    for network in networks:
        for accelerator in target.accelerators:
            kind = device_kind(accelerator)
            entry = wholes[network.name][kind]
            if accelerator in entry["profiles"] and (kind == "gpu" or entry["build"]["placement"]["dla"]):
                paths[network.name, None, accelerator] = entry["build"]["engine"]
            for group in network.groups:
                if (network.name, group.index, accelerator) in times:
                    record = engines[network.name][group_name(kind, group.index)]
                    paths[network.name, group.index, accelerator] = record["engine"]
    return paths


def _require_traffic(tool: str, measured: Mapping[Loop, float]) -> None:
    """Raise an `InputError` if no engine moved anything: a counter that cannot be read may show as 0 %."""
    if not measured or max(measured.values()) > 0:
        return
    other = "tegrastats` as root" if tool == "jtop" else "jtop`"
    why = " (jetson-stats 4.3.2 does so with JetPack 6.1, its issue 715)"
    raise InputError(
        f"emc_results.csv: {tool} prints 0 % for the memory controller while each of {len(measured)} engines runs, so it "
        f"does not read it{why if tool == 'jtop' else ''}; use `emc: {other}"
    )


def _rows(
    target: JetsonTarget,
    networks: Sequence[ExportedNetwork],
    times: Mapping[tuple[str, int, str], float],
    measured: Mapping[Loop, float],
    alone_ms: Mapping[str, float],
    tool: str,
    peak: float,
) -> list[tables.Row]:
    names = {network.name for network in networks}
    rows: list[tables.Row] = []

    def add(name: str, group: int | None, accelerator: str, found: float, method: str) -> None:
        percent = 100 * found / peak
        rows.append(
            {
                "name": name,
                "group": group,
                "accelerator": accelerator,
                "demand_gb_s": found,
                "utilization_pct": percent,
                "method": method,
            }
        )

    for (name, group, accelerator), found in measured.items():
        if group is None and name not in names:
            add(name, None, accelerator, found, tool)
    for network in networks:
        on_gpu = measured[network.name, None, "gpu"]
        for group_model in network.groups:
            index = group_model.index
            for accelerator in target.accelerators:
                if (network.name, index, accelerator) not in times:
                    # the layer table says that this accelerator does not take the group
                    continue
                # the traffic of one execution over the group's own time: within a network, nothing is copied in or out
                alone = alone_ms[_key((network.name, index, "gpu"))]
                found = measured[network.name, index, "gpu"]
                if times[network.name, index, "gpu"] > 0:
                    found = min(peak, found * alone / times[network.name, index, "gpu"])
                if dla_core(accelerator) is None:
                    add(network.name, index, accelerator, found, tool)
                    continue
                if on_gpu == 0:
                    raise InputError(
                        f"emc_results.csv: network {network.name!r} shows no traffic on the GPU ({tool} prints 0 %), so "
                        "there is no ratio to the DLA's"
                    )
                ratio = measured[network.name, None, accelerator] / on_gpu
                add(network.name, index, accelerator, ratio * found, RATIO)
    return rows


def _highest_clock(target: JetsonTarget, found: Sequence[Any]) -> float:
    """Return the memory's highest clock in MHz: what the board says it may reach, or else the highest seen."""
    limit = (target.state["clocks"].get("emc") or {}).get("max_hz")
    if limit:
        return float(limit) / 1e6
    return float(max(reading.emc.mhz for reading in found if reading.emc and reading.emc.mhz))
