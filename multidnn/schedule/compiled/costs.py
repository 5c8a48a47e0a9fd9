"""When one cost counts as better than another, and the cost of a finished timeline; smaller is better.

Costs: makespan in ms for latency, throughput (1/s) negated for throughput.
"""

import numpy as np

from multidnn.schedule.compiled.jit import inlined
from multidnn.schedule.compiled.packing import Tables, Work

SLACK = 1e-9
"""Relative; an order must beat the cutoff by more than this, so that rounding is no improvement."""


@inlined
def below(cutoff: float) -> float:
    """The cost that counts as better than `cutoff`."""
    return cutoff - SLACK * abs(cutoff) if np.isfinite(cutoff) else cutoff


@inlined
def final_cost(tables: Tables, work: Work, d: int) -> float:
    """The cost of a finished timeline."""
    latest = 0.0
    total = 0.0
    for i in range(work.step.shape[1]):
        finish = work.finish[d, i]
        latest = max(latest, finish)
        if finish <= 0.0:
            total = np.inf
        else:
            total += 1000.0 / finish
    return latest if tables.latency == 1 else -total
