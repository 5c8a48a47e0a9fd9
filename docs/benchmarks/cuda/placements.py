"""Every way to run a workload with at most one transition per network, in the obvious orders."""

import itertools
from collections.abc import Iterator, Sequence

from multidnn.schedule import Deadlock, Infeasible, Problem, Schedule, evaluate

Segment = tuple[str, str, int, int]


def single_transitions(problem: Problem, target: str) -> Iterator[Schedule]:
    """Yield a schedule per placement with at most one transition per instance and per order of the instances.

    Segments queue by their place in their network, and instances of the same place in each order there is. Schedules
    are called ``apart`` (nothing moves) or ``split`` and a number.
    """
    counts = [len(problem.costs(number).groups) for number in range(len(problem.instances))]
    options = [
        list(_cuts(name, count, problem.accelerators)) for name, count in zip(problem.instances, counts, strict=True)
    ]
    number = 0
    for chosen in itertools.product(*options):
        segments = list(itertools.chain.from_iterable(chosen))
        seen = set()
        for ranking in itertools.permutations(problem.instances):
            ordered = sorted(segments, key=lambda s: (s[2] > 0, ranking.index(s[0])))
            order = {
                a: [[i, first, last] for i, where, first, last in ordered if where == a] for a in problem.accelerators
            }
            if str(order) in seen:
                continue
            seen.add(str(order))
            placement = {name: _placement(name, segments) for name in problem.instances}
            try:
                makespan = evaluate(problem, placement, order).makespan_ms
            except (Deadlock, Infeasible):
                continue
            kind = "apart" if len(segments) == len(problem.instances) else "split"
            told = {"makespan_ms": makespan}
            yield Schedule(
                problem.workload.name, target, f"{kind}{number}", "latency", 1, "feasible", makespan, None, told, placement, order
            )  # fmt: skip
            number += 1


def _cuts(instance: str, count: int, accelerators: Sequence[str]) -> Iterator[list[Segment]]:
    for accelerator in accelerators:
        yield [(instance, accelerator, 0, count - 1)]
    for first, second in itertools.permutations(accelerators, 2):
        for cut in range(1, count):
            yield [(instance, first, 0, cut - 1), (instance, second, cut, count - 1)]


def _placement(instance: str, segments: Sequence[Segment]) -> list[str]:
    own = sorted((s for s in segments if s[0] == instance), key=lambda s: s[2])
    return [where for _, where, first, last in own for _ in range(first, last + 1)]
