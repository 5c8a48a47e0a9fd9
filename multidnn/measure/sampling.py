"""When to stop sampling, and what the samples say: median, mean, spread, and whether to trust them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np

from multidnn.measure.options import MeasureOptions

# quartiles further apart than this share of the median make the median move between runs
UNSTABLE_SPREAD = 0.15


@dataclass(frozen=True)
class Statistics:
    """Summary of one series, in the unit of its samples; spread = (third - first quartile) / median."""

    median: float
    mean: float
    std: float
    samples: int
    spread: float

    @property
    def unstable(self) -> bool:
        """Whether the spread says that the median is not to be trusted."""
        return self.spread > UNSTABLE_SPREAD

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Statistics":
        """Summarise `samples` (at least one); std is the sample standard deviation, 0 for a single sample."""
        values = np.asarray(samples, dtype=float)
        low, median, high = np.percentile(values, [25, 50, 75])
        std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        spread = float((high - low) / median) if median > 0 else 0.0
        return cls(float(median), float(values.mean()), std, len(values), spread)


def sample_rounds(take: Callable[[], None], options: MeasureOptions) -> int:
    """Call `take` for warm-up, then until the minimum count and the time budget are met; return the counted rounds.

    `take` is called `options.warmup` times first: the caller drops that many from the front of what it kept.
    """
    for _ in range(options.warmup):
        take()
    rounds, deadline = 0, monotonic() + options.budget_s
    while rounds < options.min_samples or (rounds < options.max_samples and monotonic() < deadline):
        take()
        rounds += 1
    return rounds
