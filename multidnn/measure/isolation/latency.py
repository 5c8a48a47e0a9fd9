"""Latencies in numbers: median and 99th percentile of each condition, their ratios to a first one, and how sure they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# below this no sample lies beyond the 99th percentile
LEAST_FOR_P99 = 100
# from here on ten do, so that one request more or less does not move it
ENOUGH_FOR_P99 = 1000
_RESAMPLES = 1000
_CONFIDENCE = 0.95

Interval = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quantile:
    """A percentile of the latencies of one condition; ms.

    Attributes:
        ms: its value, and ms_interval: where it lies with 95 % confidence.
        ratio: to the same percentile of the first condition, and ratio_interval likewise.
    """

    ms: float
    ms_interval: Interval
    ratio: float
    ratio_interval: Interval


@dataclass(frozen=True)
class Latency:
    """What one condition did.

    Attributes:
        requests: how many.
        p50: the median; p99: None below `LEAST_FOR_P99` requests.
        p99_supported: whether there are enough requests (`ENOUGH_FOR_P99`) to rely on p99.
    """

    requests: int
    p50: Quantile
    p99: Quantile | None

    @property
    def p99_supported(self) -> bool:
        """Whether there are enough requests to rely on p99."""
        return self.requests >= ENOUGH_FOR_P99


def latencies(
    blocks: Mapping[str, Sequence[Sequence[float]]], seed: int, resamples: int = _RESAMPLES
) -> dict[str, Latency]:
    """Summarise conditions that were measured in rounds, one block of requests of each condition per round.

    Percentiles are of all requests of a condition, interpolated linearly. Their intervals are percentile bootstrap
    intervals that draw whole rounds, the same for all conditions: requests within a block share what the machine did at
    that moment and are not independent, and a ratio is of what was measured side by side. (Davison and Hinkley,
    "Bootstrap Methods and their Application", 1997, sections 3.8 and 5.3.)

    Args:
        blocks: condition to the latencies (ms) of each of its blocks; as many blocks in each, the first condition is
            what the others are compared with.
        seed: of the draws.
    """
    arrays = {name: [np.asarray(block, dtype=float) for block in listed] for name, listed in blocks.items()}
    rounds = len(next(iter(arrays.values())))
    assert all(len(listed) == rounds for listed in arrays.values()), "a round has a block of every condition"
    draws = np.random.default_rng(seed).integers(rounds, size=(resamples, rounds))
    found = {name: _percentiles(np.concatenate(listed)) for name, listed in arrays.items()}
    drawn = {
        name: np.array([_percentiles(np.concatenate([listed[number] for number in draw])) for draw in draws])
        for name, listed in arrays.items()
    }
    first = next(iter(arrays))
    result = {}
    for name, listed in arrays.items():
        quantiles = [
            Quantile(
                float(found[name][column]),
                _interval(drawn[name][:, column]),
                float(found[name][column] / found[first][column]),
                _interval(drawn[name][:, column] / drawn[first][:, column]),
            )
            for column in range(2)
        ]
        requests = sum(len(block) for block in listed)
        result[name] = Latency(requests, quantiles[0], quantiles[1] if requests >= LEAST_FOR_P99 else None)
    return result


def _percentiles(samples: Floats) -> Floats:
    return np.asarray(np.percentile(samples, [50, 99]))


def _interval(values: Floats) -> Interval:
    low, high = np.percentile(values, [50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)])
    return float(low), float(high)
