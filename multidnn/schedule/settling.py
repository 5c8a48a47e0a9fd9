"""Settling what is open: compiled search over the patterns that could beat the incumbent, in slices of time.

Everything is tried as one cube, or a cube around a placement, whose size follows what the last ones took.
"""

import math
from collections.abc import Generator
from time import monotonic

import numpy as np

from multidnn.schedule.compiled.configurations import cheapest_pattern
from multidnn.schedule.compiled.engine import Found
from multidnn.schedule.cubes import Cube, Pool
from multidnn.schedule.pricing import Pricing
from multidnn.schedule.search_state import SearchState
from multidnn.schedule.timeline import Placement

SLICE_S = 0.1
"""Seconds that a compiled search may take in one go: the clock and Ctrl-C are looked at in between."""

FIRST_BUDGET = 1000
"""States of the first search, before its speed is known."""

LOST = 0.25
"""Of the time for everything at once: with nothing at all settled by then, there is no prospect."""

LEAST_EFFORT_S = 0.02
"""What a cube costs at least before its search begins: a proposal of Z3 and its clause."""

MOST_PATTERNS = 100_000
"""Of one instance; with more, they are not listed."""


class Settling:
    """The patterns of one run that are still open, and the searches that settle them."""

    def __init__(self, state: SearchState, pricing: Pricing, pool: Pool) -> None:
        """Begin with all of `pool` open."""
        self._state = state
        self._pricing = pricing
        self._pool = pool
        # groups that a cube fixes, and states that the search visits a second
        self._depth = 1
        self._speed = 0.0

    @classmethod
    def listing(cls, state: SearchState, pricing: Pricing) -> "Settling | None":
        """Begin with the patterns that could beat the incumbent; None if they are too many to list."""
        bounds = state.limits_now()
        tables, prices = state.engine.tables, state.engine.prices
        least = np.zeros((len(prices.members), len(tables.groups)))
        scratch = np.zeros(tables.time.shape[1], dtype=np.int64)
        for p in range(len(prices.members)):
            for i in state.instances():
                least[p, i] = cheapest_pattern(tables, i, state.limits[i], prices.work[p], prices.hold[p], scratch)
        choices = []
        for i in state.instances():
            most_worth = bounds.makespan - (least.sum(axis=1) - least[:, i])
            most_worth[prices.members < 0] = math.inf
            listed = state.engine.enumerate(
                i, int(state.limits[i]), most_worth, bounds.finish[i] - state.waiting[i], MOST_PATTERNS
            )
            if listed is None:
                return None
            choices.append(listed)
        settling = cls(state, pricing, Pool(state.engine, choices))
        settling.narrow()
        return settling

    def combinations(self) -> float:
        """How many placements the open patterns make."""
        return self._pool.combinations()

    def narrow(self) -> None:
        """Forget patterns that no schedule better than the incumbent contains."""
        self._pool.narrow(self._state.limits_now(), self._state.waiting)

    def everything(self) -> Cube:
        """The cube of all placements."""
        placement = self._state.incumbent.placement
        return Cube(placement, (0,) * len(placement))

    def settle_everything(self, seconds: float) -> Generator[Found, None, bool]:
        """Settle everything as one cube if that takes no longer than so; whether it did.

        What is settled of it leaves the pool either way.
        """
        until = monotonic() + seconds
        slices = 1
        everything = len(self._pool)
        while (left := until - monotonic()) > 0 and not self._state.over():
            size = len(self._pool)
            if size == everything and left < (1 - LOST) * seconds:
                return False
            if (yield from self._settle(self.everything(), self._slice(min(slices, left / SLICE_S)))):
                return True
            if len(self._pool) == size:
                # one pattern of the first instance takes longer
                slices *= 2
        return False

    def settle_around(self, placement: Placement) -> Generator[Found, None, Cube | None]:
        """Settle a cube around `placement`, as large as can be searched quickly; returns it, None if time ran out."""
        engine = self._state.engine
        counts = [len(groups) for groups in placement]
        total = sum(counts)
        root = engine.prices
        depth = max(1, min(self._depth, total))
        while not self._state.over():
            fixed = [0] * len(counts)
            left = depth
            for i in self._pool.level:
                fixed[i] = min(left, counts[i])
                left -= fixed[i]
            cube = Cube(placement, tuple(fixed))
            if depth == total:
                return (yield from self._settle_one(cube))
            begun = monotonic()
            prices = self._pricing.within(cube)
            priced = monotonic()
            effort = max(priced - begun, LEAST_EFFORT_S)
            if prices is None:
                self._depth = depth - 1
                return cube
            engine.use(prices)
            try:
                slices = 1
                while not self._state.over():
                    size = len(self._pool)
                    if (yield from self._settle(cube, self._slice(slices))):
                        searched = monotonic() - priced
                        # a few times as long for the search of a cube as for what comes before
                        if searched > 6 * effort:
                            self._depth = depth + 1
                        elif searched < effort:
                            self._depth = depth - 1
                        else:
                            self._depth = depth
                        return cube
                    if len(self._pool) == size:
                        slices *= 2
                    if monotonic() - priced > 20 * effort:
                        break
            finally:
                engine.use(root)
            depth += 1
        return None

    def _settle(self, cube: Cube, budget: int) -> Generator[Found, None, bool]:
        """Search a cube within the budget; returns whether it is settled."""
        state = self._state
        begun, before = monotonic(), state.engine.nodes
        found, settled = self._pool.settle(
            cube, state.limits_now(), state.waiting, state.excluded_groups, state.cost, budget
        )
        visited = state.engine.nodes - before
        if visited >= FIRST_BUDGET:
            self._speed = visited / max(monotonic() - begun, 1e-6)
        yield from state.better(found)
        return settled

    def _settle_one(self, cube: Cube) -> Generator[Found, None, Cube | None]:
        """Settle one placement: nothing smaller to go to, so only patience helps."""
        state = self._state
        slices = 1
        groups = state.engine.groups_of(cube.placement)
        while not state.over():
            # the speed is not known before the first search of a region
            found, settled = state.engine.order(groups, state.cost, max(self._slice(slices), slices * FIRST_BUDGET))
            yield from state.better(found)
            if settled:
                return cube
            slices *= 2
        return None

    def _slice(self, slices: float = 1) -> int:
        """States that take about so many times `SLICE_S`, or what time is left."""
        seconds = min(slices * SLICE_S, self._state.search_until - monotonic())
        return max(FIRST_BUDGET, int(self._speed * seconds))
