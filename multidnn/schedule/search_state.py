"""What one run of haxconn is asked and what it knows: the problem with its limits, the clock, the incumbent, the bound."""

import math
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from time import monotonic

import numpy as np

from multidnn.schedule.compiled.engine import Engine, Found
from multidnn.schedule.costs import below
from multidnn.schedule.limits import Limits, earliest_finishes, limits
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.timeline import Placement


class SearchState:
    """What all parts of a run share; each of them reads it, and improves `best` and `bound`.

    Attributes:
        problem: workload and costs.
        objective: latency or throughput.
        max_transitions: allowed per instance, None for any number.
        limits: [n] the same, no more than the instance has borders between groups.
        excluded: placements that are no result; `bound` holds for the others.
        excluded_groups: [k, n, G] the same.
        earliest: [n] ms before which no instance finishes.
        waiting: [n] ms before which none starts.
        deadline: monotonic seconds at which the run ends.
        search_until: monotonic seconds at which the search for schedules ends; what is left is for the bound.
        stop: whether to end at once.
        engine: the compiled searches, with the prices in force.
        best: the incumbent, the best schedule so far.
        bound: a proved lower bound on the cost.
    """

    def __init__(
        self,
        problem: Problem,
        max_transitions: int | None,
        exclude: Collection[Placement],
        deadline: float,
        search_until: float,
        stop: Callable[[], bool],
    ) -> None:
        """Nothing is known yet but what every instance takes alone.

        Raises:
            Infeasible: no placement keeps to `max_transitions`.
        """
        self.problem = problem
        self.objective = problem.workload.objective
        self.max_transitions = max_transitions
        self.deadline = deadline
        self.search_until = search_until
        self.stop = stop
        exclude = [placement for placement in exclude if _is_possible(problem, placement)]
        self.excluded = frozenset(exclude)
        self.earliest = earliest_finishes(problem, max_transitions)
        for i, end in enumerate(self.earliest):
            if end == math.inf:
                raise Infeasible(f"{problem.instances[i]} needs more than {max_transitions} transitions")
        waits = problem.workload.predecessors()
        self.waiting = [max((self.earliest[j] for j in waits[i]), default=0.0) for i in self.instances()]
        self.engine = Engine(problem)
        if exclude:
            # what is left out may have a twin that is not
            self.engine.tables = self.engine.tables._replace(twins=np.arange(len(problem.instances)))
        counts = [len(problem.costs(i).groups) for i in self.instances()]
        self.limits = np.array(
            [count - 1 if max_transitions is None else min(max_transitions, count - 1) for count in counts],
            dtype=np.int64,
        )
        shape = self.engine.tables.time.shape[:2]
        self.excluded_groups = np.array([self.engine.groups_of(p) for p in exclude], dtype=np.int8).reshape(-1, *shape)
        self.best: Found | None = None
        self.bound = self._least_cost()

    def _least_cost(self) -> float:
        if self.objective == "latency":
            return max(self.earliest)
        return -sum(1000 / end if end > 0 else math.inf for end in self.earliest)

    def instances(self) -> range:
        """The instances by index."""
        return range(len(self.problem.instances))

    @property
    def incumbent(self) -> Found:
        """The best schedule so far, where there must be one."""
        assert self.best is not None, "there is an incumbent from the start"
        return self.best

    @property
    def cost(self) -> float:
        """The incumbent's cost."""
        return self.incumbent.cost

    def over(self) -> bool:
        """Whether the search for schedules is to end."""
        return monotonic() > self.search_until or self.stop()

    def closed(self) -> bool:
        """Whether the bound meets the incumbent; if so, it is set to its cost."""
        if self.bound < below(self.cost):
            return False
        self.bound = self.cost
        return True

    def better(self, found: Found | None) -> Iterator[Found]:
        """Make this the incumbent, and yield it, if it beats the present one."""
        if found is not None and (self.best is None or found.cost < below(self.best.cost)):
            self.best = found
            yield found

    def is_allowed(self, placement: Placement) -> bool:
        """Whether a placement is not excluded and keeps to the transitions."""
        moves = (sum(a != b for a, b in pairwise(groups)) for groups in placement)
        return placement not in self.excluded and all(
            count <= limit for count, limit in zip(moves, self.limits, strict=True)
        )

    def limits_now(self) -> Limits:
        """How late instances may finish in a schedule that beats the incumbent."""
        return limits(self.objective, below(self.cost), self.earliest)


def _is_possible(problem: Problem, placement: Placement) -> bool:
    """Whether a placement gives every group an accelerator that supports it."""
    return len(placement) == len(problem.instances) and all(
        len(groups) == len(problem.costs(i).groups)
        and all(problem.costs(i).groups[g][a] is not None for g, a in enumerate(groups))
        for i, groups in enumerate(placement)
    )
