"""Estimates how large activations are, so that random weights keep them of order one through the deepest network.

A tensor is modelled by three numbers: its mean, the variance `between` channels of what is constant in a channel, and
the variance `within` a channel (positions and inputs). Convolutions with zero-mean weights turn mean and `between`
into `between` (the argument of He et al. 2015 for the second moment, split in two), averages shrink `within` only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

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


def linear(source: Moments, gain: float = 1.0) -> Moments:
    """After zero-mean random weights scaled so that the mean square becomes `gain`."""
    constant = (source.mean**2 + source.between) / source.square
    return Moments(0.0, gain * constant, gain * (1 - constant))


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
    """After the largest of `count` values of a channel, by Blom's approximation of a normal order statistic."""
    if count <= 1:
        return source
    shift = NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
    shrink = 1 / (1 + math.log(count))
    return Moments(source.mean + shift * math.sqrt(source.within), source.between, source.within * shrink)


def average(source: Moments, count: int) -> Moments:
    """After the mean of `count` values of a channel."""
    return Moments(source.mean, source.between, source.within / count)


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
