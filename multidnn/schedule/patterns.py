"""The ways to place one instance, with what each costs before anything runs beside it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from multidnn.schedule.problem import NetworkCosts, Problem
from multidnn.schedule.timeline import Placement, segments_of


@dataclass(frozen=True)
class Pattern:
    """One placement of one instance.

    Attributes:
        groups: accelerator per group.
        segments: (accelerator, first group, last group) in order.
        steps: per hold and group in order, (ms alone, demand in GB/s or -1 for a hold).
        ends: per segment, the number of steps up to and including it.
        load: ms per accelerator, holds included.
        chain: ms from start to finish, alone.
    """

    groups: tuple[int, ...]
    segments: tuple[tuple[int, int, int], ...]
    steps: tuple[tuple[float, float], ...]
    ends: tuple[int, ...]
    load: tuple[float, ...]
    chain: float

    @cached_property
    def tails(self) -> tuple[float, ...]:
        """Per step, the ms alone from its start to the finish; one more entry, 0, for the finish."""
        sums = [0.0]
        for ms, _ in reversed(self.steps):
            sums.append(sums[-1] + ms)
        return tuple(reversed(sums))

    @cached_property
    def last(self) -> float:
        """The ms alone of the last segment."""
        return self.tails[self.ends[-2] if len(self.ends) > 1 else 0]


def pattern_of(costs: NetworkCosts, groups: tuple[int, ...], accelerators: int) -> Pattern:
    """Work out what placing a network's groups on these accelerators costs."""
    segments = tuple((groups[first], first, last) for first, last in segments_of(groups))
    steps: list[tuple[float, float]] = []
    ends = []
    load = [0.0] * accelerators
    for accelerator, first, last in segments:
        before = len(steps)
        if first > 0:
            steps.append((costs.transitions[first - 1, groups[first - 1], accelerator][1], -1.0))
        for group in range(first, last + 1):
            cost = costs.groups[group][accelerator]
            if cost is None:
                raise ValueError(f"group {group} is not supported on accelerator {accelerator}")
            steps.append((cost.time_ms, cost.demand_gb_s))
        if last < len(groups) - 1:
            steps.append((costs.transitions[last, accelerator, groups[last + 1]][0], -1.0))
        ends.append(len(steps))
        load[accelerator] += sum(ms for ms, _ in steps[before:])
    return Pattern(groups, segments, tuple(steps), tuple(ends), tuple(load), sum(ms for ms, _ in steps))


def placements_of(costs: NetworkCosts, max_transitions: int | None) -> Iterator[tuple[int, ...]]:
    """Every supported placement of a network with at most `max_transitions` changes of accelerator (None: any)."""
    supported = [[a for a, cost in enumerate(group) if cost is not None] for group in costs.groups]
    limit = math.inf if max_transitions is None else max_transitions
    # a cheapest completion in transitions, so that no dead end is walked
    need = _least_transitions(supported)

    def extend(placed: tuple[int, ...], left: float) -> Iterator[tuple[int, ...]]:
        if len(placed) == len(supported):
            yield placed
            return
        for a in supported[len(placed)]:
            rest = left - (bool(placed) and placed[-1] != a)
            if rest >= need[len(placed)][a]:
                yield from extend((*placed, a), rest)

    yield from extend((), limit)


def count_placements(costs: NetworkCosts, max_transitions: int | None) -> int:
    """How many placements `placements_of` yields, without making them."""
    supported = [[a for a, cost in enumerate(group) if cost is not None] for group in costs.groups]
    limit = len(supported) - 1 if max_transitions is None else min(max_transitions, len(supported) - 1)
    ways = {(a, 0): 1 for a in supported[0]}
    for allowed in supported[1:]:
        longer: dict[tuple[int, int], int] = {}
        for (source, used), many in ways.items():
            for a in allowed:
                if used + (a != source) <= limit:
                    key = (a, used + (a != source))
                    longer[key] = longer.get(key, 0) + many
        ways = longer
    return sum(ways.values())


def _least_transitions(supported: list[list[int]]) -> list[dict[int, int]]:
    """Per group and accelerator there, the fewest transitions needed from that group to the end."""
    need: list[dict[int, int]] = [dict.fromkeys(supported[-1], 0)]
    for allowed in reversed(supported[:-1]):
        later = need[0]
        need.insert(0, {a: min(count + (a != b) for b, count in later.items()) for a in allowed})
    return need


def patterns(problem: Problem, placement: Placement) -> tuple[Pattern, ...]:
    """The pattern of each instance of a placement."""
    count = len(problem.accelerators)
    return tuple(pattern_of(problem.costs(i), groups, count) for i, groups in enumerate(placement))
