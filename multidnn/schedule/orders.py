"""The best order of a given placement: the compiled branch and bound, with a clock and a budget."""

from collections.abc import Sequence
from math import inf
from time import monotonic

from multidnn.schedule.compiled.engine import Engine
from multidnn.schedule.costs import below
from multidnn.schedule.patterns import Pattern
from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Order

HURRIED_NODES = 100
"""A budget for a first look at a placement."""

FIRST_NODES = 2_000
"""Before the clock is looked at for the first time: some hundredths of a second with many instances."""


class OrderSearch:
    """Finds best orders for placements of one problem.

    Attributes:
        budget: states that one call of `best` may visit; may be changed between calls.
        settled: whether the last call of `best` was through with its search; False when deadline or budget stopped it.
    """

    def __init__(self, problem: Problem, deadline: float = inf) -> None:
        """Prepare searches that stop at `deadline` (monotonic seconds)."""
        self._deadline = deadline
        self._engine = Engine(problem)
        self._waits = problem.workload.predecessors()
        self._sequence = problem.workload.sequence()
        self._latency = problem.workload.objective == "latency"
        self._accelerators = len(problem.accelerators)
        self.budget = inf
        self.settled = True

    def lower_bound(self, patterns: Sequence[Pattern]) -> float:
        """A cost that no order of this placement can beat: chains through `after`, and loads."""
        finish = [0.0] * len(patterns)
        for i in self._sequence:
            finish[i] = patterns[i].chain + max((finish[j] for j in self._waits[i]), default=0.0)
        loads = [sum(pattern.load[a] for pattern in patterns) for a in range(self._accelerators)]
        cost = self._least_cost(finish, max(loads))
        if self._latency:
            return cost
        queues: list[list[tuple[float, float]]] = [[] for _ in loads]
        for pattern, end in zip(patterns, finish, strict=True):
            last = pattern.segments[-1][0]
            queues[last].append((pattern.load[last], end))
        return max(cost, sum(_queue_cost(0.0, queue) for queue in queues))

    def best(self, patterns: Sequence[Pattern], cutoff: float) -> tuple[float, Order] | None:
        """The least cost below `cutoff` over all orders and an order that has it; None if there is none below.

        When deadline or budget ends it, `settled` is False and the best order so far is returned; without a cutoff
        there always is one.
        """
        self.settled = True
        if self.lower_bound(patterns) >= below(cutoff):
            return None
        groups = self._engine.groups_of([pattern.groups for pattern in patterns])
        best: tuple[float, Order] | None = None
        budget = min(self.budget, FIRST_NODES)
        while True:
            found, self.settled = self._engine.order(groups, cutoff, int(budget))
            if found is not None:
                cutoff = found.cost
                best = found.cost, found.order
            if self.settled or budget >= self.budget or monotonic() > self._deadline:
                return best
            # from the start again, but with the better cutoff; doubling keeps the repeated part below the rest
            budget = min(self.budget, 2 * budget)

    def _least_cost(self, finish: Sequence[float], latest: float) -> float:
        """The cost if no instance finishes before `finish` and the makespan is at least `latest`."""
        if self._latency:
            return max(*finish, latest)
        # whichever instance is the last to finish, it does so at `latest` or after
        return min(
            _throughput_cost([*finish[:i], max(finish[i], latest), *finish[i + 1 :]]) for i in range(len(finish))
        )


def _queue_cost(free: float, queue: list[tuple[float, float]]) -> float:
    """A throughput cost that instances, (ms still to do here, least finish), cannot beat on one accelerator.

    Whichever k of them are the first to finish, their work from `free` on is at least that of the k shortest, and
    the k-th finish is no earlier than the k-th least one; shortest first is Smith's rule.
    """
    cost, done = 0.0, free
    for work, least in zip(sorted(work for work, _ in queue), sorted(least for _, least in queue), strict=True):
        done += work
        end = max(done, least)
        cost -= 1000 / end if end > 0 else inf
    return cost


def _throughput_cost(finish: Sequence[float]) -> float:
    return float("-inf") if min(finish) <= 0 else -sum(1000 / end for end in finish)
