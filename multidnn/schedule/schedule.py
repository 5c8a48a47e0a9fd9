"""The schedule file: a placement and an order with what they are predicted to do, written, read and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from multidnn.errors import InputError, suggestion
from multidnn.files import read_json, write_json
from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Order, Placement, Segment, Timeline, segments_of, simulate

NamedPlacement = dict[str, list[str]]
NamedOrder = dict[str, list[list[Any]]]

_KEYS = (
    "workload", "target", "scheduler", "objective", "max_transitions", "status", "value", "bound", "predicted",
    "placement", "order", "solve_s", "incumbents",
)  # fmt: skip


SAME = 1e-6
"""Value and bound this close, relative to the value, are equal: the schedule is proved."""


@dataclass(frozen=True)
class Schedule:
    """One schedule file (docs/formats.md).

    Attributes:
        status: "optimal" when `bound` proves `value`, otherwise "feasible".
        value: ms for latency (smaller is better), 1/s for throughput; None where nothing is predicted.
        bound: what no schedule can beat, in the unit of `value`; None where nothing is proved.
        predicted: makespan_ms, throughput_per_s and finish_ms per instance; None for streams.
        placement: instance -> accelerator per group; None for whole and streams.
        order: accelerator -> [instance, first_group, last_group] in turn; None for whole and streams.
        incumbents: (seconds since the start, value) of each better schedule as it was found.
        extra: further facts for the file, such as what another tool predicted.
    """

    workload: str
    target: str
    scheduler: str
    objective: str
    max_transitions: int | None
    status: str
    value: float | None
    bound: float | None
    predicted: dict[str, Any] | None
    placement: NamedPlacement | None
    order: NamedOrder | None
    solve_s: float = 0.0
    incumbents: tuple[tuple[float, float], ...] = ()
    extra: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The content of the file, `extra` keys last."""
        fixed: dict[str, Any] = {key: getattr(self, key) for key in _KEYS}
        return {**fixed, "incumbents": [list(entry) for entry in self.incumbents], **(self.extra or {})}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], place: str) -> "Schedule":
        """Read what `to_dict` gives; a missing key or a value of the wrong kind is an `InputError`."""
        if "absent" in mapping:
            raise InputError(f"{place}: there is no schedule: {mapping['absent']}")
        for key in _KEYS:
            if key not in mapping:
                raise InputError(f"{place}: the key {key!r} is missing")
        for key in ("workload", "target", "scheduler", "objective", "status"):
            if not isinstance(mapping[key], str):
                raise InputError(f"{place}: {key}: found {mapping[key]!r}, expected text")
        for key in ("value", "bound"):
            if mapping[key] is not None and not _is_number(mapping[key]):
                raise InputError(f"{place}: {key}: found {mapping[key]!r}, expected a number or null")
        for key in ("predicted", "placement", "order"):
            if mapping[key] is not None and not isinstance(mapping[key], Mapping):
                raise InputError(f"{place}: {key}: found {mapping[key]!r}, expected an object or null")
        incumbents = mapping["incumbents"]
        if not isinstance(incumbents, list) or not all(
            isinstance(entry, list) and len(entry) == 2 and all(map(_is_number, entry)) for entry in incumbents
        ):
            raise InputError(f"{place}: incumbents: expected a list of [seconds, value]")
        return cls(
            **{key: mapping[key] for key in _KEYS if key != "incumbents"},
            incumbents=tuple((entry[0], entry[1]) for entry in incumbents),
            extra={key: mapping[key] for key in mapping if key not in _KEYS and key != "format"} or None,
        )

    @property
    def transitions(self) -> int:
        """The most changes of accelerator within one instance; of placed schedules."""
        assert self.placement is not None, "there are accelerators to change between"
        return max(sum(a != b for a, b in pairwise(groups)) for groups in self.placement.values())

    @classmethod
    def read(cls, path: Path) -> "Schedule":
        """Read a schedule file; `InputError` names the file and the key."""
        return cls.from_dict(read_json(path), str(path))

    def write(self, path: Path) -> None:
        """Write the schedule file, whole or not at all."""
        write_json(path, self.to_dict())


def status_of(value: float, bound: float | None) -> str:
    """The status of a schedule: "optimal" where `bound` proves `value`, otherwise "feasible"."""
    return "optimal" if bound is not None and abs(value - bound) <= SAME * abs(value) else "feasible"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def predicted(timeline: Timeline) -> dict[str, Any]:
    """The `predicted` entry of a schedule file; throughput is null where an instance takes no time at all."""
    finite = timeline.throughput_per_s < float("inf")
    return {
        "makespan_ms": timeline.makespan_ms,
        "throughput_per_s": timeline.throughput_per_s if finite else None,
        "finish_ms": timeline.finish_ms,
    }


def named_placement(problem: Problem, placement: Placement) -> NamedPlacement:
    """The placement with accelerator names, per instance name."""
    return {
        name: [problem.accelerators[a] for a in groups]
        for name, groups in zip(problem.instances, placement, strict=True)
    }


def named_order(problem: Problem, order: Order) -> NamedOrder:
    """The order with instance names, per accelerator name; every accelerator is listed."""
    return {
        name: [[problem.instances[i], first, last] for i, first, last in turns]
        for name, turns in zip(problem.accelerators, order, strict=True)
    }


def evaluate(problem: Problem, placement: Mapping[str, Sequence[str]], order: Mapping[str, Sequence[Any]]) -> Timeline:
    """Simulate a placement and an order given by names, as in a schedule file (docs/semantics.md).

    Raises:
        InputError: they do not fit the problem, or the order deadlocks.
    """
    return simulate(problem, *check(problem, placement, order, None, "schedule"))


def check(
    problem: Problem,
    placement: Mapping[str, Sequence[str]],
    order: Mapping[str, Sequence[Any]],
    max_transitions: int | None,
    place: str,
) -> tuple[Placement, Order]:
    """Check names, coverage, support, transitions and turns, and return placement and order by index."""
    indexed = _placement(problem, placement, max_transitions, f"{place}: placement")
    return indexed, _order(problem, indexed, order, f"{place}: order")


def _same_keys(found: Any, expected: Sequence[str], place: str) -> None:
    if not isinstance(found, Mapping):
        raise InputError(f"{place}: found {found!r}, expected an object with the keys {', '.join(expected)}")
    for key in found:
        if key not in expected:
            raise InputError(
                f"{place}: unknown name {key!r}, expected {', '.join(expected)}" + suggestion(key, expected)
            )
    for key in expected:
        if key not in found:
            raise InputError(f"{place}: {key!r} is missing")


def _placement(problem: Problem, placement: Any, max_transitions: int | None, place: str) -> Placement:
    _same_keys(placement, problem.instances, place)
    index = {name: a for a, name in enumerate(problem.accelerators)}
    indexed = []
    for i, name in enumerate(problem.instances):
        costs, listed = problem.costs(i).groups, placement[name]
        if not isinstance(listed, Sequence) or isinstance(listed, str) or len(listed) != len(costs):
            raise InputError(f"{place}.{name}: found {listed!r}, expected {len(costs)} accelerators, one per group")
        for group, accelerator in enumerate(listed):
            if not isinstance(accelerator, str) or accelerator not in index:
                raise InputError(
                    f"{place}.{name}[{group}]: found {accelerator!r}, expected one of {', '.join(index)}"
                    + suggestion(str(accelerator), index)
                )
            if costs[group][index[accelerator]] is None:
                raise InputError(f"{place}.{name}[{group}]: {accelerator} does not support group {group}")
        switches = sum(listed[g] != listed[g + 1] for g in range(len(listed) - 1))
        if max_transitions is not None and switches > max_transitions:
            raise InputError(f"{place}.{name}: {switches} transitions, at most {max_transitions} are allowed")
        indexed.append(tuple(index[accelerator] for accelerator in listed))
    return tuple(indexed)


def _order(problem: Problem, placement: Placement, order: Any, place: str) -> Order:
    _same_keys(order, problem.accelerators, place)
    instances = {name: i for i, name in enumerate(problem.instances)}
    expected: dict[Segment, int] = {
        (i, first, last): groups[first] for i, groups in enumerate(placement) for first, last in segments_of(groups)
    }
    seen: set[Segment] = set()
    turns: list[tuple[Segment, ...]] = []
    for a, name in enumerate(problem.accelerators):
        if not isinstance(order[name], Sequence) or isinstance(order[name], str):
            raise InputError(f"{place}.{name}: found {order[name]!r}, expected a list of segments")
        listed = []
        for turn, entry in enumerate(order[name]):
            here = f"{place}.{name}[{turn}]"
            if not (
                isinstance(entry, Sequence)
                and len(entry) == 3
                and isinstance(entry[0], str)
                and all(isinstance(group, int) and not isinstance(group, bool) for group in entry[1:])
            ):
                raise InputError(f"{here}: found {entry!r}, expected [instance, first_group, last_group]")
            if entry[0] not in instances:
                raise InputError(f"{here}: unknown instance {entry[0]!r}, expected one of {', '.join(instances)}")
            segment = (instances[entry[0]], int(entry[1]), int(entry[2]))
            if expected.get(segment) != a:
                raise InputError(
                    f"{here}: groups {entry[1]} to {entry[2]} of {entry[0]} are not a segment of the placement on "
                    f"{name} (a segment is a maximal run of consecutive groups on one accelerator)"
                )
            if segment in seen:
                raise InputError(f"{here}: the segment {list(entry)} is listed twice")
            seen.add(segment)
            listed.append(segment)
        turns.append(tuple(listed))
    for (i, first, last), a in expected.items():
        if (i, first, last) not in seen:
            raise InputError(
                f"{place}.{problem.accelerators[a]}: the segment [{problem.instances[i]}, {first}, {last}] is missing"
            )
    return tuple(turns)
