"""haxconn: the best placement and order under contention, with Z3 closing the proof.

Source: HaX-CoNN (PPoPP 2024), on the model of docs/semantics.md instead of the artifact's simplified one.

Z3 decides placements: it proposes one whose loads and chains could still beat the incumbent. A sweep then answers
for a whole region around it: one instance, the pivot, takes every placement it may while the others stay, and the
order search finds the best order of each by the simulator. What is better becomes the incumbent; either way the
region is settled, and Z3 learns that. When Z3 finds no further placement (`unsat`), nothing can beat the
incumbent, because every constraint it holds is a bound on all schedules or a region that has been searched.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic

from multidnn.schedule.encoding import UNITS, Encoding, Form, chain_forms, load_forms
from multidnn.schedule.exhaustive import lazy_product
from multidnn.schedule.limits import earliest_finishes, limits
from multidnn.schedule.orders import CHECK_NODES, HURRIED_NODES, OrderSearch, below, cost_of
from multidnn.schedule.patterns import Pattern, count_placements, pattern_of, patterns, placements_of
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.timeline import Order, Placement, simulate

# placements of one instance that a sweep tries at most; with more, it tries those with few transitions
SWEEP_LIMIT = 50_000
# what is left of the time limit for raising the bound when the proof does not close
BOUND_SHARE = 0.15


@dataclass
class Incumbent:
    """The best schedule so far; `cost` is its value, negated for throughput."""

    cost: float
    placement: Placement
    order: Order


class HaxConn:
    """One solving run; `solve` returns the incumbent and the proved lower bound on the cost."""

    def __init__(
        self,
        problem: Problem,
        max_transitions: int | None,
        deadline: float,
        improved: Callable[[Incumbent], None],
        exclude: Collection[Placement] = (),
    ) -> None:
        """Prepare a run that stops at `deadline` (monotonic seconds) and calls `improved` at each better schedule.

        It is as if the placements `exclude` were not allowed; the bound holds for the others.
        """
        self._problem = problem
        self._limit = max_transitions
        self._started = monotonic()
        self._deadline = deadline
        # the search leaves some of the time for the bound
        self._stop = deadline - BOUND_SHARE * (deadline - self._started)
        self._improved = improved
        self._excluded = frozenset(exclude)
        self._search = OrderSearch(problem, self._stop)
        self._settled: list[tuple[tuple[int, ...], Placement]] = []
        self._best: Incumbent | None = None
        self._choices: dict[str, tuple[list[Pattern], bool]] = {}

    def solve(self, starts: Sequence[tuple[Placement, Order]]) -> tuple[Incumbent, float]:
        """Search from the schedules `starts`, to the proof or the deadline.

        Raises:
            Infeasible: no placement keeps to `max_transitions`, or every one is excluded.
        """
        earliest = earliest_finishes(self._problem, self._limit)
        for i, end in enumerate(earliest):
            if end == math.inf:
                raise Infeasible(f"{self._problem.instances[i]} needs more than {self._limit} transitions")
        for placement, order in starts:
            if placement in self._excluded:
                continue
            value = simulate(self._problem, placement, order).value(self._problem.workload.objective)
            self._better(cost_of(self._problem.workload.objective, value), placement, order)
        if self._best is None:
            self._try(patterns(self._problem, self._any_placement()))
        assert self._best is not None, "without a cutoff some order is found"
        proved = self._least_cost(earliest)
        try:
            # a good incumbent first, so that the full searches are cut early
            self._search.budget = HURRIED_NODES
            self._descend(self._instances())
            self._search.budget = math.inf
            self._descend(self._instances())
            if self._best.cost <= proved:
                return self._best, self._best.cost
            # any scale is right; this one keeps the sums of Z3 short and the rounding small
            horizon = sum(pattern.chain for pattern in patterns(self._problem, self._best.placement))
            encoding = Encoding(self._problem, self._limit, horizon / UNITS)
            forms = chain_forms(self._problem) + load_forms(self._problem)
            if self._prove(encoding, forms, earliest):
                return self._best, self._best.cost
            if math.isfinite(proved):
                proved = self._raise_bound(encoding, forms, earliest, proved)
        except KeyboardInterrupt:
            # the best so far is still a schedule, and what was proved still holds
            pass
        return self._best, proved

    def _any_placement(self) -> Placement:
        choices = [partial(placements_of, self._problem.costs(i), self._limit) for i in self._instances()]
        found = next((placement for placement in lazy_product(choices) if placement not in self._excluded), None)
        if found is None:
            raise Infeasible("there is no other placement")
        return found

    def _out_of_time(self) -> bool:
        return monotonic() > self._stop

    def _instances(self) -> range:
        return range(len(self._problem.instances))

    def _least_cost(self, earliest: tuple[float, ...]) -> float:
        if self._problem.workload.objective == "latency":
            return max(earliest)
        return -sum(1000 / end if end > 0 else math.inf for end in earliest)

    def _try(self, chosen: Sequence[Pattern]) -> bool:
        """Find the placement's best order if it beats the incumbent, and make it the incumbent."""
        groups = tuple(pattern.groups for pattern in chosen)
        if groups in self._excluded:
            return False
        found = self._search.best(chosen, math.inf if self._best is None else self._best.cost)
        if found is None:
            return False
        return self._better(found[0], groups, found[1])

    def _better(self, cost: float, placement: Placement, order: Order) -> bool:
        """Make this the incumbent if it beats it."""
        if self._best is not None and cost >= below(self._best.cost):
            return False
        self._best = Incumbent(cost, placement, order)
        self._improved(self._best)
        return True

    def _patterns_of(self, instance: int) -> tuple[list[Pattern], bool] | None:
        """Placements the instance may take, and whether these are all; those with few transitions if not.

        None if time ran out while listing them.
        """
        network = self._problem.workload.instances[instance].network
        if network not in self._choices:
            costs = self._problem.costs(instance)
            most = len(costs.groups) - 1 if self._limit is None else min(self._limit, len(costs.groups) - 1)
            allowed = most
            while allowed > 0 and count_placements(costs, allowed) > SWEEP_LIMIT:
                allowed -= 1
            accelerators = len(self._problem.accelerators)
            listed: list[Pattern] = []
            for groups in placements_of(costs, allowed):
                if len(listed) % CHECK_NODES == 0 and self._out_of_time():
                    return None
                listed.append(pattern_of(costs, groups, accelerators))
            self._choices[network] = listed, allowed == most
        return self._choices[network]

    def _sweep(self, placement: Placement, pivot: int) -> bool | None:
        """Settle every placement of `pivot` beside the others as they are.

        Returns:
            Whether the incumbent improved; None if time ran out first and the region is not settled.
        """
        choices = self._patterns_of(pivot)
        if choices is None:
            return None
        every, complete = choices
        chosen = list(patterns(self._problem, placement))
        others = tuple(i for i in self._instances() if i != pivot)
        improved = False
        if not complete:
            # trying some of the pivot's placements settles only the one that was proposed
            every, others = [*every, chosen[pivot]], tuple(self._instances())
        # what is likely good first, so that the rest is cut early
        ranked: list[tuple[float, Pattern]] = []
        settled = True
        for pattern in every:
            if len(ranked) % CHECK_NODES == 0 and self._out_of_time():
                return None
            chosen[pivot] = pattern
            ranked.append((self._search.lower_bound(chosen), pattern))
        ranked.sort(key=lambda entry: entry[0])
        for bound, pattern in ranked:
            assert self._best is not None
            if bound >= below(self._best.cost):
                break
            if self._out_of_time():
                return None
            chosen[pivot] = pattern
            improved = self._try(chosen) or improved
            if not self._search.settled:
                if self._out_of_time():
                    return None
                settled = False
        if settled:
            self._settled.append((others, placement))
        return improved

    def _descend(self, order: Sequence[int]) -> bool:
        """Sweep around the incumbent, one pivot after another, until no pivot improves it."""
        idle = 0
        while idle < len(order):
            for pivot in order:
                assert self._best is not None
                improved = self._sweep(self._best.placement, pivot)
                if improved is None:
                    return False
                idle = 0 if improved else idle + 1
                if idle >= len(order):
                    break
        return True

    def _learn(self, encoding: Encoding) -> None:
        for others, placement in self._settled:
            encoding.refute(others, placement)
        self._settled.clear()

    def _require(self, encoding: Encoding, forms: list[Form], cost: float, earliest: tuple[float, ...]) -> None:
        """Demand what beating `cost` takes; out of time, fewer demands are as sound."""
        bounds = limits(self._problem.workload.objective, cost, earliest)
        for form in forms:
            if monotonic() > self._deadline:
                return
            encoding.require(form, bounds.of(form))

    def _prove(self, encoding: Encoding, forms: list[Form], earliest: tuple[float, ...]) -> bool:
        """Let Z3 propose and the sweep settle until nothing is left; False if time ran out."""
        level = math.inf
        turn = 0
        while True:
            assert self._best is not None
            self._learn(encoding)
            if self._best.cost < level:
                level = self._best.cost
                self._require(encoding, forms, level, earliest)
            proposed = encoding.propose(self._stop - monotonic())
            if proposed is False:
                return True
            if proposed is None:
                return False
            turn += 1
            improved = self._sweep(proposed, turn % len(earliest))
            if improved is None or (improved and not self._descend(self._instances())):
                return False

    def _raise_bound(self, encoding: Encoding, forms: list[Form], earliest: tuple[float, ...], proved: float) -> float:
        """Bisect for the highest cost below which Z3 still proves that there is nothing."""
        assert self._best is not None
        self._learn(encoding)
        low, high = proved, self._best.cost
        while high - low > 1e-4 * abs(high):
            middle = (low + high) / 2
            with encoding.attempt():
                self._require(encoding, forms, middle, earliest)
                answer = encoding.propose((self._deadline - monotonic()) / 2)
            if answer is False:
                low = middle
            else:
                high = middle
            if monotonic() > self._deadline - 0.05:
                break
        return low
