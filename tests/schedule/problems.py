"""Small scheduling problems for the tests: by hand, at random, and as the files a user has."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from multidnn import tables
from multidnn.schedule.problem import GroupCost, NetworkCosts, Problem
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.workload import Instance, Workload

FLAT = Slowdown((0.0,), (0.0,), ((1.0,),))


def problem(
    networks: Mapping[str, NetworkCosts],
    instances: Sequence[tuple[str, str, tuple[str, ...]]],
    slowdown: Sequence[Slowdown],
    objective: str = "latency",
) -> Problem:
    """A problem on accelerators named a, b, c, ...; instances are (name, network, after)."""
    workload = Workload("w", "latency", tuple(Instance(*entry) for entry in instances)).with_objective(objective)
    return Problem(workload, tuple("abcdef"[: len(slowdown)]), dict(networks), tuple(slowdown))


def network(
    times: Sequence[Sequence[float | None]], demand: float = 0.0, hold: tuple[float, float] = (0.0, 0.0)
) -> NetworkCosts:
    """Costs with one demand and one transition cost throughout; None is an unsupported group."""
    groups = tuple(tuple(None if ms is None else GroupCost(ms, demand) for ms in row) for row in times)
    count = len(times[0])
    moves = {
        (g, a, b): hold
        for g, a, b in product(range(len(times) - 1), range(count), range(count))
        if a != b and times[g][a] is not None and times[g + 1][b] is not None
    }
    return NetworkCosts(groups, moves)


# few distinct values, so that ties and zero times are frequent
TIMES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0.01, 2.0))
HOLDS = st.one_of(st.just(0.0), st.floats(0.0, 0.4))
DEMANDS = st.one_of(st.just(0.0), st.floats(0.0, 60.0))


def two_networks() -> Problem:
    """A network of three groups that may move, and one of a single group, on two accelerators."""
    grid = Slowdown((0.0,), (0.0, 10.0), ((1.0, 1.5),))
    return problem(
        {"x": network([[1.0, 2.0], [2.0, 1.0], [1.0, 1.5]], 8.0, (0.05, 0.05)), "y": network([[1.0, 1.25]], 2.0)},
        [("p", "x", ()), ("q", "y", ())],
        [grid, grid],
    )


def unprovable() -> Problem:
    """Two instances each of two networks of 14 groups on three accelerators: more than is proved within seconds."""
    times = [[0.1 + 0.37 * (g * 7 % 5), 0.2 + 0.29 * (g * 3 % 4), 0.15 + 0.31 * (g * 5 % 3)] for g in range(14)]
    return problem(
        {"x": network(times, 3.0, (0.02, 0.01)), "y": network(times[::-1], 2.0, (0.01, 0.03))},
        [("i0", "x", ()), ("i1", "x", ()), ("i2", "y", ()), ("i3", "y", ())],
        [Slowdown((0.0,), (0.0, 10.0), ((1.0, 1.5),))] * 3,
    )


@st.composite
def grids(draw: st.DrawFn) -> Slowdown:
    """A slowdown grid that docs/semantics.md rule 8 allows, up to a factor of about 4."""
    demand = tuple(sorted(draw(st.sets(st.floats(0.0, 60.0).map(lambda x: round(x, 2)), min_size=1, max_size=3))))
    external = (0.0, *sorted(draw(st.sets(st.floats(1.0, 90.0).map(lambda x: round(x, 2)), max_size=3))))
    rows = []
    for _ in demand:
        row = [1.0]
        for _ in external[1:]:
            row.append(row[-1] + draw(st.one_of(st.just(0.0), st.floats(0.0, 1.0))))
        rows.append(tuple(row))
    return Slowdown(demand, external, tuple(rows))


@st.composite
def problems(
    draw: st.DrawFn,
    groups: int = 3,
    instances: int = 2,
    accelerators: int = 2,
    objective: str | None = None,
    positive: bool = False,
) -> Problem:
    """Any problem up to the given sizes: unsupported groups, `after`, shared networks, zero times."""
    count = draw(st.integers(1, accelerators))
    times = st.floats(0.05, 2.0) if positive else TIMES
    networks = {}
    for name in ("x", "y"):
        rows = []
        for _ in range(draw(st.integers(1, groups))):
            row = [
                None if draw(st.integers(0, 7)) == 0 else GroupCost(draw(times), draw(DEMANDS)) for _ in range(count)
            ]
            if not any(row):
                row[draw(st.integers(0, count - 1))] = GroupCost(draw(times), draw(DEMANDS))
            rows.append(tuple(row))
        moves = {
            (g, a, b): (draw(HOLDS), draw(HOLDS))
            for g, a, b in product(range(len(rows) - 1), range(count), range(count))
            if a != b and rows[g][a] and rows[g + 1][b]
        }
        networks[name] = NetworkCosts(tuple(rows), moves)
    entries = []
    for i in range(draw(st.integers(1, instances))):
        after = tuple(f"i{j}" for j in range(i) if draw(st.integers(0, 3)) == 0)
        entries.append((f"i{i}", draw(st.sampled_from(["x", "y"])), after))
    if draw(st.booleans()):
        entries.reverse()
    chosen = objective or draw(st.sampled_from(["latency", "throughput"]))
    return problem(networks, entries, [draw(grids()) for _ in range(count)], chosen)


def write_files(built: Problem, folder: Path) -> dict[str, Path]:
    """Write the tables, contention.json and W.yaml of a problem; return their paths by option name."""
    layers: list[dict[str, Any]] = []
    transitions: list[dict[str, Any]] = []
    emc: list[dict[str, Any]] = []
    for name, costs in built.networks.items():
        for group, row in enumerate(costs.groups):
            for accelerator, cost in zip(built.accelerators, row, strict=True):
                key = {"group": group, "accelerator": accelerator}
                layer = {
                    "network": name,
                    **key,
                    "first_layer": group,
                    "last_layer": group,
                    "supported": cost is not None,
                }
                layers.append(layer | ({"median_ms": cost.time_ms} if cost else {"reason": "no"}))
                if cost:
                    emc.append({"name": name, **key, "demand_gb_s": cost.demand_gb_s, "method": "test"})
        for (group, source, destination), (out_ms, in_ms) in costs.transitions.items():
            ends = {"source": built.accelerators[source], "destination": built.accelerators[destination]}
            transitions.append({"network": name, "after_group": group, **ends, "out_ms": out_ms, "in_ms": in_ms})
    paths = {name: folder / f"{name}.csv" for name in ("layers", "transitions", "emc")}
    tables.write(paths["layers"], tables.LAYERS, layers)
    tables.write(paths["transitions"], tables.TRANSITIONS, transitions)
    tables.write(paths["emc"], tables.EMC, emc)
    contention = {
        name: {"demand_gb_s": grid.demand, "external_gb_s": grid.external, "slowdown": grid.factor}
        for name, grid in zip(built.accelerators, built.slowdown, strict=True)
    }
    paths["contention"] = folder / "contention.json"
    paths["contention"].write_text(json.dumps({"format": 1, "accelerators": contention}))
    paths["workload"] = folder / "workload.yaml"
    paths["workload"].write_text(yaml.safe_dump(built.workload.to_dict()))
    return paths
