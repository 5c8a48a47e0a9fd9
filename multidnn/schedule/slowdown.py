"""The slowdown grid of one accelerator: checked, and interpolated between its points (docs/semantics.md, rule 8)."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from multidnn.errors import InputError

LARGEST = 1e9
"""The largest factor of a grid; more is a mistake in it, and times would not stay finite."""


@dataclass(frozen=True)
class Slowdown:
    """How much slower a group runs, by its own demand and the demand beside it.

    Attributes:
        demand: own demands in GB/s, strictly ascending.
        external: summed demands of the groups running beside it, in GB/s, strictly ascending from 0.
        factor: one row per own demand and one column per external demand; 1 means undisturbed.
    """

    demand: tuple[float, ...]
    external: tuple[float, ...]
    factor: tuple[tuple[float, ...], ...]
    _known: dict[tuple[float, float], float] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, demand: float, external: float) -> float:
        """Return the factor (>= 1) by which the standalone time grows; bilinear inside, the edge's value outside."""
        key = (demand, external)
        found = self._known.get(key)
        if found is None:
            row, row_weight = _locate(self.demand, demand)
            column, column_weight = _locate(self.external, external)
            low = _between(self.factor[row], column, column_weight)
            # a weight of 0 must not touch the next row: there may be none
            high = _between(self.factor[row + 1], column, column_weight) if row_weight else low
            found = self._known[key] = low + row_weight * (high - low)
        return found

    @classmethod
    def from_dict(cls, entry: Any, place: str) -> "Slowdown":
        """Read ``{"demand_gb_s", "external_gb_s", "slowdown"}``; anything docs/semantics.md rule 8 forbids is an `InputError`."""
        if not isinstance(entry, Mapping):
            raise InputError(f"{place}: found {entry!r}, expected demand_gb_s, external_gb_s and slowdown")
        for key in ("demand_gb_s", "external_gb_s", "slowdown"):
            if key not in entry:
                raise InputError(f"{place}: the key {key!r} is missing")
        demand = _axis(entry["demand_gb_s"], f"{place}.demand_gb_s")
        external = _axis(entry["external_gb_s"], f"{place}.external_gb_s")
        if external[0] != 0:
            raise InputError(f"{place}.external_gb_s: starts at {external[0]}, expected 0")
        rows = entry["slowdown"]
        if not isinstance(rows, Sequence) or isinstance(rows, str) or len(rows) != len(demand):
            raise InputError(f"{place}.slowdown: expected {len(demand)} rows, one per entry of demand_gb_s")
        return cls(
            demand, external, tuple(_row(row, len(external), f"{place}.slowdown[{i}]") for i, row in enumerate(rows))
        )


def _locate(axis: tuple[float, ...], value: float) -> tuple[int, float]:
    """The point at or below `value`, and how far (0 to below 1) it lies towards the next one; clamped to the axis."""
    if value <= axis[0]:
        return 0, 0.0
    if value >= axis[-1]:
        return len(axis) - 1, 0.0
    below = bisect_right(axis, value) - 1
    return below, (value - axis[below]) / (axis[below + 1] - axis[below])


def _between(row: tuple[float, ...], column: int, weight: float) -> float:
    return row[column] + weight * (row[column + 1] - row[column]) if weight else row[column]


def _numbers(values: Any, place: str) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise InputError(f"{place}: found {values!r}, expected a list of numbers")
    for i, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise InputError(f"{place}[{i}]: found {value!r}, expected a finite number")
    return tuple(float(value) for value in values)


def _axis(values: Any, place: str) -> tuple[float, ...]:
    axis = _numbers(values, place)
    if axis[0] < 0:
        raise InputError(f"{place}[0]: found {axis[0]}, expected a bandwidth that is not negative")
    for i in range(1, len(axis)):
        if axis[i] <= axis[i - 1]:
            raise InputError(f"{place}[{i}]: {axis[i]} follows {axis[i - 1]}, expected strictly ascending values")
    return axis


def _row(values: Any, length: int, place: str) -> tuple[float, ...]:
    row = _numbers(values, place)
    if len(row) != length:
        raise InputError(f"{place}: found {len(row)} columns, expected {length}, one per entry of external_gb_s")
    if row[0] != 1:
        raise InputError(f"{place}[0]: found {row[0]}, expected 1: with nothing beside it nothing is slowed")
    for i in range(1, length):
        if row[i] < 1:
            raise InputError(f"{place}[{i}]: found {row[i]}, expected at least 1")
        if row[i] > LARGEST:
            raise InputError(f"{place}[{i}]: found {row[i]:g}, expected at most {LARGEST:g}")
        if row[i] < row[i - 1]:
            raise InputError(f"{place}[{i}]: {row[i]} follows {row[i - 1]}, expected values that do not fall")
    return row
