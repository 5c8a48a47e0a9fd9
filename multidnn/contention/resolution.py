"""Chooses how fine and how smooth a slowdown grid is, by how well it predicts co-runs that it was not fitted to."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multidnn.contention.fit import Axes, CoRun, Grid, fit_values

_DEMAND_POINTS = (3, 12, 24)
_EXTERNAL_POINTS = (1, 3, 6)
_SMOOTHNESS = (0.1, 0.3)
# how much a co-run with the generator counts, against one with networks
_TRAFFIC_WEIGHTS = (0.1, 1.0)
_FOLDS = 4
# external levels closer than this share of the largest are one
_CLOSEST = 0.02

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Resolution:
    """How a grid is fitted.

    Attributes:
        demand_points: points of the demand axis, at the quantiles of the samples.
        external_points: points of the external axis below the generator's levels, at the quantiles of what networks
            ask for; 0 and the generator's levels come on top.
        smoothness: see `fit.fit_values`.
        traffic_weight: weight of a co-run with the generator against one with networks.
    """

    demand_points: int
    external_points: int
    smoothness: float
    traffic_weight: float


def fit_validated(
    traffic: Sequence[CoRun], pairs: Sequence[Sequence[CoRun]], rng: np.random.Generator
) -> tuple[Grid, Resolution | None, float | None]:
    """Return the grid, the resolution that was chosen, and its error in cross-validation in percent.

    Every resolution is fitted to all but a quarter of `pairs` and judged by the mean error on that quarter, by weight;
    the best is then fitted to all. With fewer than two pairs there is nothing to choose by, and with no sample at all
    the grid is 1 everywhere.

    Args:
        traffic: co-runs with the generator.
        pairs: co-runs with networks, one list per pair of networks.
    """
    together = list(itertools.chain.from_iterable(pairs))
    samples = [*traffic, *together]
    if not samples:
        return Grid((0.0,), (0.0,), ((1.0,),)), None, None
    numbers = np.arange(len(pairs))
    owners = np.repeat(numbers, [len(pair) for pair in pairs])
    # the generator's co-runs are fitted to in every fold
    folds = np.concatenate([np.full(len(traffic), -1), rng.permuted(numbers % _FOLDS)[owners]])
    slowdowns = np.array([s.slowdown for s in samples])
    found: list[tuple[float, Resolution, Axes, Array]] = []
    for demand_points, external_points in itertools.product(_DEMAND_POINTS, _EXTERNAL_POINTS):
        axes = _axes(demand_points, external_points, traffic, together)
        rows = axes.weights(samples)
        for smoothness, traffic_weight in itertools.product(_SMOOTHNESS, _TRAFFIC_WEIGHTS):
            resolution = Resolution(demand_points, external_points, smoothness, traffic_weight)
            weights = np.array([*(traffic_weight * s.weight for s in traffic), *(s.weight for s in together)])
            if len(pairs) < 2:
                values = fit_values(axes, rows, slowdowns, weights, smoothness)
                return _grid(axes, values), resolution, None
            error = _error(resolution, axes, rows, slowdowns, weights, folds)
            found.append((error, resolution, axes, weights))
    error, resolution, axes, weights = min(found, key=lambda entry: entry[0])
    values = fit_values(axes, axes.weights(samples), slowdowns, weights, resolution.smoothness)
    return _grid(axes, values), resolution, error


def _error(
    resolution: Resolution, axes: Axes, rows: Array, slowdowns: Array, weights: Array, folds: NDArray[np.int64]
) -> float:
    """Return the mean error in percent over all folds, by weight."""
    errors = np.zeros(len(rows))
    for fold in range(int(folds.max()) + 1):
        kept, unseen = folds != fold, folds == fold
        values = fit_values(axes, rows[kept], slowdowns[kept], weights[kept], resolution.smoothness)
        errors[unseen] = 100 * np.abs(rows[unseen] @ values.ravel() / slowdowns[unseen] - 1)
    judged = folds >= 0
    return float(np.average(errors[judged], weights=weights[judged]))


def _grid(axes: Axes, values: Array) -> Grid:
    return Grid(axes.demand, axes.external, tuple(tuple(map(float, row)) for row in values))


def _axes(demand_points: int, external_points: int, traffic: Sequence[CoRun], together: Sequence[CoRun]) -> Axes:
    """Return the axes: quantiles of the victims' demands; 0, quantiles of what networks ask for over time, and the
    generator's levels."""
    demands = np.unique(np.quantile([s.demand for s in (*traffic, *together)], np.linspace(0, 1, demand_points)))
    levels = {s.external for s in traffic}
    if together:
        atoms = sorted((level, share) for s in together for level, share in s.beside)
        passed = np.cumsum([share for _, share in atoms])
        # the middle of each of as many equal parts of the time, and the most there is
        wanted = (np.arange(external_points) + 0.5) / external_points
        levels |= {atoms[int(np.searchsorted(passed, quantile * passed[-1]))][0] for quantile in wanted}
        levels.add(atoms[-1][0])
    external = [0.0]
    for level in sorted(levels):
        if level - external[-1] > _CLOSEST * max(levels):
            external.append(level)
    return Axes(tuple(demands.tolist()), tuple(external))
