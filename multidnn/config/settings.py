"""What a validated configuration says: the workloads, networks, schedulers and options of each target."""

from collections.abc import Mapping
from typing import Any

from multidnn.variants import session_spec, variants_of

# what opens sessions (`targets.base.Session`), which the same jobs measure and run on
SESSION_KINDS = ("host", "cuda")
# these use the chip whole: a GPU and a DLA cannot be joined, and tables recorded elsewhere say nothing about it
WHOLE_CHIP = ("whole", "streams")
WHOLE_CHIP_KINDS = SESSION_KINDS
# the scheduler that chooses by measuring, in a session, among what haxconn predicts
TUNED = "tuned"
TUNED_FROM = "haxconn"
# what proves its schedule the best; the other placed ones are baselines
EXACT = (TUNED_FROM, "exhaustive")
# what has a machine behind it that runs schedules
RUNNING_KINDS = (*SESSION_KINDS, "jetson")
# what can take up a better schedule while it runs
DYNAMIC_KINDS = SESSION_KINDS
# what of a board's entry changes the numbers of each kind of job
_BOARD = ("kind", "board", "power_mode")
_ENGINES = (*_BOARD, "precision", "gpu_only", "workspace_mb")
BOARD_KEYS = {
    "board": (*_BOARD, "accelerators", "emc", "memory_bus_bytes"),
    "models": (*_BOARD, "precision"),
    "engines": (*_ENGINES, "accelerators"),
    "profile": (*_ENGINES, "accelerators", "profiler"),
    "emc": (*_BOARD, "accelerators", "precision", "emc", "emc_settle_s", "emc_window_s", "memory_bus_bytes"),
    "contention": (*_BOARD, "accelerators", "precision"),
    "segments": (*_ENGINES, "accelerators", "mode"),
    "run": (*_BOARD, "accelerators", "precision", "mode", "energy_s", "emc"),
}


def workload_dict(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The list form (that of a workload file) of ``workloads: name`` in a validated configuration."""
    entry = config["workloads"][name]
    return {"name": name, "objective": entry["objective"], "instances": _listed(entry["instances"])}


def dynamic_dict(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The list form of a workload of ``dynamic: workloads``, with the instances that join it behind its own."""
    own = workload_dict(config, name)
    return {**own, "instances": [*own["instances"], *_listed(config["dynamic"]["workloads"][name]["join"])]}


def _listed(instances: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "network": spec["network"], "after": list(spec["after"])} for name, spec in instances.items()
    ]


def dynamic_workloads(config: Mapping[str, Any], target: str) -> list[str]:
    """Workloads that run on `target` while they are being solved, in order."""
    # what runs cannot change its split
    if config["targets"][target]["kind"] not in DYNAMIC_KINDS or variants_of(config, target):
        return []
    return [name for name in config["dynamic"]["workloads"] if name in target_workloads(config, target)]


def target_workloads(config: Mapping[str, Any], target: str) -> list[str]:
    """Workloads of `target`, in order."""
    return list(config["targets"][target].get("workloads", config["workloads"]))


def isolation_cases(config: Mapping[str, Any], target: str) -> dict[str, Any]:
    """What of `target` is measured for isolation, by name."""
    return dict(config["targets"][target].get("isolation", {}))


def isolation_networks(case: Mapping[str, Any]) -> list[str]:
    """Networks of an entry of `isolation`, the protected one first."""
    beside = (network for listed in case["beside"].values() for network in listed)
    return list(dict.fromkeys([case["protected"]["network"], *beside]))


def target_networks(config: Mapping[str, Any], target: str) -> list[str]:
    """Networks that are profiled on `target`, in order."""
    return list(config["targets"][target].get("networks", config["networks"]))


def target_spec(config: Mapping[str, Any], target: str) -> dict[str, Any]:
    """What says how `target` measures: its entry without the lists of what to measure, which change no number.

    For one that chooses among variants, what a session on all of them is opened with (`variants.session_spec`).
    """
    if variants_of(config, target):
        return session_spec(config, target)
    lists = ("networks", "workloads", "isolation")
    return {key: value for key, value in config["targets"][target].items() if key not in lists}


def board_spec(config: Mapping[str, Any], target: str, job: str) -> dict[str, Any]:
    """What of the entry of a `jetson` target changes the numbers of `job`, a key of `BOARD_KEYS`."""
    return {key: config["targets"][target][key] for key in BOARD_KEYS[job]}


def targets_of_kind(config: Mapping[str, Any], kind: str) -> list[str]:
    """Keys of `targets` that are of `kind`."""
    return [name for name, spec in config["targets"].items() if spec["kind"] == kind]


def schedulers_of_kind(config: Mapping[str, Any], kind: str) -> list[str]:
    """Schedulers that are compared for every workload on targets of `kind`, in order."""
    left_out = {
        *(WHOLE_CHIP if kind not in WHOLE_CHIP_KINDS else ()),
        *([TUNED] if kind not in SESSION_KINDS else ()),
    }
    return [name for name in config["schedule"]["schedulers"] if name not in left_out]


def artifact_workloads(config: Mapping[str, Any]) -> list[str]:
    """Workloads that the paper's artifact answers, so that a recorded target shows its answer too."""
    from multidnn.targets.recorded import artifact_answers

    return [name for name in config["workloads"] if artifact_answers(workload_dict(config, name))]


def workload_schedulers(config: Mapping[str, Any], target: str, workload: str) -> list[str]:
    """Schedulers that are compared for `workload` on `target`, in order."""
    kind = config["targets"][target]["kind"]
    extra = ["artifact"] if kind == "recorded" and workload in artifact_workloads(config) else []
    return schedulers_of_kind(config, kind) + extra


def group_options(config: Mapping[str, Any], network: str) -> dict[str, Any]:
    """``{"count": int or None, "starts": list or None}`` of `network`; None leaves the choice to the networks part."""
    own = config["groups"]["networks"].get(network, {})
    return {"count": own.get("count", config["groups"].get("count")), "starts": own.get("starts")}
