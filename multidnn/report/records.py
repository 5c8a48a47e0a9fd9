"""Reads schedule and run files into checked records, the common input of every table, figure and trace."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from multidnn.errors import InputError
from multidnn.files import read_json

SCHEDULER_ORDER = (
    "serial",
    "naive",
    "mensa",
    "herald",
    "h2h",
    "haxconn",
    "tuned",
    "exhaustive",
    "dynamic",
    "whole",
    "streams",
)
BASELINES = SCHEDULER_ORDER[:5]
UNPLACED = ("whole", "streams")
CHIP = "chip"

_TIME = {"type": "number", "minimum": 0}
_TIMES = {"type": "object", "additionalProperties": _TIME}
_INDEX = {"type": "integer", "minimum": 0}

_SCHEDULE = Draft202012Validator(
    {
        "type": "object",
        "required": ["workload", "target", "scheduler"],
        "properties": {key: {"type": "string"} for key in ("workload", "target", "scheduler", "absent")},
        "if": {"not": {"required": ["absent"]}},
        "then": {
            "required": ["predicted"],
            "properties": {
                "predicted": {
                    "type": ["object", "null"],
                    "required": ["makespan_ms"],
                    "properties": {"makespan_ms": _TIME, "finish_ms": _TIMES},
                },
                "placement": {
                    "type": ["object", "null"],
                    "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                },
            },
        },
    }
)
_MILLIJOULES = {
    "type": "object",
    "required": ["mj", "mw", "rails_mj", "iterations", "readings"],
    "properties": {
        "mj": _TIME,
        "mw": _TIME,
        "rails_mj": {"type": "object", "additionalProperties": _TIME},
        "iterations": {"type": "integer", "minimum": 1},
        "readings": _INDEX,
    },
}
# what the run file of a board may have beside the keys that every run file has
_OPTIONAL: dict[str, Any] = {
    "mode": {"enum": ["segments", "paper"]},
    "prediction_binds": {"type": "boolean"},
    "unlocked": {"type": "boolean"},
    "stand_in": {"type": "boolean"},
    "start_skew_us": {
        "type": ["object", "null"],
        "required": ["median", "worst"],
        "properties": {"median": _TIME, "worst": _TIME},
    },
    "energy": {
        "type": ["object", "null"],
        "if": {"required": ["missing"]},
        "then": {"properties": {"missing": {"type": "string", "minLength": 1}}},
        "else": {
            "required": ["by", "total", "schedulers"],
            "properties": {
                "by": {"type": "string"},
                "total": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "schedulers": {"type": "object", "additionalProperties": _MILLIJOULES},
            },
        },
    },
}
_RUN = Draft202012Validator(
    {
        "type": "object",
        "required": ["workload", "target", "iterations"],
        "properties": {
            "workload": {"type": "string"},
            "target": {"type": "string"},
            "environment": {"type": ["object", "null"], "properties": {"target": {"type": ["object", "null"]}}},
            **_OPTIONAL,
            "outputs": {
                "type": ["object", "null"],
                "additionalProperties": {
                    "type": "object",
                    "required": ["max_abs_err", "tolerance", "ok"],
                    "properties": {"ok": {"type": "boolean"}},
                },
            },
            "iterations": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["scheduler", "index", "makespan_ms", "finish_ms", "segments"],
                    "properties": {
                        "scheduler": {"type": "string"},
                        "index": _INDEX,
                        "makespan_ms": {"type": "number", "exclusiveMinimum": 0},
                        "finish_ms": _TIMES,
                        "segments": {
                            "type": "array",
                            "items": {
                                "type": "array",
                                "prefixItems": [
                                    {"type": "string"},
                                    _INDEX,
                                    _INDEX,
                                    {"type": "string"},
                                    {"type": "number"},
                                    {"type": "number"},
                                ],
                                "minItems": 6,
                                "maxItems": 6,
                            },
                        },
                    },
                },
            },
        },
    }
)


class Segment(NamedTuple):
    """One segment as measured: groups `first`..`last` (inclusive) of `instance`, times in ms from the common start."""

    instance: str
    first: int
    last: int
    accelerator: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Iteration:
    """One measured iteration of one scheduler."""

    scheduler: str
    index: int
    makespan_ms: float
    finish_ms: Mapping[str, float]
    segments: Sequence[Segment]


@dataclass(frozen=True)
class ScheduleRecord:
    """What the tables need of one schedule file; `absent` is the reason when the scheduler cannot serve the workload."""

    path: Path
    workload: str
    target: str
    scheduler: str
    absent: str | None
    makespan_ms: float | None
    placement: Mapping[str, Sequence[str]] | None

    @property
    def transitions(self) -> int:
        """Changes of accelerator over all instances, 0 without a placement."""
        return sum(a != b for groups in (self.placement or {}).values() for a, b in pairwise(groups))


@dataclass(frozen=True)
class Run:
    """The iterations of one workload, what comparing its outputs found, and the facts of machine and software.

    `board` holds those of mode, prediction_binds, unlocked, stand_in, start_skew_us and energy (docs/formats.md) that the file has.
    """

    path: Path
    workload: str
    target: str
    iterations: Sequence[Iteration]
    outputs: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, Any]
    board: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prediction_binds(self) -> bool:
        """Whether the run enforced the turns that predictions assume."""
        return bool(self.board.get("prediction_binds", self.board.get("mode") != "paper"))

    @property
    def target_facts(self) -> Mapping[str, Any]:
        """What the file says of its target, empty if nothing."""
        return self.environment.get("target") or {}

    @property
    def source(self) -> str:
        """What the times are called: ``measured``, or ``stand-in`` where a test double took the place of a board."""
        return "stand-in" if self.board.get("stand_in") else "measured"

    @property
    def schedulers(self) -> tuple[str, ...]:
        """Schedulers with at least one iteration, in the order of `in_order`."""
        return tuple(in_order({iteration.scheduler for iteration in self.iterations}))

    def of(self, scheduler: str) -> list[Iteration]:
        """Return the iterations of `scheduler`; none is an `InputError` naming the file."""
        found = [iteration for iteration in self.iterations if iteration.scheduler == scheduler]
        if not found:
            raise InputError(
                f"{self.path}: no iteration of scheduler {scheduler!r}, found {', '.join(self.schedulers) or 'none'}; "
                "delete the file to run the workload again"
            )
        return found

    def makespans(self, scheduler: str) -> list[float]:
        """Return the makespans of `scheduler` in ms, in the order they were measured."""
        return [iteration.makespan_ms for iteration in self.of(scheduler)]

    @property
    def wrong_outputs(self) -> list[str]:
        """Instances whose outputs differ from the single-accelerator result beyond the tolerance."""
        return [name for name, item in self.outputs.items() if not item["ok"]]

    def median_iteration(self, scheduler: str) -> Iteration:
        """Return the iteration with the median makespan (the lower of the two middle ones for an even count)."""
        ordered = sorted(self.of(scheduler), key=lambda iteration: iteration.makespan_ms)
        return ordered[(len(ordered) - 1) // 2]


def in_order(schedulers: set[str] | Sequence[str]) -> list[str]:
    """Return `schedulers` in the order of the summary: the known ones first, others by name after them."""
    known = [name for name in SCHEDULER_ORDER if name in schedulers]
    return known + sorted(set(schedulers) - set(known))


def signed(value: float) -> str:
    """Return `value` with one decimal and its sign, a true minus sign included."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def check(path: Path, value: Mapping[str, Any], validator: Draft202012Validator) -> None:
    """Raise an `InputError` that names the file and the key of the first thing that `validator` does not allow."""
    error = min(validator.iter_errors(value), key=lambda found: list(map(str, found.absolute_path)), default=None)
    if error is None:
        return
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    text = error.message if len(error.message) <= 200 else f"{error.message[:200]}..."
    raise InputError(f"{path}: {place + ': ' if place else ''}{text}; delete the file to make it again")


def read_schedule(path: Path) -> ScheduleRecord:
    """Read a schedule file (docs/formats.md), or the marker of one that cannot exist.

    Raises:
        InputError: the file is missing, truncated or lacks what the report needs; the message names the file and key.
    """
    path = Path(path)
    value = read_json(path)
    check(path, value, _SCHEDULE)
    absent = value.get("absent")
    predicted = None if absent is not None else value["predicted"]
    return ScheduleRecord(
        path=path,
        workload=value["workload"],
        target=value["target"],
        scheduler=value["scheduler"],
        absent=absent,
        makespan_ms=predicted["makespan_ms"] if predicted else None,
        placement=value.get("placement"),
    )


def read_run(path: Path) -> Run:
    """Read a runs file (docs/formats.md); keys it does not know are left alone.

    Raises:
        InputError: the file is missing, truncated, lacks a key, or holds a segment that ends before it starts.
    """
    path = Path(path)
    value = read_json(path)
    check(path, value, _RUN)
    iterations = []
    for number, item in enumerate(value["iterations"]):
        segments = tuple(Segment(*segment) for segment in item["segments"])
        for segment in segments:
            if not (math.isfinite(segment.end_ms) and segment.start_ms <= segment.end_ms):
                raise InputError(f"{path}: iterations[{number}]: segment {list(segment)} ends before it starts")
        iterations.append(
            Iteration(item["scheduler"], item["index"], float(item["makespan_ms"]), item["finish_ms"], segments)
        )
    outputs, environment = value.get("outputs") or {}, value.get("environment") or {}
    board = {key: value[key] for key in _OPTIONAL if key in value}
    return Run(path, value["workload"], value["target"], tuple(iterations), outputs, environment, board)
