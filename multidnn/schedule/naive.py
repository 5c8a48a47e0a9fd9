"""naive: each instance whole on one accelerator, the best assignment and order by the simulator (GPU & DLA).

Source: HaX-CoNN, the baseline "GPU & DLA", which runs whole networks on different accelerators. It knows the
standalone times, `after`, and contention as the simulator computes it; it never moves a network between groups.
"""

import math
from itertools import product

from multidnn.schedule.orders import OrderSearch
from multidnn.schedule.patterns import patterns
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.timeline import Order, Placement


def naive(problem: Problem) -> tuple[Placement, Order]:
    """Return the placement and order; `Infeasible` if some instance fits whole on no accelerator."""
    choices = []
    for i, name in enumerate(problem.instances):
        groups = problem.costs(i).groups
        fits = [a for a in range(len(problem.accelerators)) if all(group[a] is not None for group in groups)]
        if not fits:
            raise Infeasible(f"no accelerator supports every group of {name}")
        choices.append([(a,) * len(groups) for a in fits])
    search = OrderSearch(problem)
    cutoff, best = math.inf, None
    for placement in product(*choices):
        found = search.best(patterns(problem, placement), cutoff)
        if found is not None:
            cutoff, order = found
            best = placement, order
    assert best is not None, "an instance can always run by itself"
    return best
