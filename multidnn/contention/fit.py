"""Fits the slowdown grid of one accelerator to co-run samples, within the rules that the timeline needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# weight of the smoothness rows against one sample each: it decides only where samples are thin
_SMOOTHNESS = 0.1


@dataclass(frozen=True)
class CoRun:
    """One co-run: the victim's standalone demand and the summed standalone demand beside it (GB/s), and by what
    factor the victim took longer."""

    demand: float
    external: float
    slowdown: float


@dataclass(frozen=True)
class Grid:
    """A slowdown grid: slowdown[i][j] at demand[i], external[j] (GB/s); rows start at 1 and never fall."""

    demand: tuple[float, ...]
    external: tuple[float, ...]
    slowdown: tuple[tuple[float, ...], ...]

    def at(self, demand: float, external: float) -> float:
        """Return the slowdown, bilinear between the points and clamped outside."""
        weights = _bilinear(np.array(self.demand), np.array(self.external), demand, external)
        return float((weights * np.array(self.slowdown)).sum())


def fit_grid(samples: Sequence[CoRun], demand_axis: Sequence[float], external_axis: Sequence[float]) -> Grid:
    """Return the grid on the given axes that fits `samples` best in the sense of least squares.

    The unknowns are the increments from one external level to the next, all held at zero or above, so that each row
    starts at 1 and never falls; the bilinear model is linear in them, which makes this a bounded linear least-squares
    problem (scipy.optimize.lsq_linear). Second differences along both axes are kept small where samples are thin.

    Args:
        demand_axis: strictly ascending, GB/s.
        external_axis: strictly ascending from 0, GB/s.
    """
    from scipy.optimize import lsq_linear

    demand, external = np.asarray(demand_axis, dtype=float), np.asarray(external_axis, dtype=float)
    rows, columns = len(demand), len(external)
    if columns == 1:
        return Grid(tuple(demand), tuple(external), ((1.0,),) * rows)
    # value = 1 + accumulate @ increments, for the flattened grid
    accumulate = np.kron(np.eye(rows), np.tril(np.ones((columns, columns)))[:, 1:])
    design = [_bilinear(demand, external, s.demand, s.external).ravel() @ accumulate for s in samples]
    wanted = [s.slowdown - 1 for s in samples]
    smooth = [
        *np.kron(_second_differences(demand), np.eye(columns)),
        *np.kron(np.eye(rows), _second_differences(external)),
    ]
    design += [_SMOOTHNESS * (row @ accumulate) for row in smooth]
    wanted += [0.0] * len(smooth)
    increments = lsq_linear(np.array(design), np.array(wanted), bounds=(0, np.inf)).x
    values = 1 + (accumulate @ np.maximum(increments, 0)).reshape(rows, columns)
    return Grid(tuple(map(float, demand)), tuple(map(float, external)), tuple(tuple(map(float, row)) for row in values))


def fit_samples(samples: Sequence[CoRun], demand_points: int) -> Grid:
    """Fit a grid with up to `demand_points` demands at the quantiles of the samples, and external ones as measured.

    Without samples (nothing can run beside), the grid is 1 everywhere.
    """
    if not samples:
        return Grid((0.0,), (0.0,), ((1.0,),))
    demands = np.unique(np.quantile([s.demand for s in samples], np.linspace(0, 1, demand_points)))
    return fit_grid(samples, demands.tolist(), [0.0, *sorted({s.external for s in samples})])


def _weights(axis: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """Return the linear interpolation weights of `value` on `axis`, clamped to its ends."""
    return np.array([np.interp(value, axis, unit) for unit in np.eye(len(axis))])


def _bilinear(
    demand: NDArray[np.float64], external: NDArray[np.float64], own: float, beside: float
) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.outer(_weights(demand, own), _weights(external, beside))
    return weights


def _second_differences(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows whose product with values on `axis` is the change of slope at each inner point, scaled to the
    axis' length so that units do not matter."""
    scaled = (axis - axis[0]) / max(axis[-1] - axis[0], 1e-12)
    rows = np.zeros((max(len(axis) - 2, 0), len(axis)))
    for i in range(len(axis) - 2):
        left, right = scaled[i + 1] - scaled[i], scaled[i + 2] - scaled[i + 1]
        rows[i, i : i + 3] = (1 / left, -1 / left - 1 / right, 1 / right)
        rows[i] *= min(left, right)
    return rows
