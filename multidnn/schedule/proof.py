"""Z3's part in a run of haxconn: what it is told of the problem, and the bound it proves where the proof does not close."""

from collections.abc import Sequence
from time import monotonic
from typing import Literal

from multidnn.schedule.cubes import Cube
from multidnn.schedule.encoding import UNITS, Encoding, chain_forms, load_forms, price_form
from multidnn.schedule.limits import limits
from multidnn.schedule.lp import Bound
from multidnn.schedule.patterns import patterns
from multidnn.schedule.search_state import SearchState
from multidnn.schedule.timeline import Placement


class Proof:
    """The placements that are left, as Z3 knows them."""

    def __init__(self, state: SearchState, prices: Sequence[Bound]) -> None:
        """Every placement is left but those excluded; `prices` bound it as loads and chains do."""
        self._state = state
        # any scale is right; this one keeps the sums of Z3 short and the rounding small
        horizon = sum(pattern.chain for pattern in patterns(state.problem, state.incumbent.placement))
        self._encoding = Encoding(state.problem, state.max_transitions, horizon / UNITS)
        self._forms = chain_forms(state.problem) + load_forms(state.problem)
        self._forms += [
            price_form(state.problem, bound.work, bound.hold, None) for bound in prices if bound.order is None
        ]
        for placement in state.excluded:
            self._encoding.refute(placement, [len(groups) for groups in placement])

    def require(self, cost: float) -> None:
        """Demand what beating `cost` takes; out of time, fewer demands are as sound."""
        bounds = limits(self._state.objective, cost, self._state.earliest)
        for form in self._forms:
            if monotonic() > self._state.deadline:
                return
            self._encoding.require(form, bounds.of(form))

    def propose(self, seconds: float) -> Placement | Literal[False] | None:
        """A placement that is left, False if there is none (proved), None if time ran out."""
        return self._encoding.propose(seconds, self._state.stop)

    def refute(self, cube: Cube) -> None:
        """Learn that no placement of a cube beats the incumbent."""
        self._encoding.refute(cube.placement, cube.fixed)

    def raise_bound(self) -> None:
        """Bisect for the highest cost below which Z3 still proves that there is nothing."""
        state = self._state
        low, high = state.bound, state.cost
        while high - low > 1e-4 * abs(high) and not state.stop():
            middle = (low + high) / 2
            with self._encoding.attempt():
                self.require(middle)
                answer = self.propose((state.deadline - monotonic()) / 2)
            if answer is False:
                low = middle
            else:
                high = middle
            if monotonic() > state.deadline - 0.05:
                break
        state.bound = low
