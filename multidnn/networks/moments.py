"""Estimates how large activations are, so that random weights keep them of order one through the deepest network.

A tensor is modelled by three numbers: its mean, the variance `between` channels of what is constant in a channel, and
the variance `within` a channel (positions and inputs). Convolutions with zero-mean weights keep the second moment
(He et al. 2015, arXiv:1502.01852) and turn mean and `between` into `between`, averages shrink `within` only.

The relative square of a small difference grows from layer to layer by chi. Below 1 (order) deep networks end up saying
the same whatever their input, above 1 (chaos) they blow rounding errors up (Poole et al. 2016, arXiv:1606.05340;
Schoenholz et al. 2017, arXiv:1611.01232). He's weights give 1 for ReLU alone, less with random biases; filters that sum
to zero give 1.47, and two runtimes then differ by 1 % at the end of 150 layers. `MEAN_REMOVED` lies between: inputs
differ by several per cent of the largest output in every network of ``prototxt/``, runtimes by less than 1e-5 of it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# share of its own mean that is taken out of each filter: the ReLU's chi becomes 0.5 / (0.5 - (1 - 0.7^2) / (2 pi)) = 1.19
MEAN_REMOVED = 0.3

# smallest mean square that is divided by: a tensor may be all zeros, after a Scale by a written 0 for example
SMALLEST = 1e-12

_NODES, _MASSES = np.polynomial.hermite_e.hermegauss(24)
_MASSES = _MASSES / _MASSES.sum()


@dataclass(frozen=True)
class Moments:
    """Mean, variance between channels and variance within a channel of a tensor."""

    mean: float = 0.0
    between: float = 0.0
    within: float = 1.0

    @property
    def variance(self) -> float:
        """Total variance."""
        return self.between + self.within

    @property
    def square(self) -> float:
        """Mean square."""
        return self.mean**2 + self.variance


def linear(source: Moments, removed: float) -> Moments:
    """After random weights scaled by `linear_scale`, of which each filter has lost the share `removed` of its mean."""
    constant = ((1 - removed) * source.mean) ** 2 + source.between
    total = max(constant + source.within, SMALLEST)
    return Moments(0.0, constant / total, source.within / total)


def linear_scale(source: Moments, fan_in: float, removed: float) -> float:
    """Return the standard deviation of weights, before `removed`, that makes the mean square of their sums 1."""
    return 1 / math.sqrt(fan_in * max(((1 - removed) * source.mean) ** 2 + source.variance, SMALLEST))


def affine(source: Moments, shift: float, scale: float, spread: float) -> Moments:
    """After (x - shift) * scale + beta with beta ~ N(0, spread^2) per channel."""
    return Moments((source.mean - shift) * scale, source.between * scale**2 + spread**2, source.within * scale**2)


def elementwise(source: Moments, function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Moments:
    """After a scalar function, by quadrature over the two normal variables."""
    centre = source.mean + math.sqrt(source.between) * _NODES
    values = function(centre[:, None] + math.sqrt(source.within) * _NODES[None, :])
    means = values @ _MASSES
    mean = float(means @ _MASSES)
    between = float((means - mean) ** 2 @ _MASSES)
    total = float(((values - mean) ** 2 @ _MASSES) @ _MASSES)
    return Moments(mean, between, max(total - between, 0.0))


def largest(source: Moments, count: int) -> Moments:
    """After the largest of `count` values of a channel, as if their upper tail were exponential (they are rectified).

    The mean of the largest of n is then the harmonic number H_n, its variance the sum of 1/k^2, in units of one value.
    """
    ranks = range(1, count + 1)
    rise = sum(1 / rank for rank in ranks) - 1
    spread = sum(1 / rank**2 for rank in ranks)
    return Moments(source.mean + rise * math.sqrt(source.within), source.between * spread, source.within * spread)


def average(source: Moments, count: int) -> Moments:
    """After the mean of `count` neighbours, which overlapping windows made alike: worth sqrt(count) independent ones."""
    return Moments(source.mean, source.between, source.within / math.sqrt(count))


def scaled(source: Moments, factor: float) -> Moments:
    """After multiplication by a constant."""
    return Moments(source.mean * factor, source.between * factor**2, source.within * factor**2)


def added(parts: Sequence[Moments]) -> Moments:
    """After the sum of independent tensors."""
    return Moments(sum(p.mean for p in parts), sum(p.between for p in parts), sum(p.within for p in parts))


def multiplied(first: Moments, second: Moments) -> Moments:
    """After the product of two independent tensors."""
    mean = first.mean * second.mean
    between = (first.mean**2 + first.between) * (second.mean**2 + second.between) - mean**2
    return Moments(mean, between, max(first.square * second.square - mean**2 - between, 0.0))


def joined(parts: Sequence[Moments], sizes: Sequence[int]) -> Moments:
    """After concatenation of parts with these numbers of channels."""
    total = sum(sizes)
    mean = sum(p.mean * n for p, n in zip(parts, sizes, strict=True)) / total
    between = sum((p.between + (p.mean - mean) ** 2) * n for p, n in zip(parts, sizes, strict=True)) / total
    return Moments(mean, between, sum(p.within * n for p, n in zip(parts, sizes, strict=True)) / total)
