"""Regions of the placement space: all placements that agree in some leading groups, and what of them is still open."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multidnn.schedule.compiled.engine import Engine, Found, Groups
from multidnn.schedule.compiled.packing import Ints
from multidnn.schedule.compiled.patterns import Patterns
from multidnn.schedule.limits import Limits
from multidnn.schedule.timeline import Placement


@dataclass(frozen=True)
class Cube:
    """Placements with the first fixed[i] groups of every instance i placed as in `placement`."""

    placement: Placement
    fixed: tuple[int, ...]

    def allows(self, i: int, groups: Groups) -> NDArray[np.bool_]:
        """Which patterns [P, G] of instance `i` it contains."""
        count = self.fixed[i]
        same: NDArray[np.bool_] = groups[:, :count] == np.array(self.placement[i][:count], dtype=np.int8)
        return np.asarray(same.all(axis=1))


class Pool:
    """The patterns of every instance that could be part of a better schedule.

    Attributes:
        level: instances in the order in which cubes fix them and searches choose them; the first is the pivot.
    """

    def __init__(self, engine: Engine, choices: Sequence[Groups]) -> None:
        """Take patterns [P_i, G] of every instance."""
        self._engine = engine
        self._groups = list(choices)
        self.level = self._by_number()

    def __len__(self) -> int:
        return sum(map(len, self._groups))

    def combinations(self) -> float:
        """How many placements the patterns make."""
        return math.prod(float(len(own)) for own in self._groups)

    def narrow(self, bounds: Limits, waiting: Sequence[float]) -> None:
        """Forget patterns that no schedule within `bounds` contains, instance i starting at waiting[i] ms at best."""
        patterns = self._engine.patterns_of(self._groups)
        self._groups = [patterns.groups[own] for own in self._narrowed(patterns, bounds, waiting)]
        self.level = self._by_number()

    def _by_number(self) -> Ints:
        # the fewer the pivot has, the more of the search is the innermost loop
        return np.argsort([len(own) for own in self._groups], kind="stable").astype(np.int64)

    def settle(
        self, cube: Cube, bounds: Limits, waiting: Sequence[float], excluded: Groups, cutoff: float, budget: int
    ) -> tuple[Found | None, bool]:
        """Search what is open of a cube for a cost below `cutoff`, with the engine's prices.

        Returns:
            What was found, and whether all of the cube is settled. What is settled of it will not be searched again.
        """
        patterns = self._engine.patterns_of([own[cube.allows(i, own)] for i, own in enumerate(self._groups)])
        members = self._narrowed(patterns, bounds, waiting)
        found, settled, through = self._engine.settle(patterns, members, self.level, excluded, cutoff, budget)
        pivot = int(self.level[0])
        if any(count for i, count in enumerate(cube.fixed) if i != pivot):
            return found, settled
        own = self._groups[pivot]
        if settled:
            # those that were narrowed away cannot win either
            self._groups[pivot] = own[~cube.allows(pivot, own)]
            return found, True
        if through == 0:
            return found, False
        done = patterns.groups[members[pivot][:through]]
        gone = (own[:, None, :] == done[None, :, :]).all(axis=2).any(axis=1) if len(done) * len(own) < 1e6 else None
        if gone is None:
            rows = {row.tobytes() for row in done}
            gone = np.array([row.tobytes() in rows for row in own])
        self._groups[pivot] = own[~gone]
        return found, False

    def _narrowed(self, patterns: Patterns, bounds: Limits, waiting: Sequence[float]) -> list[Ints]:
        """Per instance the indices of patterns that `bounds` allow beside the least of the others."""
        n = len(patterns.start) - 1
        members = [np.arange(patterns.start[i], patterns.start[i + 1], dtype=np.int64) for i in range(n)]
        if any(len(own) == 0 for own in members):
            return members
        loads = np.array([patterns.load[own].min(axis=0) for own in members])
        # others bound no single finish
        worth = patterns.worth[self._engine.prices.members >= 0]
        worths = np.array([worth[:, own].min(axis=1) for own in members])
        for i, own in enumerate(members):
            keep = waiting[i] + patterns.chain[own] < bounds.finish[i]
            keep &= (patterns.load[own] + (loads.sum(axis=0) - loads[i]) < bounds.makespan).all(axis=1)
            keep &= (worth[:, own].T + (worths.sum(axis=0) - worths[i]) < bounds.makespan).all(axis=1)
            members[i] = own[keep]
        return members
