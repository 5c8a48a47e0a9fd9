"""The dual prices of a run of haxconn: which linear programs repay, their solution, and prices for a cube alone."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from multidnn.schedule.compiled.packing import Floats, Prices
from multidnn.schedule.costs import below
from multidnn.schedule.cubes import Cube
from multidnn.schedule.lp import Bound, Program, configurations, prices_of, solve_bound
from multidnn.schedule.search_state import SearchState
from multidnn.schedule.timeline import simulate

MOST_CONFIGURATIONS = 3_000_000
"""Beyond this, no prices: their check alone would take seconds a round."""

MOST_SUBSETS = 4
"""Instances up to which the throughput is bounded by when the last of each subset finishes."""

MOST_ORDERS = 2
"""Instances up to which it is bounded in every order of finishing, with as many linear programs each as `LEANINGS`;
with three, there are too many of them to repay."""

LEANINGS = (1.0, 0.4, 2.0)
"""How the weights of later finishes are changed from one linear program to the next."""


class Pricing:
    """Prices of one run.

    Attributes:
        bounds: what the linear programs gave; empty before `solve`, or where there are no prices.
    """

    def __init__(self, state: SearchState) -> None:
        """Solve nothing yet."""
        self._state = state
        self.bounds: list[Bound] = []

    def programs(self) -> list[Program]:
        """The linear programs whose prices repay."""
        tables = self._state.engine.tables
        n = len(tables.groups)
        everyone = (1 << n) - 1
        if n == 1 or configurations(tables, everyone) > MOST_CONFIGURATIONS:
            return []
        programs = [Program(everyone)]
        throughput = self._state.objective == "throughput"
        if throughput and 2 < n <= MOST_SUBSETS:
            programs += [Program(members) for members in range(3, everyone) if members.bit_count() > 1]
        if throughput and n <= MOST_ORDERS:
            programs += [
                Program(everyone, np.array(order), weight)
                for order in self._orders()
                for weight in self._weights(order)
            ]
        return programs

    def solve(self, programs: Sequence[Program]) -> None:
        """Solve the linear programs, and let their prices bound everything from here on."""
        state = self._state
        start = [state.engine.groups_of(state.incumbent.placement).astype(np.int64)]
        for program in programs:
            # one bound is there at once, in however little time
            if self.bounds and state.over():
                break
            self.bounds.append(
                solve_bound(
                    state.engine.tables, state.limits, program.members, start, state.over, program.order, program.weight
                )
            )
        if len(self.bounds) < len(programs):
            # an order without prices would have to count as unbounded, so it is all or none
            self.bounds = [bound for bound in self.bounds if bound.order is None]
        if self.bounds:
            state.engine.use(prices_of(self.bounds))
            if state.objective == "latency":
                state.bound = max(state.bound, max(bound.makespan_ms for bound in self.bounds))

    def within(self, cube: Cube) -> Prices | None:
        """Prices for the placements of a cube only; None if they show that it holds nothing better."""
        state = self._state
        if state.objective != "latency" or not self.bounds:
            return state.engine.prices
        tables = state.engine.tables
        time = tables.time.copy()
        for i, count in enumerate(cube.fixed):
            for g in range(count):
                kept = time[i, g, cube.placement[i][g]]
                time[i, g] = np.inf
                time[i, g, cube.placement[i][g]] = kept
        start = state.engine.groups_of(cube.placement).astype(np.int64)
        everyone = (1 << len(cube.placement)) - 1
        bound = solve_bound(tables._replace(time=time), state.limits, everyone, [start], state.over)
        return None if bound.makespan_ms >= below(state.cost) else prices_of([bound])

    def _orders(self) -> Iterator[tuple[int, ...]]:
        """Every order in which the instances may finish."""
        waits = self._state.problem.workload.predecessors()
        for order in permutations(self._state.instances()):
            if all(order.index(j) < order.index(i) for i in order for j in waits[i]):
                yield order

    def _weights(self, order: Sequence[int]) -> Iterator[Floats]:
        """Weights [n] of the finishes, first as the throughput changes with each at the incumbent, then leaning."""
        best = self._state.incumbent
        finish = sorted(simulate(self._state.problem, best.placement, best.order).finish_ms.values())
        for lean in LEANINGS:
            weight = np.zeros(len(order))
            for k, i in enumerate(order):
                weight[i] = (finish[0] / finish[k]) ** 2 * lean**k
            yield weight
