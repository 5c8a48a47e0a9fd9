"""Random scheduling problems, the same on every machine, for the scheduler benchmarks.

    uv run python docs/benchmarks/scheduler/instances.py --size 2x10x2 --transitions 2 --severity 1.3 --seed 3 --out DIR

writes the five files that `python -m multidnn.schedule` reads. How an instance is drawn is in README.md.

Every number comes from numpy's PCG64, seeded by [seed, attempt, what it is for, where it stands], so a problem with one
more group or instance extends the smaller one, and severity, dependencies and objective change nothing else.
"""

import argparse
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import yaml

from multidnn import tables
from multidnn.errors import InputError, exit_on_input_error
from multidnn.files import write_json, write_text
from multidnn.schedule.patterns import count_placements
from multidnn.schedule.problem import GroupCost, NetworkCosts, Problem
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.workload import Instance, Workload

SEVERITIES = (1.0, 1.3, 2.0)
"""The largest slowdown of the benchmark's instances, in equal shares."""

TIME_MS = (0.05, 0.5)
RATIO = (0.5, 2.5)
TRANSITION_SHARE = (0.02, 0.30)
UNSUPPORTED = 0.1
DEMAND_GB_S = (5.0, 60.0)
GRID_DEMAND_GB_S = (5.0, 20.0, 40.0, 60.0)
GRID_EXTERNAL_GB_S = (0.0, 15.0, 30.0, 60.0)

ATTEMPTS = 300
"""Draws of one network's supported accelerators before its size is taken for impossible."""

# digits kept, so that a last bit of exp() that differs between machines does not matter and files hold the numbers whole
_MS, _GB_S, _FACTOR = 5, 3, 6

# what a stream of random numbers is for
_GROUP, _SUPPORT, _TRANSITION, _GRID, _AFTER = range(5)


@dataclass(frozen=True)
class Size:
    """How large a problem is: "2x10x2 K2" is two instances of ten groups each, two accelerators, two transitions."""

    instances: int
    groups: int
    accelerators: int
    transitions: int | None

    def __str__(self) -> str:
        limit = "any" if self.transitions is None else self.transitions
        return f"{self.instances}x{self.groups}x{self.accelerators} K{limit}"

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Read "2x10x2 K2", also "2x10x2K2" and "2x10x2Kany"; anything else is an `InputError`."""
        found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)\s*K(\d+|any)", text)
        if not found:
            raise InputError(f"size: found {text!r}, expected instances x groups x accelerators and K, as 2x10x2K2")
        instances, groups, accelerators = (int(part) for part in found.groups()[:3])
        return cls(instances, groups, accelerators, None if found[4] == "any" else int(found[4]))


def random_problem(
    size: Size, severity: float, seed: int, dependencies: bool = False, objective: str = "latency"
) -> Problem:
    """Return problem number `seed` of this size, each instance with a network of its own.

    Args:
        size: its transitions only exclude problems without any schedule: the supported accelerators of a network
            that would need more are drawn again.
        severity: the largest entry of every slowdown grid, 1 or more; at 1 nothing is slowed.
        seed: 0 or more.
        dependencies: let each later instance wait for each earlier one with probability 1/2.
        objective: latency (ms) or throughput (1/s).

    Raises:
        InputError: an argument is out of range, or no such problem was found.
    """
    if not (math.isfinite(severity) and severity >= 1):
        raise InputError(f"severity: found {severity:g}, expected 1 or more")
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected 0 or more")
    names = [f"i{i}" for i in range(size.instances)]
    networks = {f"net{i}": _network(size, seed, i) for i in range(size.instances)}
    instances = tuple(
        Instance(name, network, tuple(_after(names, seed, i)) if dependencies else ())
        for i, (name, network) in enumerate(zip(names, networks, strict=True))
    )
    after = "-after" if dependencies else ""
    workload = Workload(
        f"random-{size.instances}x{size.groups}x{size.accelerators}{after}-{seed}", "latency", instances
    )
    accelerators = tuple(f"acc{a}" for a in range(size.accelerators))
    grids = tuple(_grid(severity, seed, a) for a in range(size.accelerators))
    return Problem(workload.with_objective(objective), accelerators, networks, grids)


def _stream(seed: int, attempt: int, *place: int) -> Iterator[float]:
    """Return uniform numbers in [0, 1) that depend on nothing but the arguments."""
    generator = np.random.Generator(np.random.PCG64([seed, attempt, *place]))
    while True:
        yield float(generator.random())


def _uniform(share: float, ends: tuple[float, float]) -> float:
    return ends[0] + share * (ends[1] - ends[0])


def _log_uniform(share: float, ends: tuple[float, float]) -> float:
    return ends[0] * math.exp(share * math.log(ends[1] / ends[0]))


def _network(size: Size, seed: int, instance: int) -> NetworkCosts:
    costs = [_costs(size.accelerators, seed, instance, group) for group in range(size.groups)]
    for attempt in range(ATTEMPTS):
        groups = tuple(
            tuple(None if a == lost else cost for a, cost in enumerate(row))
            for row, lost in (
                (row, _lost(size.accelerators, seed, attempt, instance, g)) for g, row in enumerate(costs)
            )
        )
        # transitions have no part in how many placements there are
        if count_placements(NetworkCosts(groups, {}), size.transitions):
            return NetworkCosts(groups, _transitions(groups, seed, instance))
    raise InputError(f"size {size}: no network with a schedule in {ATTEMPTS} draws; allow more transitions")


def _costs(accelerators: int, seed: int, instance: int, group: int) -> list[GroupCost]:
    draw = _stream(seed, 0, _GROUP, instance, group)
    base = _log_uniform(next(draw), TIME_MS)
    costs = []
    for a in range(accelerators):
        ratio = _uniform(next(draw), RATIO) if a else 1.0
        costs.append(GroupCost(round(base * ratio, _MS), round(_log_uniform(next(draw), DEMAND_GB_S), _GB_S)))
    return costs


def _lost(accelerators: int, seed: int, attempt: int, instance: int, group: int) -> int | None:
    """Return the accelerator that does not support the group, if there is one."""
    draw = _stream(seed, attempt, _SUPPORT, instance, group)
    if next(draw) >= UNSUPPORTED or accelerators == 1:
        return None
    return int(next(draw) * accelerators)


def _transitions(
    groups: tuple[tuple[GroupCost | None, ...], ...], seed: int, instance: int
) -> dict[tuple[int, int, int], tuple[float, float]]:
    found = {}
    for group in range(len(groups) - 1):
        draw = _stream(seed, 0, _TRANSITION, instance, group)
        pairs = ((i, j) for last in count() for other in range(last) for i, j in ((last, other), (other, last)))
        for source, destination in pairs:
            if max(source, destination) == len(groups[group]):
                break
            half = _uniform(next(draw), TRANSITION_SHARE) / 2
            here, there = groups[group][source], groups[group + 1][destination]
            if here is not None and there is not None:
                found[group, source, destination] = (
                    round(half * here.time_ms, _MS),
                    round(half * there.time_ms, _MS),
                )
    return found


def _grid(severity: float, seed: int, accelerator: int) -> Slowdown:
    """Return a grid that rises along both axes, from 1 without external demand to `severity` in its last entry."""
    draw = _stream(seed, 0, _GRID, accelerator)
    steps = np.array([[next(draw) for _ in GRID_EXTERNAL_GB_S[1:]] for _ in GRID_DEMAND_GB_S])
    rises = steps.cumsum(axis=0).cumsum(axis=1)
    shares = rises / rises[-1, -1]
    rows = tuple((1.0, *(round(1 + (severity - 1) * float(share), _FACTOR) for share in row)) for row in shares)
    return Slowdown(GRID_DEMAND_GB_S, GRID_EXTERNAL_GB_S, rows)


def _after(names: list[str], seed: int, instance: int) -> list[str]:
    draw = _stream(seed, 0, _AFTER, instance)
    return [name for name in names[:instance] if next(draw) < 0.5]


def write_files(problem: Problem, folder: Path) -> dict[str, Path]:
    """Write the tables, contention.json and workload.yaml of `problem`; return their paths by option name."""
    layers, transitions, emc = [], [], []
    for name, costs in problem.networks.items():
        for group, row in enumerate(costs.groups):
            for accelerator, cost in zip(problem.accelerators, row, strict=True):
                key = {"group": group, "accelerator": accelerator}
                span = {"first_layer": group, "last_layer": group, "supported": cost is not None}
                if cost is None:
                    layers.append({"network": name, **key, **span, "reason": "drawn as unsupported"})
                    continue
                layers.append({"network": name, **key, **span, "median_ms": cost.time_ms})
                emc.append({"name": name, **key, "demand_gb_s": cost.demand_gb_s, "method": "random"})
        for (group, source, destination), (out_ms, in_ms) in costs.transitions.items():
            ends = {"source": problem.accelerators[source], "destination": problem.accelerators[destination]}
            transitions.append({"network": name, "after_group": group, **ends, "out_ms": out_ms, "in_ms": in_ms})
    grids = {
        name: {"demand_gb_s": grid.demand, "external_gb_s": grid.external, "slowdown": grid.factor}
        for name, grid in zip(problem.accelerators, problem.slowdown, strict=True)
    }
    paths = {
        "layers": folder / "layer_results.csv",
        "transitions": folder / "transition_results.csv",
        "emc": folder / "emc_results.csv",
        "contention": folder / "contention.json",
        "workload": folder / "workload.yaml",
    }
    tables.write(paths["layers"], tables.LAYERS, layers)
    tables.write(paths["transitions"], tables.TRANSITIONS, transitions)
    tables.write(paths["emc"], tables.EMC, emc)
    write_json(paths["contention"], {"accelerators": grids})
    write_text(paths["workload"], yaml.safe_dump(problem.workload.to_dict(), sort_keys=False))
    return paths


def main() -> None:
    """Write one problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", required=True, help="instances x groups x accelerators, as 2x10x2")
    parser.add_argument("--transitions", type=int, required=True, help="allowed per instance, as given to the command")
    parser.add_argument("--severity", type=float, default=1.3, help="largest slowdown, 1.3 if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dependencies", action="store_true", help="let instances wait for each other")
    parser.add_argument("--objective", default="latency", help="latency or throughput")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    options = parser.parse_args()
    size = Size.parse(f"{options.size}K{options.transitions}")
    problem = random_problem(size, options.severity, options.seed, options.dependencies, options.objective)
    paths = write_files(problem, options.out)
    flags = " ".join(f"--{name} {path}" for name, path in paths.items())
    print(
        f"python -m multidnn.schedule {flags} --scheduler haxconn --max-transitions {size.transitions} "
        f"--out {options.out / 'haxconn.json'}"
    )


if __name__ == "__main__":
    with exit_on_input_error():
        main()
