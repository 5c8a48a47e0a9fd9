"""A second simulator of docs/semantics.md, in exact fractions and as token lists, to check the first one against."""

from collections import deque
from fractions import Fraction

from multidnn.schedule.problem import Problem
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.timeline import Order, Placement


def factor(grid: Slowdown, demand: Fraction, external: Fraction) -> Fraction:
    """Bilinear, clamped, written as a sum of four weighted corners."""

    def weights(axis: tuple[float, ...], at: Fraction) -> dict[int, Fraction]:
        points = [Fraction(value) for value in axis]
        at = min(max(at, points[0]), points[-1])
        for k in range(len(points) - 1):
            if points[k] <= at <= points[k + 1]:
                share = (at - points[k]) / (points[k + 1] - points[k])
                return {k: 1 - share, k + 1: share}
        return {len(points) - 1: Fraction(1)}

    rows, columns = weights(grid.demand, demand), weights(grid.external, external)
    return sum(
        (Fraction(grid.factor[r][c]) * u * v for r, u in rows.items() for c, v in columns.items()), start=Fraction(0)
    )


def finish_times(problem: Problem, placement: Placement, order: Order) -> list[Fraction] | None:
    """The exact finish time of every instance in ms, None if the order deadlocks."""
    tokens = []
    for i, groups in enumerate(placement):
        costs, chain = problem.costs(i), deque[tuple]()
        for other in problem.workload.predecessors()[i]:
            chain.append(("after", other))
        first = 0
        for g, a in enumerate(groups):
            if g == 0 or groups[g - 1] != a:
                first = g
                chain.append(("acquire", a, first))
                if g > 0:
                    chain.append(("work", Fraction(costs.transitions[g - 1, groups[g - 1], a][1]), None, a))
            chain.append(("work", Fraction(costs.groups[g][a].time_ms), Fraction(costs.groups[g][a].demand_gb_s), a))
            if g == len(groups) - 1:
                chain.append(("finish",))
                chain.append(("release", a))
            elif groups[g + 1] != a:
                chain.append(("work", Fraction(costs.transitions[g, a, groups[g + 1]][0]), None, a))
                chain.append(("release", a))
        tokens.append(chain)
    queues = [deque((i, first) for i, first, _ in turns) for turns in order]
    free = [True] * len(queues)
    finish: list[Fraction | None] = [None] * len(tokens)
    now = Fraction(0)
    while any(tokens):
        moved = True
        while moved:
            moved = False
            for i, chain in enumerate(tokens):
                if not chain:
                    continue
                token = chain[0]
                if token[0] == "work":
                    passes = token[1] == 0
                elif token[0] == "after":
                    passes = finish[token[1]] is not None
                elif token[0] == "acquire":
                    a = token[1]
                    passes = free[a] and bool(queues[a]) and queues[a][0] == (i, token[2])
                    if passes:
                        free[a] = False
                        queues[a].popleft()
                elif token[0] == "finish":
                    finish[i], passes = now, True
                else:
                    free[token[1]], passes = True, True
                if passes:
                    chain.popleft()
                    moved = True
        busy = [(i, chain[0]) for i, chain in enumerate(tokens) if chain and chain[0][0] == "work"]
        if not busy:
            return None if any(tokens) else list(finish)  # type: ignore[arg-type]
        speed = {}
        for i, (_, _, demand, a) in busy:
            beside = sum((d for j, (_, _, d, _) in busy if j != i and d is not None), start=Fraction(0))
            speed[i] = 1 if demand is None else 1 / factor(problem.slowdown[a], demand, beside)
        step = min(token[1] / speed[i] for i, token in busy)
        for i, (kind, left, demand, a) in busy:
            tokens[i][0] = (kind, left - step * speed[i], demand, a)
        now += step
    return list(finish)  # type: ignore[arg-type]
