"""How many timelines a second the compiled simulator works out beside the plain one, and how far the two differ.

    uv run python docs/benchmarks/scheduler/simulator.py --out docs/benchmarks/scheduler/simulator.json

Random placements and orders of random problems, one core. The compiled rate counts the compiled code alone on arrays
laid out before; the plain rate is that of `multidnn.schedule.timeline.simulate`, whose finish times are the reference.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from instances import Size, random_problem
from numpy.typing import NDArray
from trials import environment, print_table, require_counts

from multidnn.errors import exit_on_input_error
from multidnn.files import write_json
from multidnn.schedule import Problem
from multidnn.schedule.compiled.packing import no_prices, tables_of, work_for
from multidnn.schedule.compiled.timeline import many_finish_times
from multidnn.schedule.timeline import Order, Placement, Segment, segments_of, simulate

SIZES = "2x10x2K2,4x20x3K3"
SEVERITY = 1.3
HEADER = (
    "size", "timelines", "compiled, median 1/s", "plain, median 1/s", "ratio", "largest relative difference"
)  # fmt: skip

Schedules = Sequence[tuple[Placement, Order]]


def random_schedule(problem: Problem, transitions: int | None, rng: np.random.Generator) -> tuple[Placement, Order]:
    """Return a random placement with at most `transitions` per instance, and a random order that does not deadlock."""
    placement = tuple(_place(problem, i, transitions, rng) for i in range(len(problem.instances)))
    left = [[(i, *ends) for ends in segments_of(groups)] for i, groups in enumerate(placement)]
    waits = problem.workload.predecessors()
    turns: list[list[Segment]] = [[] for _ in problem.accelerators]
    # whatever is taken next could run next, so no order of this kind deadlocks, and every other one does
    while ready := [i for i, own in enumerate(left) if own and not any(left[j] for j in waits[i])]:
        i = ready[int(rng.integers(len(ready)))]
        segment = left[i].pop(0)
        turns[placement[i][segment[1]]].append(segment)
    return placement, tuple(map(tuple, turns))


def _place(problem: Problem, instance: int, transitions: int | None, rng: np.random.Generator) -> tuple[int, ...]:
    groups = problem.costs(instance).groups
    while True:
        most = len(groups) - 1 if transitions is None else min(transitions, len(groups) - 1)
        cuts = set(rng.choice(np.arange(1, len(groups)), size=int(rng.integers(most + 1)), replace=False).tolist())
        placed: list[int] = []
        for g in range(len(groups)):
            options = [a for a in range(len(problem.accelerators)) if not placed or (a != placed[-1]) == (g in cuts)]
            if not options:
                break
            placed.append(options[int(rng.integers(len(options)))])
        if len(placed) == len(groups) and all(row[a] is not None for row, a in zip(groups, placed, strict=True)):
            return tuple(placed)


def compiled_finish_times(
    problem: Problem, schedules: Schedules, repeats: int
) -> tuple[NDArray[np.float64], list[float]]:
    """Return the finish times in ms [schedule, instance] and the seconds that each repeat took for all of them."""
    tables = tables_of(problem)
    prices = no_prices(tables)
    work = work_for(tables, prices)
    count, longest = len(problem.instances), tables.time.shape[1]
    groups = np.zeros((len(schedules), count, longest), dtype=np.int8)
    turns = np.full((len(schedules), len(problem.accelerators), count * longest), -1, dtype=np.int64)
    for k, (placement, order) in enumerate(schedules):
        for i, placed in enumerate(placement):
            groups[k, i, : len(placed)] = placed
        for a, listed in enumerate(order):
            turns[k, a, : len(listed)] = [segment[0] for segment in listed]
    finish = np.zeros((len(schedules), count))
    # compiles, or loads what was compiled before
    many_finish_times(tables, prices, work, groups[:1], turns[:1], finish[:1])
    seconds = []
    for _ in range(repeats):
        begin = perf_counter()
        many_finish_times(tables, prices, work, groups, turns, finish)
        seconds.append(perf_counter() - begin)
    return finish, seconds


def plain_finish_times(problem: Problem, schedules: Schedules) -> tuple[NDArray[np.float64], float]:
    """Return the finish times in ms [schedule, instance] and the seconds that they took together."""
    begin = perf_counter()
    found = [simulate(problem, placement, order).finish_ms for placement, order in schedules]
    seconds = perf_counter() - begin
    return np.array([[times[name] for name in problem.instances] for times in found]), seconds


def measure(size: Size, problems: int, count: int, repeats: int) -> dict[str, Any]:
    """Return rates per problem and the largest difference, with `count` schedules of each of `problems` problems."""
    compiled, plain, difference = [], [], 0.0
    for seed in range(problems):
        problem = random_problem(size, SEVERITY, seed, dependencies=bool(seed % 2))
        rng = np.random.default_rng(seed)
        schedules = [random_schedule(problem, size.transitions, rng) for _ in range(count)]
        finish, seconds = compiled_finish_times(problem, schedules, repeats)
        expected, slow = plain_finish_times(problem, schedules)
        difference = max(difference, float(np.max(np.abs(finish - expected) / expected)))
        compiled += [count / one for one in seconds]
        plain.append(count / slow)
    return {
        "size": str(size),
        "timelines": problems * count,
        "compiled_per_s": compiled,
        "plain_per_s": plain,
        "largest_relative_difference": difference,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help=f"instances x groups x accelerators K transitions; {SIZES}")
    parser.add_argument("--problems", type=int, default=10, help="problems per size, every other with `after`; 10")
    parser.add_argument("--count", type=int, default=5000, help="schedules per problem; 5000")
    parser.add_argument("--repeats", type=int, default=5, help="times that the compiled code does all of them; 5")
    parser.add_argument("--out", type=Path, required=True, help="the samples, JSON")
    options = parser.parse_args()
    require_counts(options, "problems", "count", "repeats")
    head = {"severity": SEVERITY, "repeats": options.repeats, "environment": environment()}
    sizes = map(Size.parse, options.sizes.split(","))
    samples = [measure(size, options.problems, options.count, options.repeats) for size in sizes]
    write_json(options.out, {**head, "samples": samples})
    rows = []
    for sample in samples:
        fast, slow = float(np.median(sample["compiled_per_s"])), float(np.median(sample["plain_per_s"]))
        worst = f"{sample['largest_relative_difference']:.1e}"
        rows.append((sample["size"], sample["timelines"], f"{fast:,.0f}", f"{slow:,.0f}", f"{fast / slow:.0f}", worst))
    print_table(HEADER, rows)


if __name__ == "__main__":
    with exit_on_input_error():
        main()
