"""Orders that follow from who is ready when by standalone times, as a scheduler without a contention model expects."""

from collections.abc import Mapping

from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Order, Placement, Segment, segments_of


def time_ms(problem: Problem, instance: int, group: int, accelerator: int) -> float:
    """The standalone time of a group that `accelerator` supports, in ms."""
    cost = problem.costs(instance).groups[group][accelerator]
    if cost is None:
        raise ValueError(f"group {group} of {problem.instances[instance]} is not supported there")
    return cost.time_ms


def supported(problem: Problem, instance: int, group: int) -> list[int]:
    """The accelerators that support a group; there is at least one."""
    return [a for a, cost in enumerate(problem.costs(instance).groups[group]) if cost is not None]


def first_come(problem: Problem, placement: Placement) -> tuple[Order, tuple[float, ...]]:
    """Let each accelerator serve first the segment that was ready first; ties go to the workload's order.

    The course of a run by docs/semantics.md, contention (rule 5) left out: groups and holds take their standalone time.

    Returns:
        The order, which cannot deadlock since it is read off a run, and when each instance finishes, in ms.
    """
    waits = problem.workload.predecessors()
    segments = [_timed_segments(problem, i, groups) for i, groups in enumerate(placement)]
    free = [0.0] * len(problem.accelerators)
    turns: list[list[Segment]] = [[] for _ in free]
    ready = [0.0] * len(placement)
    done = [0] * len(placement)
    for _ in range(sum(map(len, segments))):
        waiting = []
        for i, mine in enumerate(segments):
            if done[i] < len(mine) and all(done[j] == len(segments[j]) for j in waits[i]):
                came = max([ready[i], *(ready[j] for j in waits[i])])
                waiting.append((max(came, free[mine[done[i]][0]]), came, i))
        start, _, i = min(waiting)
        accelerator, first, last, length = segments[i][done[i]]
        turns[accelerator].append((i, first, last))
        done[i] += 1
        free[accelerator] = ready[i] = start + length
    return tuple(map(tuple, turns)), tuple(ready)


def by_start(placement: Placement, starts: Mapping[tuple[int, int], tuple[float, int]], accelerators: int) -> Order:
    """Order each accelerator's segments by when their first groups start.

    Args:
        placement: per instance, the accelerator of each group.
        starts: (instance, group) -> (start in ms, position): positions differ and rise along each instance and through
            `after`, starts do not fall. Then whatever a segment waits for comes before it, so nothing deadlocks.
        accelerators: how many there are.
    """
    turns: list[list[Segment]] = [[] for _ in range(accelerators)]
    for i, groups in enumerate(placement):
        for first, last in segments_of(groups):
            turns[groups[first]].append((i, first, last))
    return tuple(tuple(sorted(mine, key=lambda segment: starts[segment[0], segment[1]])) for mine in turns)


def _timed_segments(problem: Problem, instance: int, groups: tuple[int, ...]) -> list[tuple[int, int, int, float]]:
    """Per segment: accelerator, first group, last group, ms alone with its holds."""
    moves = problem.costs(instance).transitions
    timed = []
    for first, last in segments_of(groups):
        a = groups[first]
        length = sum(time_ms(problem, instance, group, a) for group in range(first, last + 1))
        if first > 0:
            length += moves[first - 1, groups[first - 1], a][1]
        if last < len(groups) - 1:
            length += moves[last, a, groups[last + 1]][0]
        timed.append((a, first, last, length))
    return timed
