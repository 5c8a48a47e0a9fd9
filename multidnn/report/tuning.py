"""Says in words what measuring the candidates of tuned found."""

from collections.abc import Mapping
from typing import Any

from multidnn.report.advice import uncertainty_ms

_NUMBER: dict[str, Any] = {"type": "number"}
TUNING = {
    "type": "object",
    "required": ["chosen", "candidates"],
    "properties": {
        "chosen": {"type": "integer", "minimum": 0},
        "candidates": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["scheduler", "measured", "samples"],
                "properties": {
                    "scheduler": {"type": "string"},
                    "measured": _NUMBER,
                    "samples": {"type": "array", "minItems": 1, "items": _NUMBER},
                },
            },
        },
    },
}
"""JSON Schema of the key ``tuning`` of a schedule file, as far as it is read here."""


def tuning_sentence(objective: str, tuning: Mapping[str, Any]) -> str:
    """Say how many candidates were measured and whether the predicted best was the fastest.

    Args:
        objective: of the workload.
        tuning: the key ``tuning`` of the schedule of tuned, as `TUNING` allows it; `chosen` is one of the candidates.
    """
    listed, chosen = tuning["candidates"], tuning["chosen"]
    if len(listed) == 1:
        return "One candidate was measured: there was no other to choose."
    text = f"{len(listed)} candidates were measured: the one predicted best "
    if chosen == 0:
        return text + "was also the fastest."
    first, best = listed[0], listed[chosen]
    gained = abs(best["measured"] - first["measured"])
    better = "faster" if objective == "latency" else "more"
    whose = f", of {best['scheduler']}," if best["scheduler"] != first["scheduler"] else ""
    text += f"was not the fastest; number {chosen + 1} by prediction{whose} was {100 * gained / abs(first['measured']):.1f} % {better}"
    if gained <= uncertainty_ms(first["samples"]) + uncertainty_ms(best["samples"]):
        text += ", which is within the spread of the samples"
    return text + "."
