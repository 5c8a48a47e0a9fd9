"""The scheduling problem: a workload with every number the schedulers need, read from the tables and checked."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multidnn import tables
from multidnn.errors import InputError, suggestion
from multidnn.files import read_json
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.workload import Workload

LONGEST_MS = 1e9
"""The longest time a table may hold, eleven days; more is a mistake in it."""


class Infeasible(InputError):  # noqa: N818 - the name says what is the case
    """No schedule of the kind asked for exists; the message is the reason, fit for the summary."""


@dataclass(frozen=True)
class GroupCost:
    """One group alone on one accelerator: standalone time in ms and memory demand in GB/s."""

    time_ms: float
    demand_gb_s: float


@dataclass(frozen=True)
class NetworkCosts:
    """What the tables say of one network.

    Attributes:
        groups: per group, per accelerator (in the order of `Problem.accelerators`), its cost, None if unsupported.
        transitions: (after_group, source, destination), accelerators by index -> (out_ms, in_ms).
    """

    groups: tuple[tuple[GroupCost | None, ...], ...]
    transitions: dict[tuple[int, int, int], tuple[float, float]]


@dataclass(frozen=True)
class Problem:
    """A workload on a set of accelerators (docs/semantics.md); instances and accelerators are indexed in order."""

    workload: Workload
    accelerators: tuple[str, ...]
    networks: dict[str, NetworkCosts]
    slowdown: tuple[Slowdown, ...]

    @property
    def instances(self) -> tuple[str, ...]:
        """Instance names in the workload's order."""
        return tuple(instance.name for instance in self.workload.instances)

    def costs(self, instance: int) -> NetworkCosts:
        """The costs of the network that instance number `instance` runs."""
        return self.networks[self.workload.instances[instance].network]

    def with_objective(self, objective: str) -> "Problem":
        """The same problem under another objective."""
        return replace(self, workload=self.workload.with_objective(objective))

    @classmethod
    def from_files(
        cls,
        layers: Path,
        transitions: Path,
        emc: Path,
        contention: Path,
        workload: Workload,
        variant: str | None = None,
    ) -> "Problem":
        """Read the tables of docs/formats.md and keep what `workload` needs.

        Args:
            variant: of tables that join variants (splits of one chip), the one whose accelerators are meant.

        Raises:
            InputError: a file cannot be read, a row, demand or slowdown grid that is needed is missing or not
                allowed, a group has no accelerator, or the tables join variants and none is named; the message names
                the file and the row.
        """
        layer_rows = tables.read(layers, tables.LAYERS)
        own = _of_variant(contention, variant)
        transition_rows = tables.read(transitions, tables.TRANSITIONS)
        emc_rows = tables.read(emc, tables.EMC)
        require_times(layers, layer_rows, "median_ms")
        require_times(transitions, transition_rows, "out_ms", "in_ms")
        mine = [row for row in layer_rows if own is None or row["accelerator"] in own]
        accelerators = tuple(dict.fromkeys(row["accelerator"] for row in mine))
        demands = {(row["name"], row["group"], row["accelerator"]): row["demand_gb_s"] for row in emc_rows}
        holds = {
            (row["network"], row["after_group"], row["source"], row["destination"]): (row["out_ms"], row["in_ms"])
            for row in transition_rows
        }
        _require_networks(workload, layers, mine, transitions, transition_rows, emc, emc_rows)
        networks = {}
        for network in workload.networks:
            groups = _groups(network, accelerators, layer_rows, layers, demands, emc)
            networks[network] = NetworkCosts(groups, _transitions(network, accelerators, groups, holds, transitions))
        return cls(workload, accelerators, networks, read_contention(contention, accelerators))

    @classmethod
    def by_target(
        cls, layers: Path, transitions: Path, emc: Path, contention: Path, workload: Workload, target: str
    ) -> dict[str, "Problem"]:
        """Return the problem by what a schedule made from these tables of `target` names as its target: `target`, or
        each variant where the tables join variants. See `from_files`."""
        files = (layers, transitions, emc, contention, workload)
        variants = read_variants(contention)
        if not variants:
            return {target: cls.from_files(*files)}
        return {variant: cls.from_files(*files, variant) for variant in variants}


def read_variants(contention: Path) -> dict[str, tuple[str, ...]]:
    """Return the accelerators by variant of a contention.json that joins variants; empty for any other."""
    variants = read_json(contention).get("variants", {})
    if not isinstance(variants, dict) or not all(
        isinstance(names, list) and names and all(isinstance(name, str) for name in names)
        for names in variants.values()
    ):
        raise InputError(f"{contention}: variants: expected a mapping of names to lists of accelerators")
    return {name: tuple(names) for name, names in variants.items()}


def _of_variant(contention: Path, variant: str | None) -> tuple[str, ...] | None:
    """The accelerators of `variant`; None for tables of one split."""
    variants = read_variants(contention)
    if variant is None and not variants:
        return None
    listed = ", ".join(f"{name} ({', '.join(names)})" for name, names in variants.items())
    if variant is None:
        raise InputError(
            f"{contention}: these tables join variants of one chip, {listed}, whose accelerators never run together; "
            "schedule on the tables of one of them, in its own folder of results"
        )
    if variant not in variants:
        raise InputError(
            f"{contention}: there is no variant {variant!r}, found {listed or 'none'}" + suggestion(variant, variants)
        )
    return variants[variant]


def read_contention(path: Path, accelerators: tuple[str, ...]) -> tuple[Slowdown, ...]:
    """Read contention.json and return the grids of `accelerators`, in that order."""
    entries = read_json(path).get("accelerators")
    if not isinstance(entries, dict):
        raise InputError(f"{path}: the key 'accelerators' is missing, expected a mapping of names to slowdown grids")
    # also those that nobody asks for here: a broken file is broken for everyone
    grids = {name: Slowdown.from_dict(entry, f"{path}: accelerators.{name}") for name, entry in entries.items()}
    for name in accelerators:
        if name not in entries:
            raise InputError(
                f"{path}: accelerators: no grid for {name!r}, found {', '.join(entries) or 'none'}"
                + suggestion(name, entries)
            )
    return tuple(grids[name] for name in accelerators)


def require_times(path: Path, rows: list[tables.Row], *columns: str) -> None:
    """Raise an `InputError` at the first time above `LONGEST_MS`; sums of such times would not be finite."""
    # the header is line 1
    for line, row in enumerate(rows, 2):
        for column in columns:
            if row[column] is not None and row[column] > LONGEST_MS:
                raise InputError(f"{path}:{line}, column {column}: found {row[column]:g}, at most {LONGEST_MS:g} ms")


def _require_networks(
    workload: Workload,
    layers: Path,
    layer_rows: list[tables.Row],
    transitions: Path,
    transition_rows: list[tables.Row],
    emc: Path,
    emc_rows: list[tables.Row],
) -> None:
    """Say at once which tables know nothing of a network, before any single row is missed."""
    profiled = {row["network"] for row in layer_rows}
    moved = {row["network"] for row in transition_rows}
    measured = {row["name"] for row in emc_rows if row["group"] is not None}
    complete = sorted(name for name in profiled & measured if name in moved or not _can_move(name, layer_rows))
    for instance in workload.instances:
        network = instance.network
        lacking = []
        if network not in profiled:
            lacking.append(f"layers {layers}")
        if network not in moved and (network not in profiled or _can_move(network, layer_rows)):
            lacking.append(f"transitions {transitions}")
        if network not in measured:
            lacking.append(f"emc {emc}")
        if lacking:
            raise InputError(
                f"workload {workload.name}, instance {instance.name!r}: network {network!r} has no rows in "
                f"{', '.join(lacking)}; networks found in every table: {', '.join(complete) or 'none'}"
                + suggestion(network, complete)
            )


def _can_move(network: str, layer_rows: list[tables.Row]) -> bool:
    """Whether a group and the next one are supported on two different accelerators, so that a transition exists."""
    where: dict[int, set[str]] = {}
    for row in layer_rows:
        if row["network"] == network and row["supported"]:
            where.setdefault(row["group"], set()).add(row["accelerator"])
    return any(
        source != destination
        for group in where
        for source in where[group]
        for destination in where.get(group + 1, set())
    )


def _groups(
    network: str,
    accelerators: tuple[str, ...],
    rows: list[tables.Row],
    layers: Path,
    demands: dict[tuple[str, Any, str], float | None],
    emc: Path,
) -> tuple[tuple[GroupCost | None, ...], ...]:
    # the header is line 1
    lines = {
        (row["group"], row["accelerator"]): (line, row) for line, row in enumerate(rows, 2) if row["network"] == network
    }
    count = 1 + max(group for group, _ in lines)
    groups = []
    for group in range(count):
        costs: list[GroupCost | None] = []
        for accelerator in accelerators:
            if (group, accelerator) not in lines:
                raise InputError(f"{layers}: no row for network {network}, group {group}, accelerator {accelerator}")
            line, row = lines[group, accelerator]
            time = row["median_ms"]
            if not row["supported"]:
                if time is not None:
                    raise InputError(f"{layers}:{line}: supported is false but median_ms is {time}, expected empty")
                costs.append(None)
                continue
            if time is None:
                raise InputError(f"{layers}:{line}: supported is true but median_ms is empty")
            demand = demands.get((network, group, accelerator))
            if demand is None:
                raise InputError(
                    f"{emc}: no demand_gb_s for name {network}, group {group}, accelerator {accelerator}, "
                    f"which {layers}:{line} says is supported"
                )
            costs.append(GroupCost(time, demand))
        if not any(costs):
            raise InputError(f"{layers}: no accelerator supports group {group} of network {network}")
        groups.append(tuple(costs))
    return tuple(groups)


def _transitions(
    network: str,
    accelerators: tuple[str, ...],
    groups: tuple[tuple[GroupCost | None, ...], ...],
    holds: dict[tuple[str, int, str, str], tuple[float, float]],
    transitions: Path,
) -> dict[tuple[int, int, int], tuple[float, float]]:
    needed = {}
    for group in range(len(groups) - 1):
        for i, source in enumerate(accelerators):
            for j, destination in enumerate(accelerators):
                if i == j or groups[group][i] is None or groups[group + 1][j] is None:
                    continue
                cost = holds.get((network, group, source, destination))
                if cost is None:
                    raise InputError(
                        f"{transitions}: no row for network {network}, after_group {group}, "
                        f"source {source}, destination {destination}"
                    )
                needed[group, i, j] = cost
    return needed


def value_of(objective: str, finish_ms: tuple[float, ...]) -> float:
    """The objective's value of these finish times: ms for latency, 1/s for throughput (docs/semantics.md rule 7)."""
    if objective == "latency":
        return max(finish_ms)
    return math.inf if min(finish_ms) <= 0 else sum(1000 / finish for finish in finish_ms)
