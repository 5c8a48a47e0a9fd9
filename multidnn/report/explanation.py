"""Reads from schedule files why each schedule takes its time and what else could have been chosen, as the page shows it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.report.records import check
from multidnn.report.tuning import TUNING, tuning_sentence
from multidnn.schedule import wording

_NAMED = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}, {"type": "integer"}], "minItems": 3}
_SHARES = {"type": "object", "additionalProperties": {"type": "number"}}
_TIMES = {"type": "number"}
_ANSWER = {
    "anyOf": [
        {"type": "null"},
        {"type": "object", "required": ["absent"]},
        {
            "type": "object",
            "required": ["value", "bound", "status", "better_pct", "placement"],
            "properties": {
                "value": {"type": "number"},
                "bound": {"type": ["number", "null"]},
                "status": {"enum": ["optimal", "feasible"]},
                "better_pct": {"type": ["number", "null"]},
                "placement": {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}},
            },
        },
    ]
}
_SEGMENT = {
    "type": "object",
    "required": [
        "instance", "first", "last", "accelerator", "start_ms", "end_ms", "standalone_ms", "in_ms", "out_ms",
        "contention_ms", "caused_by", "waited_ms", "idle_before_ms", "waits_for",
    ],
    "properties": {
        **{
            f"{part}_ms": _TIMES
            for part in ("start", "end", "standalone", "in", "out", "contention", "waited", "idle_before")
        },
        "caused_by": _SHARES,
        "waits_for": {
            "type": ["object", "null"],
            "required": ["reason", "segment"],
            "properties": {"reason": {"enum": ["instance", "after", "turn"]}, "segment": _NAMED},
        },
    },
}  # fmt: skip
_EXPLAINED = Draft202012Validator(
    {
        "type": "object",
        "required": ["objective", "value", "placement"],
        "properties": {
            "explanation": {
                "type": "object",
                "required": ["segments", "accelerators", "critical_chain"],
                "properties": {
                    "segments": {"type": "array", "minItems": 1, "items": _SEGMENT},
                    "accelerators": {
                        "type": "object",
                        "additionalProperties": {
                            **_SHARES,
                            "required": ["busy_ms", "idle_ms", "standalone_ms", "transitions_ms", "contention_ms"],
                        },
                    },
                    "critical_chain": {"type": "array", "minItems": 1, "items": _NAMED},
                },
            },
            "tuning": TUNING,
            "alternatives": {
                "type": "object",
                "required": ["time_limit_s", "second", "no_transitions", "one_more"],
                "properties": {
                    "time_limit_s": {"type": "number"},
                    **dict.fromkeys(("second", "no_transitions", "one_more"), _ANSWER),
                },
            },
        },
    }
)


@dataclass(frozen=True)
class Shown:
    """What the page shows of one schedule.

    Attributes:
        total: its makespan as a sum.
        chain: the sentence on what decides the makespan.
        rows: cells per segment, in the columns of `wording.HEADINGS`.
        usage: a line per accelerator.
        alternatives: sentences on what else was solved for or measured; empty where neither was asked for.
    """

    scheduler: str
    total: str
    chain: str
    rows: list[tuple[str, ...]]
    usage: list[str]
    alternatives: list[str]


def read_explanation(path: Path) -> Shown | None:
    """Return what to show of a schedule file; None for one without an explanation (absent, whole, streams).

    Raises:
        InputError: the file is missing, truncated or holds a broken explanation; the message names file and key.
    """
    content: dict[str, Any] = read_json(path)
    if "explanation" not in content:
        return None
    check(path, content, _EXPLAINED)
    found = content["explanation"]
    known = [[segment[key] for key in ("instance", "first", "last")] for segment in found["segments"]]
    for name in found["critical_chain"]:
        if name not in known:
            raise InputError(f"{path}: explanation.critical_chain: {name} is not among the segments")
    said = wording.sentences(content) if "alternatives" in content else []
    if "tuning" in content:
        tuning = content["tuning"]
        if tuning["chosen"] >= len(tuning["candidates"]):
            raise InputError(
                f"{path}: tuning.chosen: {tuning['chosen']} is not the number of a candidate, counted from 0"
            )
        said.append(tuning_sentence(content["objective"], tuning))
    return Shown(
        scheduler=path.stem,
        total=wording.makespan_sum(found),
        chain=wording.makespan_sentence(found),
        rows=wording.rows(found),
        usage=[wording.usage_line(*entry) for entry in found["accelerators"].items()],
        alternatives=said,
    )


def read_explanations(directory: Path, schedulers: Iterable[str]) -> list[Shown]:
    """What to show of the schedules of one workload, {directory}/{scheduler}.json, in the order given."""
    shown = (read_explanation(Path(directory) / f"{name}.json") for name in schedulers)
    return [entry for entry in shown if entry is not None]
