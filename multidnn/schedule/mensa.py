"""mensa: each network by itself, group after group, on the accelerator that suits the group best or on the last one.

Source: Boroumand et al., "Google Neural Network Models for Edge Devices: Analyzing and Mitigating Machine Learning
Inference Bottlenecks", PACT 2021 (arXiv 2109.14320), the runtime scheduler of Mensa, in outline (docs/paper.md says
what was at hand). It goes through the layers twice:

1. each layer's ideal accelerator, the layer taken alone;
2. in execution order, the layer's destination: its ideal accelerator or the destination of the layer before it,
   whichever is better once moving the tensor between the two is counted.

It knows standalone times, transitions and which groups an accelerator supports. It ignores every other instance, hence
waiting and contention, and it does not look ahead: a move is weighed for one group at a time.

What differs here: Mensa tells from a layer's characteristics (its family, parameter footprint, number of
multiply-accumulates) what an accelerator would make of it; we have measured that, so the best accelerator is the
fastest, and a move costs its two holds. Energy, which Mensa weighs too, is not in our tables. It maps one network, so it
says nothing of several: each accelerator serves them first come, first served. `throughput` changes nothing.
"""

from multidnn.schedule.problem import Problem
from multidnn.schedule.queues import first_come, supported, time_ms
from multidnn.schedule.timeline import Order, Placement


def mensa(problem: Problem) -> tuple[Placement, Order]:
    """Return the placement and order; they always exist, since every group has an accelerator."""
    placement = tuple(_destinations(problem, i) for i in range(len(problem.instances)))
    return placement, first_come(problem, placement)[0]


def _destinations(problem: Problem, instance: int) -> tuple[int, ...]:
    moves = problem.costs(instance).transitions
    chosen: list[int] = []
    for group in range(len(problem.costs(instance).groups)):
        times = {a: time_ms(problem, instance, group, a) for a in supported(problem, instance, group)}
        destination = min(times, key=times.__getitem__)
        if chosen and chosen[-1] != destination and chosen[-1] in times:
            moved = sum(moves[group - 1, chosen[-1], destination]) + times[destination]
            if times[chosen[-1]] <= moved:
                destination = chosen[-1]
        chosen.append(destination)
    return tuple(chosen)
