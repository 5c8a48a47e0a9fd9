"""What the paper's artifact answers, and for which workload; light enough for Snakemake to ask while it parses."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from typing import Any

_NAMES = {"G": "gpu", "D": "dla"}


@dataclass(frozen=True)
class ArtifactChoice:
    """What the artifact's own solver answers: accelerator per group by network, and the makespan (ms) it predicts."""

    placement: dict[str, tuple[str, ...]]
    makespan_ms: float
    source: str


def recorded_data() -> dict[str, Any]:
    """Return the numbers of the artifact as they lie in the package."""
    text = package_files("multidnn.targets.recorded").joinpath("xavier_agx.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def artifact_choice(networks: Sequence[str]) -> ArtifactChoice | None:
    """The artifact's answer for a workload that runs these networks at once, each once; None if it has none."""
    answer = recorded_data()["artifact_answer"]
    if sorted(networks) != sorted(answer["placement"]):
        return None
    placement = {name: tuple(_NAMES[letter] for letter in letters) for name, letters in answer["placement"].items()}
    return ArtifactChoice(placement, answer["makespan_ms"], answer["source"])


def artifact_answers(workload: Mapping[str, Any]) -> bool:
    """Whether the artifact answers `workload` (the form of a workload file): its networks at once, for latency."""
    instances = workload["instances"]
    if workload.get("objective", "latency") != "latency" or any(instance.get("after") for instance in instances):
        return False
    return artifact_choice([instance["network"] for instance in instances]) is not None
