"""Group times of one network on a board, from profiles of its engines: one network's part of layer_results.csv."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.measure.jetson.profiles import read_profiles
from multidnn.measure.sampling import UNSTABLE_SPREAD, Statistics
from multidnn.networks.board_network import BoardNetwork
from multidnn.targets.jetson.attribution import GroupTimes, dla_group_times, gpu_group_times, on_dla
from multidnn.targets.jetson.board.residency import LOADABLES_PER_CORE
from multidnn.targets.jetson.engines import transition_name
from multidnn.targets.jetson.parsers import profile as profiles
from multidnn.targets.jetson.parsers.layer_info import origins
from multidnn.targets.jetson.parsers.names import is_wait
from multidnn.targets.jetson.parsers.profile import Profile, ProfileLayer
from multidnn.targets.jetson.target import dla_core

_log = logging.getLogger(__name__)

# how far engines of the same layers differ from one build to the next, of the network's time: the paper's artifact recorded
# GoogleNet's groups on a Xavier twice, and while the sums differ by 0.7 %, single groups do so by up to 1.3 % of the sum
BUILD_NOISE = 0.02


@dataclass(frozen=True)
class Accounted:
    """One profile by groups, in ms per execution: GPU time per group (None: nothing ran there), and the DLA's blocks."""

    gpu_ms: tuple[float | None, ...]
    dla_ms: float
    reformat_ms: float
    straddling: tuple[str, ...]

    def from_group(self, first: int) -> float:
        """What groups `first` and later take, wherever they ran, without reformatting."""
        return self.dla_ms + sum(ms or 0.0 for ms in self.gpu_ms[first:])


def account(network: BoardNetwork, engine: Mapping[str, Any], accelerator: str, median: bool, place: str) -> Accounted:
    """Return the profile of `engine` (an entry of a profile file) on `accelerator` by groups of `network`.

    Args:
        median: take medians over executions instead of means.

    Raises:
        InputError: an entry of the profile belongs to no layer of the network.
    """
    blocks = engine["build"]["placement"]["dla"]
    profile = read_profile(engine, accelerator, median, place)
    found: GroupTimes = gpu_group_times(
        profile, layer_names(network), blocks, origins(engine["build"].get("layer_info"))
    )
    # some versions show a block's time on what waits for its result: {ForeignNode[...]} 0.0085, "out from nvm" 7.6931 ms
    # (8.x, NVIDIA/TensorRT issue 3143); on an engine without a block there is no such entry
    on_the_dla = [entry for entry in found.apart if on_dla(entry, blocks) or (blocks and is_wait(entry.name))]
    dla_ms = sum(entry.time_ms for entry in on_the_dla)
    return Accounted(found.times_ms, dla_ms, found.apart_ms - dla_ms, tuple(entry.name for entry in found.straddling))


def read_profile(engine: Mapping[str, Any], accelerator: str, median: bool, place: str) -> Profile:
    """Return the layer profile in an entry of a profile file, its times as medians or means over executions."""
    profile = profiles.from_entries(engine["profiles"][accelerator]["profile"], place)
    if not median:
        return profile

    def middle(layer: ProfileLayer) -> ProfileLayer:
        return layer if layer.median_ms is None else replace(layer, time_ms=layer.median_ms)

    return replace(profile, layers=tuple(map(middle, profile.layers)))


def layer_names(network: BoardNetwork) -> list[list[str]]:
    """Return the names of each group's layers, those that vanished from the models too."""
    names = list(network.types)
    return [names[group.first_layer : group.last_layer + 1] for group in network.groups]


def board_layers(
    models_dir: Path, profile_files: Sequence[Path], accelerators: Sequence[str], gpu_only: Sequence[str], out_csv: Path
) -> None:
    """Write the layer table of one network and its sidecar.

    GPU: the entries of the whole network's profile, added up by group. DLA: how much less an engine spends behind a cut
    when it moves from the GPU to the DLA one cut later (HaX-CoNN, PPoPP 2024, as a DLA hides its layers). A group with a
    layer that the DLA refuses is not supported there, except for operators in `gpu_only`, which run on the GPU within
    the DLA's segment.

    Raises:
        InputError: a profile is missing, has an entry of no layer, or what is spent behind a cut does not fall from cut
            to cut.
    """
    network = BoardNetwork.read(models_dir)
    engines = read_profiles(profile_files)[network.name]
    refused = _refused(network, engines, gpu_only)
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for accelerator in accelerators:
        reasons = refused if dla_core(accelerator) is not None else {}
        if (apart := _too_many_parts(network, engines, accelerator)) is not None:
            reasons = dict.fromkeys(range(len(network.groups)), apart)
        if len(reasons) == len(network.groups):
            rows += [
                _row(network, index, accelerator) | {"supported": False, "reason": reasons[index]} for index in reasons
            ]
            continue
        times = {
            what: _times(network, engines, accelerator, median)
            for what, median in (("median_ms", True), ("mean_ms", False))
        }
        samples = _samples(network, engines, accelerator)
        details[accelerator] = _detail(network, engines, accelerator)
        for index in range(len(network.groups)):
            row = _row(network, index, accelerator) | {"supported": index not in reasons}
            if index in reasons:
                row["reason"] = reasons[index]
            else:
                row |= {what: values[index] for what, values in times.items()} | _spread(samples, index)
                row["samples"] = details[accelerator]["executions"]
            rows.append(row)
    rows.sort(key=lambda row: (row["group"], list(accelerators).index(row["accelerator"])))
    for index in range(len(network.groups)):
        if not any(row["supported"] for row in rows if row["group"] == index):
            raise InputError(f"no accelerator takes group {index} of {network.name!r}")
    tables.write(out_csv, tables.LAYERS, rows)
    environments = {Path(path).stem: read_json(Path(path)).get("environment") for path in profile_files}
    write_json(
        Path(out_csv).with_suffix(".json"),
        {
            "statistic": "median",
            "network": network.name,
            "accelerators": details,
            "unstable_above_spread": UNSTABLE_SPREAD,
            "environment": environments["whole"],
            "environments": environments,
        },
    )


def _row(network: BoardNetwork, index: int, accelerator: str) -> dict[str, Any]:
    group = network.groups[index]
    return {
        "network": network.name,
        "group": index,
        "first_layer": group.first_layer,
        "last_layer": group.last_layer,
        "accelerator": accelerator,
    }


def _too_many_parts(network: BoardNetwork, engines: Mapping[str, Any], accelerator: str) -> str | None:
    """Return why no group can be timed on a DLA: an engine that must be compared is in more parts than a core holds."""
    if dla_core(accelerator) is None:
        return None
    for name in ("dla", *(transition_name("gpu", cut) for cut in network.cuts)):
        if accelerator not in engines[name]["profiles"]:
            return (
                f"the network is in {engines[name]['build']['loadables']} parts on the DLA, between layers that it does not "
                f"take, and a core holds {LOADABLES_PER_CORE}, so that its groups cannot be timed"
            )
    return None


def _times(network: BoardNetwork, engines: Mapping[str, Any], accelerator: str, median: bool) -> tuple[float, ...]:
    place = f"profile of {network.name} on {accelerator}"
    if dla_core(accelerator) is None:
        whole = account(network, engines["gpu"], accelerator, median, place)
        return tuple(ms or 0.0 for ms in whole.gpu_ms)
    waits = {
        cut: account(
            network, engines[transition_name("gpu", cut)], accelerator, median, f"{place}, cut {cut}"
        ).from_group(index)
        for index, cut in enumerate(network.cuts, start=1)
    }
    whole_ms = account(network, engines["dla"], accelerator, median, place).from_group(0)
    noise = _noise(network, engines, accelerator)
    on_gpu = account(network, engines["gpu"], "gpu", median, place).gpu_ms
    try:
        return _shared(dla_group_times(waits, whole_ms, noise), [ms or 0.0 for ms in on_gpu])
    except InputError as error:
        raise InputError(f"{network.name} on {accelerator}: {error}") from None


def _noise(network: BoardNetwork, engines: Mapping[str, Any], accelerator: str) -> float:
    """How far waits may contradict each other, in ms.

    Single executions of an engine vary: the largest distance of quartiles among the engines compared. And each of these
    engines was built on its own, with kernels chosen by their timing: a share of the whole network's time.
    """
    names = ["dla", *(transition_name("gpu", cut) for cut in network.cuts)]
    distances = [
        float(np.subtract(*np.percentile(engines[name]["profiles"][accelerator]["latency_ms"], [75, 25])))
        for name in names
    ]
    whole = Statistics.of(engines["dla"]["profiles"][accelerator]["latency_ms"]).median
    return max(*distances, BUILD_NOISE * whole)


def _shared(times: Sequence[float], weights: Sequence[float]) -> tuple[float, ...]:
    """Return `times` without zeros: a group too short to be told from its neighbour shares the two's time, by `weights`.

    A group that seems to take nothing would draw every schedule to it. The sum stays as it is.
    """
    blocks: list[list[int]] = [[]]
    for index, time in enumerate(times):
        blocks[-1].append(index)
        if time > 0:
            blocks.append([])
    last = blocks.pop()
    if last and blocks:
        blocks[-1] += last
    shared = list(times)
    for block in blocks:
        total, weight = sum(times[i] for i in block), sum(weights[i] for i in block)
        for i in block if len(block) > 1 else ():
            shared[i] = total * (weights[i] / weight if weight > 0 else 1 / len(block))
    return tuple(shared)


def _samples(network: BoardNetwork, engines: Mapping[str, Any], accelerator: str) -> list[list[float]] | None:
    """Return the samples of each group in ms where there are any: on the GPU, from a profiler that keeps executions."""
    if dla_core(accelerator) is not None:
        return None
    kept = engines["gpu"]["profiles"][accelerator]["layer_samples_ms"]
    if kept is None:
        return None
    executions = len(next(iter(kept.values()), ()))
    made_from = origins(engines["gpu"]["build"].get("layer_info"))
    place = f"profile of {network.name} on {accelerator}"
    series: list[list[float]] = [[] for _ in network.groups]
    for execution in range(executions):
        items = [{"count": 1}] + [
            {"name": name, "timeMs": values[execution], "averageMs": values[execution], "percentage": 0}
            for name, values in kept.items()
        ]
        times = gpu_group_times(profiles.from_entries(items, place), layer_names(network), (), made_from).times_ms
        for group, ms in enumerate(times):
            series[group].append(ms or 0.0)
    return series


def _spread(samples: list[list[float]] | None, group: int) -> dict[str, Any]:
    """Return `std_ms` and a mark where the samples say that the median moves; nothing where only averages are known."""
    if samples is None or not samples[group]:
        return {}
    statistics = Statistics.of(samples[group])
    mark = f"unstable: quartiles {100 * statistics.spread:.0f} % of the median apart" if statistics.unstable else None
    return {"std_ms": statistics.std, "reason": mark}


def _detail(network: BoardNetwork, engines: Mapping[str, Any], accelerator: str) -> dict[str, Any]:
    """What a reader needs to judge the times: who measured, how often, and what the profile leaves out."""
    name = "gpu" if dla_core(accelerator) is None else "dla"
    entry = engines[name]["profiles"][accelerator]
    found = account(network, engines[name], accelerator, True, f"profile of {network.name} on {accelerator}")
    for straddling in found.straddling:
        _log.warning("layer: %s: %s lies in two groups, its time is in the first", network.name, straddling)
    return {
        "by": entry["by"],
        "executions": profiles.from_entries(entry["profile"], network.name).iterations,
        "latency_ms": entry["latency_ms"],
        "profile_total_ms": found.from_group(0) + found.reformat_ms,
        "reformat_ms": found.reformat_ms,
        "straddling": list(found.straddling),
    }


def _refused(network: BoardNetwork, engines: Mapping[str, Any], gpu_only: Sequence[str]) -> dict[int, str]:
    """Return why the DLA does not take a group, by group: the first of its layers that it refuses."""
    if "dla" not in engines:
        return {}
    build = engines["dla"]["build"]
    refused: dict[str, str] = (
        dict.fromkeys(build["placement"]["fallback"], "TensorRT left it on the GPU") | build["refused"]
    )
    reasons: dict[int, str] = {}
    for index, group in enumerate(network.groups):
        may_stay = set(network.of_types(group.layers, gpu_only))
        layer = next((name for name in group.layers if name in refused and name not in may_stay), None)
        if layer is not None:
            reasons[index] = f"the DLA does not take {layer}: {refused[layer]}"
    return reasons
