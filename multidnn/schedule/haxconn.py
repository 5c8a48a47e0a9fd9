"""haxconn: the best placement and order under contention, with Z3 closing the proof.

Source: HaX-CoNN (PPoPP 2024), on the model of docs/semantics.md instead of the artifact's simplified one.

Z3 decides which placements remain: Booleans say which accelerator each group takes, pseudo-Boolean constraints say what
any better schedule must keep to (loads, chains, the worth in dual prices of the configuration LP). It proposes a
placement that they allow. Compiled search then answers for the largest region around it that its budget permits: all
placements that agree with the proposal in the leading groups of some instances. Whatever is better there becomes the
incumbent; the region is then known to hold nothing better, and Z3 learns that as one clause. When Z3 finds no
further placement (`unsat`), nothing can beat the incumbent, because every constraint it holds is a bound on all
schedules or a region that has been searched. The first region tried is everything, for about as long as the prices take.

This module is the strategy, what is tried in which order and for how long: first incumbents (`starting`), prices
(`pricing`), compiled search over what is open (`settling`), beam search (`beams`), Z3 (`proof`). What they know of the
problem and have found together is a `search_state.SearchState`.
"""

import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from time import monotonic

from multidnn.schedule.beams import Beams, beams_only
from multidnn.schedule.compiled.engine import Found
from multidnn.schedule.lp import rows
from multidnn.schedule.pricing import Pricing
from multidnn.schedule.problem import Problem
from multidnn.schedule.proof import Proof
from multidnn.schedule.search_state import SearchState
from multidnn.schedule.settling import Settling
from multidnn.schedule.starting import anneal, take_starts
from multidnn.schedule.timeline import Order, Placement

QUICK_S = 0.0004
"""For each row of each linear program, of a first try to settle everything without them: about what they would take."""

QUICK_SHARE = 0.25
"""Of the time left, for that first try at most."""

PRICED_QUICK = 1.0
"""Seconds of a second try, with prices, for each second that the linear programs took."""

MOST_COMBINATIONS = 1e10
"""Of patterns: with more, proving cube by cube has no prospect within any time limit, and beams get all of it."""

FIRST_BEAMS_S = 0.1
"""Of beam search before the proof begins: a better schedule makes every cube smaller."""

PATIENCE_S = 0.2
"""With a proposal of Z3, at first: then the search has as long for everything that is open, and both have twice as long."""

BEAMS = 0.25
"""Seconds of beam search for each second of proving, on the whole: one stretch may take longer than one cube earns."""

BOUND_SHARE = 0.1
"""What is left of the time limit for raising the bound when the proof does not close."""


class HaxConn:
    """One solving run: `improve` yields better and better schedules; then `bound` is what nothing can beat."""

    def __init__(
        self,
        problem: Problem,
        max_transitions: int | None,
        deadline: float,
        exclude: Collection[Placement] = (),
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare a run that ends at `deadline` (monotonic seconds) or when `stop()` says so.

        It is as if the placements `exclude` were not allowed; the bound holds for the others.

        Raises:
            Infeasible: no placement keeps to `max_transitions`, or every one is excluded.
        """
        search_until = deadline - BOUND_SHARE * (deadline - monotonic())
        self._state = SearchState(problem, max_transitions, exclude, deadline, search_until, stop)
        self._pricing = Pricing(self._state)

    @property
    def best(self) -> Found | None:
        """The best schedule so far."""
        return self._state.best

    @property
    def bound(self) -> float:
        """A proved lower bound on the cost; equal to the cost of `best` if that is optimal."""
        return self._state.bound

    def improve(self, starts: Iterable[tuple[Placement, Order] | None]) -> Iterator[Found]:
        """Search from the schedules `starts`, to the proof, the deadline or Ctrl-C, and yield each better schedule.

        Where a start is missing or not allowed, any schedule is there at once.

        Ctrl-C ends the search as the deadline does: the best so far is a schedule, and what is proved holds.
        """
        try:
            yield from take_starts(self._state, starts)
            yield from self._search()
        except KeyboardInterrupt:
            if self.best is None:
                raise

    def _search(self) -> Iterator[Found]:
        state, pricing = self._state, self._pricing
        yield from anneal(state)
        settling = yield from self._settle_or_price()
        if settling is None or settling.combinations() > MOST_COMBINATIONS:
            yield from beams_only(state)
            return
        beams = Beams(state)
        if pricing.bounds and settling.combinations() and not state.closed():
            yield from beams.follow(FIRST_BEAMS_S)
        proof = Proof(state, pricing.bounds)
        if (yield from self._prove(proof, settling, beams)):
            state.bound = state.cost
        elif not state.closed() and math.isfinite(state.bound):
            proof.raise_bound()

    def _settle_or_price(self) -> Generator[Found, None, Settling | None]:
        """Try to settle everything at once, with prices only where that takes long; returns what is left open.

        None if that is more than can be listed.
        """
        state, pricing = self._state, self._pricing
        settling = Settling.listing(state, pricing)
        if state.closed():
            return settling
        programs = pricing.programs()
        seconds = QUICK_S * rows(state.engine.tables) * max(1, len(programs))
        seconds = min(seconds, QUICK_SHARE * (state.search_until - monotonic()))
        if settling is not None and (yield from settling.settle_everything(seconds)):
            return settling
        begun = monotonic()
        pricing.solve(programs)
        if settling is None:
            # with prices there may be few enough to list
            settling = Settling.listing(state, pricing)
        elif pricing.bounds:
            settling.narrow()
        if (
            settling is not None
            and settling.combinations() <= MOST_COMBINATIONS
            and pricing.bounds
            and not state.closed()
        ):
            yield from settling.settle_everything(PRICED_QUICK * (monotonic() - begun))
        return settling

    def _prove(self, proof: Proof, settling: Settling, beams: Beams) -> Generator[Found, None, bool]:
        """Let Z3 propose and the search settle until nothing is left; returns whether that was reached in time."""
        state = self._state
        level = math.inf
        patience = PATIENCE_S
        while True:
            if state.cost < level:
                level = state.cost
                proof.require(level)
                settling.narrow()
            if not settling.combinations():
                # no placement is open, so the cube of all of them is settled
                proof.refute(settling.everything())
            proposed = proof.propose(min(patience, state.search_until - monotonic()))
            if proposed is False:
                return True
            if state.over():
                return False
            begun = monotonic()
            if proposed is None:
                # what is hard for Z3 may be easy for the search
                yield from settling.settle_everything(patience)
                patience *= 2
                continue
            cube = yield from settling.settle_around(proposed)
            if cube is None:
                return False
            proof.refute(cube)
            yield from beams.follow((monotonic() - begun) * BEAMS)
