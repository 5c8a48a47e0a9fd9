"""The compiled searches as Python calls on one problem: evaluate, order, enumerate, settle a region, improve locally."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled import beam, local, orders, regions, timeline
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables, no_prices, tables_of, work_for
from multidnn.schedule.compiled.partial import ToGo
from multidnn.schedule.compiled.patterns import Patterns, enumerate_patterns, measure_all
from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Order, Placement, segments_of

Groups = NDArray[np.int8]
"""[n, G] accelerator of each group; rows of shorter networks are filled up with 0."""


@dataclass(frozen=True)
class Found:
    """A schedule of the given cost."""

    cost: float
    placement: Placement
    order: Order


class Engine:
    """Compiled searches with their memory; one thread at a time may use it.

    Attributes:
        tables: the problem, flat.
        prices: bounds that the searches use; set by `use`.
        nodes: states visited so far.
        cost: of the best schedule that a search was given or found is kept by the caller, not here.
    """

    def __init__(self, problem: Problem, tables: Tables | None = None) -> None:
        self.tables = tables_of(problem) if tables is None else tables
        self.nodes = 0
        self._state = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)
        self.use(no_prices(self.tables))

    def use(self, prices: Prices) -> None:
        """Bound all searches from now on by `prices`."""
        self.prices = prices
        self.work = work_for(self.tables, prices)

    def groups_of(self, placement: Sequence[Sequence[int]]) -> Groups:
        """The placement as an array."""
        groups = np.zeros(self.tables.time.shape[:2], dtype=np.int8)
        for i, row in enumerate(placement):
            groups[i, : len(row)] = row
        return groups

    def placement_of(self, groups: Groups) -> Placement:
        """The array as a placement."""
        return tuple(tuple(map(int, row[:count])) for row, count in zip(groups, self.tables.groups, strict=True))

    def order(self, groups: Groups, cutoff: float, budget: int) -> tuple[Found | None, bool]:
        """The best order of a placement if it beats `cutoff`, and whether the search was through."""
        for i in range(len(groups)):
            timeline.place(self.tables, self.prices, self.work, i, groups[i])
        cost, nodes, settled = orders.best_order(self.tables, self.prices, self.work, groups, cutoff, budget)
        self.nodes += nodes
        return self._found(cost, cutoff, groups), settled

    def settle(
        self,
        patterns: Patterns,
        members: Sequence[Ints],
        level: Ints,
        excluded: Groups,
        cutoff: float,
        budget: int,
    ) -> tuple[Found | None, bool, int]:
        """Search the combinations of `members` (indices into `patterns`, per instance); see `regions.search_region`.

        Returns:
            What beats `cutoff`, whether all is settled, and how many members of instance level[0] are.
        """
        starts = np.cumsum([0, *map(len, members)])
        best = np.zeros(self.tables.time.shape[:2], dtype=np.int8)
        through = np.zeros(1, dtype=np.int64)
        cost, nodes, settled = regions.search_region(
            self.tables, self.prices, self.work, patterns, np.concatenate(members), starts, level, excluded,
            cutoff, budget, best, through,
        )  # fmt: skip
        self.nodes += nodes
        return self._found(cost, cutoff, best), settled, int(through[0])

    def anneal(
        self,
        groups: Groups,
        keys: Floats,
        cutoff: float,
        limits: Ints,
        excluded: Groups,
        hot: float,
        cold: float,
        steps: int,
    ) -> tuple[float, Found | None]:
        """Annealing from `groups` and `keys`, which it changes; see `local.anneal`. Returns its last cost and what beat `cutoff`."""
        best = np.zeros_like(groups)
        cost, found = local.anneal(
            self.tables, self.prices, self.work, limits, groups, keys, np.inf, excluded, hot, cold, steps, self._state,
            best, cutoff,
        )  # fmt: skip
        return cost, self._found(found, cutoff, best)

    def run_beam(
        self,
        tables: Tables,
        go: ToGo,
        memory: beam.Beam,
        horizon: float,
        idle: bool,
        noise: float,
        excluded: Groups,
        cutoff: float,
        level: float,
        budget: int,
    ) -> tuple[Found | None, bool]:
        """What beat `cutoff` in a stretch of beam search, and whether it is through; see `beam.run_beam`."""
        best = np.zeros(self.tables.time.shape[:2], dtype=np.int8)
        cost, through = beam.run_beam(
            tables, self.prices, self.work, go, memory, horizon, idle, noise, self._state, excluded, cutoff,
            level, budget, best,
        )  # fmt: skip
        return self._found(cost, cutoff, best), through

    def enumerate(self, i: int, limit: int, most_worth: Floats, most_chain: float, most: int) -> Groups | None:
        """The patterns of an instance that the bounds allow, None if there are more than `most`."""
        found, count = enumerate_patterns(self.tables, self.prices, i, limit, most_worth, most_chain, most)
        return None if count < 0 else found

    def patterns_of(self, choices: Sequence[Groups]) -> Patterns:
        """Measure patterns [P_i, G] of every instance and sort them by key.

        The key is the worth in the first price, or without prices the mean load: an accelerator's is at least that.
        """
        parts = []
        for i, groups in enumerate(choices):
            chain = np.zeros(len(groups))
            load = np.zeros((len(groups), self.tables.time.shape[2]))
            worth = np.zeros((len(groups), len(self.prices.members)))
            measure_all(self.tables, self.prices, i, groups, chain, load, worth)
            key = worth[:, 0] if worth.shape[1] else load.mean(axis=1)
            rank = np.argsort(key, kind="stable")
            parts.append((groups[rank], chain[rank], load[rank], worth[rank].T, key[rank]))
        joined = (
            np.ascontiguousarray(np.concatenate([part[k] for part in parts], axis=-1 if k == 3 else 0))
            for k in range(5)
        )
        return Patterns(np.cumsum([0, *(len(part[0]) for part in parts)]), *joined)

    def _found(self, cost: float, cutoff: float, groups: Groups) -> Found | None:
        if not cost < cutoff:
            return None
        placement = self.placement_of(groups)
        waiting = [list(segments_of(row)) for row in placement]
        order: list[tuple[tuple[int, int, int], ...]] = []
        for a, count in enumerate(self.work.best_count):
            turns = []
            for i in map(int, self.work.best_turn[a, :count]):
                # an instance's segments on one accelerator come in the order of its groups
                k = next(k for k, (first, _) in enumerate(waiting[i]) if placement[i][first] == a)
                turns.append((i, *waiting[i].pop(k)))
            order.append(tuple(turns))
        return Found(cost, placement, tuple(order))
