"""From the objective to the times: how late each instance and the last one may finish if a cost is to be beaten."""

import math
from dataclasses import dataclass

from multidnn.schedule.encoding import Form
from multidnn.schedule.problem import Problem


@dataclass(frozen=True)
class Limits:
    """Times (ms) that a schedule with a smaller cost stays below, per instance and for the makespan."""

    finish: tuple[float, ...]
    makespan: float

    def of(self, form: Form) -> float:
        """The limit of what `form` bounds."""
        return self.makespan if form.finishes is None else self.finish[form.finishes]


def limits(objective: str, cost: float, earliest: tuple[float, ...]) -> Limits:
    """The limits that follow from beating `cost`, when no instance can finish before `earliest` (ms)."""
    if objective == "latency":
        return Limits((cost,) * len(earliest), cost)
    finish = []
    for i in range(len(earliest)):
        # the others give at most this much, so this one must give the rest
        others = sum(1000 / end if end > 0 else math.inf for j, end in enumerate(earliest) if j != i)
        rest = -cost - others
        finish.append(1000 / rest if rest > 0 else math.inf)
    return Limits(tuple(finish), max(finish))


def earliest_finishes(problem: Problem, max_transitions: int | None) -> tuple[float, ...]:
    """When each instance finishes at best: its cheapest placement alone, after those it waits for."""
    chains = [_shortest_chain(problem, i, max_transitions) for i in range(len(problem.instances))]
    finish = [0.0] * len(chains)
    waits = problem.workload.predecessors()
    for i in problem.workload.sequence():
        finish[i] = chains[i] + max((finish[j] for j in waits[i]), default=0.0)
    return tuple(finish)


def _shortest_chain(problem: Problem, instance: int, max_transitions: int | None) -> float:
    """The least time alone over all placements, by dynamic programming over groups, accelerator and transitions."""
    costs = problem.costs(instance)
    limit = len(costs.groups) - 1 if max_transitions is None else min(max_transitions, len(costs.groups) - 1)
    best = {(a, 0): cost.time_ms for a, cost in enumerate(costs.groups[0]) if cost is not None}
    for group, options in enumerate(costs.groups[1:]):
        longer: dict[tuple[int, int], float] = {}
        for (source, used), ms in best.items():
            for a, cost in enumerate(options):
                if cost is None or used + (a != source) > limit:
                    continue
                hold = sum(costs.transitions[group, source, a]) if a != source else 0.0
                key = (a, used + (a != source))
                longer[key] = min(longer.get(key, math.inf), ms + hold + cost.time_ms)
        best = longer
    return min(best.values(), default=math.inf)
