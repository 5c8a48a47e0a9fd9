"""An objective's value as a cost, smaller being better, and when one cost counts as better than another."""

from math import isfinite

CUTOFF_SLACK = 1e-9
"""Relative; a schedule must beat the cutoff by more than this, so that rounding is no improvement."""


def cost_of(objective: str, value: float) -> float:
    """The objective's value as a cost: ms for latency, the negative of 1/s for throughput."""
    return value if objective == "latency" else -value


def below(cutoff: float) -> float:
    """The cost that counts as better than `cutoff`."""
    return cutoff - CUTOFF_SLACK * abs(cutoff) if isfinite(cutoff) else cutoff
