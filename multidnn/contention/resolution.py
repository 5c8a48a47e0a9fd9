"""Chooses how fine and how smooth a slowdown grid is, by how well it predicts co-runs that it was not fitted to."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multidnn.contention.fit import CoRun, Grid, fit_grid

_DEMAND_POINTS = (3, 6, 12)
_EXTERNAL_POINTS = (1, 3)
_SMOOTHNESS = (0.1, 0.5)
# how much a co-run with the generator counts, against one with networks
_TRAFFIC_WEIGHTS = (0.1, 1.0)
_FOLDS = 4
# external levels closer than this share of the largest are one
_CLOSEST = 0.02


@dataclass(frozen=True)
class Resolution:
    """How a grid is fitted.

    Attributes:
        demand_points: points of the demand axis, at the quantiles of the samples.
        external_points: points of the external axis below the generator's levels, at the quantiles of what networks
            ask for; 0 and the generator's levels come on top.
        smoothness: see `fit.fit_grid`.
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
    everything = [*traffic, *itertools.chain.from_iterable(pairs)]
    if not everything:
        return Grid((0.0,), (0.0,), ((1.0,),)), None, None
    candidates = [
        Resolution(*values)
        for values in itertools.product(_DEMAND_POINTS, _EXTERNAL_POINTS, _SMOOTHNESS, _TRAFFIC_WEIGHTS)
    ]
    if len(pairs) < 2:
        return _fit(candidates[0], traffic, pairs), candidates[0], None
    folds = rng.permuted(np.arange(len(pairs)) % min(_FOLDS, len(pairs)))
    errors = [_error(candidate, traffic, pairs, folds) for candidate in candidates]
    best = int(np.argmin(errors))
    return _fit(candidates[best], traffic, pairs), candidates[best], errors[best]


def _error(
    resolution: Resolution, traffic: Sequence[CoRun], pairs: Sequence[Sequence[CoRun]], folds: NDArray[np.int64]
) -> float:
    """Return the mean error in percent over all folds, by weight."""
    errors, weights = [], []
    for fold in range(int(folds.max()) + 1):
        kept = [pair for pair, own in zip(pairs, folds, strict=True) if own != fold]
        grid = _fit(resolution, traffic, kept)
        for pair, own in zip(pairs, folds, strict=True):
            if own == fold:
                errors += [100 * abs(grid.of(co_run) / co_run.slowdown - 1) for co_run in pair]
                weights += [co_run.weight for co_run in pair]
    return float(np.average(errors, weights=weights))


def _fit(resolution: Resolution, traffic: Sequence[CoRun], pairs: Sequence[Sequence[CoRun]]) -> Grid:
    together = list(itertools.chain.from_iterable(pairs))
    weighted = [CoRun(s.demand, s.beside, s.slowdown, s.weight * resolution.traffic_weight) for s in traffic]
    demands = [s.demand for s in [*traffic, *together]]
    axis = np.unique(np.quantile(demands, np.linspace(0, 1, resolution.demand_points)))
    return fit_grid(
        [*weighted, *together], axis.tolist(), _external(resolution, traffic, together), resolution.smoothness
    )


def _external(resolution: Resolution, traffic: Sequence[CoRun], together: Sequence[CoRun]) -> list[float]:
    """Return the external axis: 0, quantiles of what networks ask for over time, and the generator's levels."""
    levels = {s.external for s in traffic}
    if together:
        atoms = sorted((level, share) for s in together for level, share in s.beside)
        passed = np.cumsum([share for _, share in atoms])
        # the middle of each of as many equal parts of the time, and the most there is
        wanted = (np.arange(resolution.external_points) + 0.5) / resolution.external_points
        levels |= {atoms[int(np.searchsorted(passed, quantile * passed[-1]))][0] for quantile in wanted}
        levels.add(atoms[-1][0])
    axis = [0.0]
    for level in sorted(levels):
        if level - axis[-1] > _CLOSEST * max(levels):
            axis.append(level)
    return axis
