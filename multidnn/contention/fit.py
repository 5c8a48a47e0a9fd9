"""Fits the slowdown grid of one accelerator to co-run samples, within the rules that the timeline needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# weight of the smoothness rows against one sample each: it decides only where samples are thin
SMOOTHNESS = 0.1

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CoRun:
    """One co-run of a group, the victim.

    Attributes:
        demand: standalone demand of the victim, GB/s.
        beside: what ran beside it, as (summed standalone demand in GB/s, share of the time); shares add up to 1.
        slowdown: by what factor the victim took longer.
        weight: how much it counts in a fit, against 1 of an ordinary sample.
    """

    demand: float
    beside: tuple[tuple[float, float], ...]
    slowdown: float
    weight: float = 1.0

    @classmethod
    def steady(cls, demand: float, external: float, slowdown: float, weight: float = 1.0) -> "CoRun":
        """Return a co-run with the same demand beside it all the time."""
        return cls(demand, ((external, 1.0),), slowdown, weight)

    @property
    def external(self) -> float:
        """The mean demand beside it, GB/s."""
        return sum(level * share for level, share in self.beside)


@dataclass(frozen=True)
class Grid:
    """A slowdown grid: slowdown[i][j] at demand[i], external[j] (GB/s); rows start at 1 and never fall."""

    demand: tuple[float, ...]
    external: tuple[float, ...]
    slowdown: tuple[tuple[float, ...], ...]

    def at(self, demand: float, external: float) -> float:
        """Return the slowdown, bilinear between the points and clamped outside."""
        return self.of(CoRun.steady(demand, external, 1.0))

    def of(self, co_run: CoRun) -> float:
        """Return the slowdown of a co-run's victim: its mean over what ran beside it."""
        own, beside = _weights(np.array(self.demand), co_run.demand), _mixture(np.array(self.external), co_run)
        return float(own @ np.array(self.slowdown) @ beside)


@dataclass(frozen=True)
class Axes:
    """The axes of a grid, GB/s: `demand` strictly ascending, `external` strictly ascending from 0."""

    demand: tuple[float, ...]
    external: tuple[float, ...]

    def weights(self, samples: Sequence[CoRun]) -> Array:
        """Return how much each value of the flattened grid counts for each of `samples`: (samples, demand x external)."""
        demand, external = np.array(self.demand), np.array(self.external)
        own = np.array([_weights(demand, s.demand) for s in samples]).reshape(len(samples), len(demand))
        beside = np.array([_mixture(external, s) for s in samples]).reshape(len(samples), len(external))
        rows: Array = np.einsum("ni,nj->nij", own, beside).reshape(len(samples), len(demand) * len(external))
        return rows


def fit_grid(samples: Sequence[CoRun], axes: Axes, smoothness: float = SMOOTHNESS) -> Grid:
    """Return the grid on `axes` that fits `samples` best; see `fit_values`."""
    wanted, weights = np.array([s.slowdown for s in samples]), np.array([s.weight for s in samples])
    values = fit_values(axes, axes.weights(samples), wanted, weights, smoothness)
    return Grid(axes.demand, axes.external, tuple(tuple(map(float, row)) for row in values))


def fit_values(axes: Axes, rows: Array, slowdowns: Array, weights: Array, smoothness: float) -> Array:
    """Return the values of a grid, (demand, external), that fit best in the sense of weighted least squares.

    The unknowns are the increments from one external level to the next, all held at zero or above, so that each row
    starts at 1 and never falls; the bilinear model is linear in them, also for a mixture beside the victim, which makes
    this a non-negative linear least-squares problem (scipy.optimize.nnls). Second differences along both axes are kept
    small where samples are thin.

    Args:
        rows: `axes.weights` of the samples.
        slowdowns: what they measured.
        weights: how much each counts.
        smoothness: weight of a second difference against a sample of weight 1.
    """
    from scipy.optimize import nnls

    height, width = len(axes.demand), len(axes.external)
    if width == 1:
        return np.ones((height, 1))
    # value = 1 + accumulate @ increments, for the flattened grid
    accumulate = np.kron(np.eye(height), np.tril(np.ones((width, width)))[:, 1:])
    smooth = np.vstack(
        [
            np.kron(_second_differences(np.array(axes.demand)), np.eye(width)),
            np.kron(np.eye(height), _second_differences(np.array(axes.external))),
        ]
    )
    root = np.sqrt(weights)
    design = np.vstack([rows * root[:, None], smoothness * smooth]) @ accumulate
    wanted = np.concatenate([root * (slowdowns - 1), np.zeros(len(smooth))])
    # as many rows as unknowns say the same as all of them, and are solved sooner
    triangular, rotated = _condensed(design, wanted)
    increments, _ = nnls(triangular, rotated)
    # where samples are thin a slope can lead anywhere, so nothing is slowed more than anything was
    values: Array = np.clip(1 + (accumulate @ increments).reshape(height, width), 1, np.max(slowdowns, initial=1.0))
    return values


def _condensed(design: Array, wanted: Array) -> tuple[Array, Array]:
    """Return a square least-squares problem with the same solution (QR)."""
    if len(design) <= design.shape[1]:
        return design, wanted
    q, r = np.linalg.qr(design)
    return r, q.T @ wanted


def fit_samples(samples: Sequence[CoRun], demand_points: int) -> Grid:
    """Fit a grid with up to `demand_points` demands at the quantiles of the samples, and external ones as measured.

    Without samples (nothing can run beside), the grid is 1 everywhere.
    """
    if not samples:
        return Grid((0.0,), (0.0,), ((1.0,),))
    demands = np.unique(np.quantile([s.demand for s in samples], np.linspace(0, 1, demand_points)))
    return fit_grid(samples, Axes(tuple(demands.tolist()), (0.0, *sorted({s.external for s in samples}))))


def _weights(axis: Array, value: float) -> Array:
    """Return the linear interpolation weights of `value` on `axis`, clamped to its ends."""
    right = int(np.clip(np.searchsorted(axis, value), 1, max(len(axis) - 1, 1)))
    weights = np.zeros(len(axis))
    if len(axis) == 1:
        weights[0] = 1
        return weights
    share = float(np.clip((value - axis[right - 1]) / (axis[right] - axis[right - 1]), 0, 1))
    weights[right - 1], weights[right] = 1 - share, share
    return weights


def _mixture(axis: Array, co_run: CoRun) -> Array:
    """Return the mean interpolation weights of what ran beside, on the external `axis`."""
    total = np.zeros(len(axis))
    for level, share in co_run.beside:
        total += share * _weights(axis, level)
    return total


def _second_differences(axis: Array) -> Array:
    """Return the rows whose product with values on `axis` is the change of slope at each inner point, scaled to the
    axis' length so that units do not matter."""
    scaled = (axis - axis[0]) / max(axis[-1] - axis[0], 1e-12)
    rows = np.zeros((max(len(axis) - 2, 0), len(axis)))
    for i in range(len(axis) - 2):
        left, right = scaled[i + 1] - scaled[i], scaled[i + 2] - scaled[i + 1]
        rows[i, i : i + 3] = (1 / left, -1 / left - 1 / right, 1 / right)
        rows[i] *= min(left, right)
    return rows
