"""haxconn: the best placement and order under contention, with Z3 closing the proof.

Source: HaX-CoNN (PPoPP 2024), on the model of docs/semantics.md instead of the artifact's simplified one.

Z3 decides which placements remain: Booleans say which accelerator each group takes, pseudo-Boolean constraints say what
any better schedule must keep to (loads, chains, the worth in dual prices of the configuration LP). It proposes a
placement that they allow. Compiled search then answers for the largest region around it that its budget permits: all
placements that agree with the proposal in the leading groups of some instances. Whatever is better there becomes the
incumbent; the region is then known to hold nothing better, and Z3 learns that as one clause. When Z3 finds no
further placement (`unsat`), nothing can beat the incumbent, because every constraint it holds is a bound on all
schedules or a region that has been searched. The first region tried is everything, for about as long as the prices take.
"""

import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise, permutations
from time import monotonic

import numpy as np

from multidnn.schedule.compiled.configurations import cheapest_pattern
from multidnn.schedule.compiled.engine import Engine, Found
from multidnn.schedule.compiled.packing import Prices
from multidnn.schedule.costs import below, cost_of
from multidnn.schedule.cubes import Cube, Pool
from multidnn.schedule.encoding import UNITS, Encoding, Form, chain_forms, load_forms, price_form
from multidnn.schedule.exhaustive import lazy_product
from multidnn.schedule.incumbents import Progress, search
from multidnn.schedule.limits import Limits, earliest_finishes, limits
from multidnn.schedule.lp import Bound, Program, configurations, prices_of, rows, solve_bound
from multidnn.schedule.patterns import patterns, placements_of
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.timeline import Order, Placement, simulate

SLICE_S = 0.1
"""Seconds that a compiled search may take in one go: the clock and Ctrl-C are looked at in between."""

FIRST_BUDGET = 1000
"""States of the first search, before its speed is known."""

QUICK_S = 0.0004
"""For each row of each linear program, of a first try to settle everything without them: about what they would take."""

QUICK_SHARE = 0.25
"""Of the time left, for that first try at most."""

PRICED_QUICK = 1.0
"""Seconds of a second try, with prices, for each second that the linear programs took."""

LOST = 0.25
"""Of the time for either try: with nothing at all settled by then, there is no prospect."""

LEAST_EFFORT_S = 0.02
"""What a cube costs at least before its search begins: a proposal of Z3 and its clause."""

PATIENCE_S = 0.2
"""With a proposal of Z3, at first: then the search has as long for everything that is open, and both have twice as long."""

MOST_PATTERNS = 100_000
"""Of one instance; with more, they are not listed, and beams get all the time."""

MOST_CONFIGURATIONS = 3_000_000
"""Beyond this, no prices: their check alone would take seconds a round."""

MOST_SUBSETS = 4
"""Instances up to which the throughput is bounded by when the last of each subset finishes."""

MOST_ORDERS = 2
"""Instances up to which it is bounded in every order of finishing, with as many linear programs each as `LEANINGS`;
with three, there are too many of them to repay."""

LEANINGS = (1.0, 0.4, 2.0)
"""How the weights of later finishes are changed from one linear program to the next."""

MOST_COMBINATIONS = 1e10
"""Of patterns: with more, proving cube by cube has no prospect within any time limit, and beams get all of it."""

FIRST_BEAMS_S = 0.1
"""Of beam search before the proof begins: a better schedule makes every cube smaller."""

BEAMS = 0.25
"""Seconds of beam search for each second of proving, on the whole: one stretch may take longer than one cube earns."""

BOUND_SHARE = 0.1
"""What is left of the time limit for raising the bound when the proof does not close."""


class HaxConn:
    """One solving run: `improve` yields better and better schedules; then `bound` is what nothing can beat.

    Attributes:
        best: the best schedule so far.
        bound: a proved lower bound on the cost; equal to the cost of `best` if that is optimal.
    """

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
        self._problem = problem
        self._objective = problem.workload.objective
        self._limit = max_transitions
        self._deadline = deadline
        # the search leaves some of the time for the bound
        self._search_until = deadline - BOUND_SHARE * (deadline - monotonic())
        self._stop = stop
        exclude = [placement for placement in exclude if _is_possible(problem, placement)]
        self._excluded = frozenset(exclude)
        self._earliest = earliest_finishes(problem, max_transitions)
        for i, end in enumerate(self._earliest):
            if end == math.inf:
                raise Infeasible(f"{problem.instances[i]} needs more than {max_transitions} transitions")
        self._engine = Engine(problem)
        if exclude:
            # what is left out may have a twin that is not
            self._engine.tables = self._engine.tables._replace(twins=np.arange(len(problem.instances)))
        counts = [len(problem.costs(i).groups) for i in self._instances()]
        self._limits = np.array(
            [count - 1 if max_transitions is None else min(max_transitions, count - 1) for count in counts],
            dtype=np.int64,
        )
        shape = self._engine.tables.time.shape[:2]
        self._excluded_groups = np.array([self._engine.groups_of(p) for p in exclude], dtype=np.int8).reshape(
            -1, *shape
        )
        self._prices: list[Bound] = []
        self._depth = 1
        self._speed = 0.0
        self._beams: Iterator[Progress] = iter(())
        self._beams_due = 0.0
        self.best: Found | None = None
        self.bound = self._least_cost()

    def improve(self, starts: Iterable[tuple[Placement, Order] | None]) -> Iterator[Found]:
        """Search from the schedules `starts`, to the proof, the deadline or Ctrl-C, and yield each better schedule.

        Where a start is missing or not allowed, any schedule is there at once.

        Ctrl-C ends the search as the deadline does: the best so far is a schedule, and what is proved holds.
        """
        try:
            for start in starts:
                if start is not None and start[0] not in self._excluded and self._keeps_limit(start[0]):
                    cost = cost_of(self._objective, simulate(self._problem, *start).value(self._objective))
                    yield from self._better(Found(cost, *start))
                elif self.best is None:
                    # anything, but now
                    yield from self._better(self._first())
            if self.best is None:
                yield from self._better(self._first())
            yield from self._search()
        except KeyboardInterrupt:
            if self.best is None:
                raise

    def _instances(self) -> range:
        return range(len(self._problem.instances))

    def _over(self) -> bool:
        return monotonic() > self._search_until or self._stop()

    def _keeps_limit(self, placement: Placement) -> bool:
        moves = (sum(a != b for a, b in pairwise(groups)) for groups in placement)
        return all(count <= limit for count, limit in zip(moves, self._limits, strict=True))

    def _least_cost(self) -> float:
        if self._objective == "latency":
            return max(self._earliest)
        return -sum(1000 / end if end > 0 else math.inf for end in self._earliest)

    def _first(self) -> Found:
        choices = [partial(placements_of, self._problem.costs(i), self._limit) for i in self._instances()]
        placement = next((found for found in lazy_product(choices) if found not in self._excluded), None)
        if placement is None:
            raise Infeasible("there is no other placement")
        found, _ = self._engine.order(self._engine.groups_of(placement), math.inf, 1)
        assert found is not None, "without a cutoff some order is found"
        return found

    def _better(self, found: Found | None) -> Iterator[Found]:
        """Make this the incumbent if it beats it."""
        if found is not None and (self.best is None or found.cost < below(self.best.cost)):
            self.best = found
            yield found

    def _cost(self) -> float:
        assert self.best is not None, "there is an incumbent from the start"
        return self.best.cost

    def _search(self) -> Iterator[Found]:
        yield from self._anneal()
        pool = yield from self._settle_or_price()
        if pool is None or pool.combinations() > MOST_COMBINATIONS:
            yield from self._beams_only()
            return
        self._beams = self._beam_search(self._engine, proofs=False)
        if self._prices and pool.combinations() and not self._closed():
            yield from self._follow_beams(FIRST_BEAMS_S)
        encoding = Encoding(self._problem, self._limit, self._horizon() / UNITS)
        forms = chain_forms(self._problem) + load_forms(self._problem)
        forms += [
            price_form(self._problem, bound.work, bound.hold, None) for bound in self._prices if bound.order is None
        ]
        for placement in self._excluded:
            encoding.refute(placement, [len(groups) for groups in placement])
        if (yield from self._prove(encoding, forms, pool)):
            self.bound = self._cost()
        elif not self._closed() and math.isfinite(self.bound):
            self._raise_bound(encoding, forms)

    def _settle_or_price(self) -> Generator[Found, None, Pool | None]:
        """Try to settle everything at once, with prices only where that takes long; returns what is left open."""
        pool = self._pool()
        if self._closed():
            return pool
        programs = self._programs()
        seconds = QUICK_S * rows(self._engine.tables) * max(1, len(programs))
        seconds = min(seconds, QUICK_SHARE * (self._search_until - monotonic()))
        if pool is not None and (yield from self._settle_quickly(pool, seconds)):
            return pool
        begun = monotonic()
        self._price(programs)
        if pool is None:
            # with prices there may be few enough to list
            pool = self._pool()
        elif self._prices:
            pool.narrow(self._limits_now(), self._waiting())
        if pool is not None and pool.combinations() <= MOST_COMBINATIONS and self._prices and not self._closed():
            yield from self._settle_quickly(pool, PRICED_QUICK * (monotonic() - begun))
        return pool

    def _settle_quickly(self, pool: Pool, seconds: float) -> Generator[Found, None, bool]:
        """Settle everything as one cube if that takes no longer than so; whether it did.

        What is settled of it leaves the pool either way.
        """
        until = monotonic() + seconds
        slices = 1
        everything = len(pool)
        while (left := until - monotonic()) > 0 and not self._over():
            size = len(pool)
            if size == everything and left < (1 - LOST) * seconds:
                return False
            if (yield from self._settle(pool, self._everything(), self._slice(min(slices, left / SLICE_S)))):
                return True
            if len(pool) == size:
                # one pattern of the first instance takes longer
                slices *= 2
        return False

    def _closed(self) -> bool:
        """Whether the bound meets the incumbent."""
        if self.bound < below(self._cost()):
            return False
        self.bound = self._cost()
        return True

    def _anneal(self) -> Iterator[Found]:
        """Good schedules early: they cut everything that follows."""
        n, longest = self._engine.tables.time.shape[:2]
        for turn in range(8):
            if self._over():
                return
            assert self.best is not None
            groups = self._engine.groups_of(self.best.placement)
            keys = np.tile(np.arange(longest, dtype=np.float64), (n, 1)) + 100.0 * np.arange(n)[:, None]
            _, found = self._engine.anneal(
                groups, keys, self._cost(), self._limits, self._excluded_groups, 0.1 / (1 + turn), 1e-3, 1000
            )
            yield from self._better(found)

    def _beam_search(self, engine: Engine, dives: bool = True, proofs: bool = True) -> Iterator[Progress]:
        return search(
            engine, self._limits, self._excluded_groups, self.best, self.bound, dives, proofs, lambda: self.best
        )

    def _beams_only(self) -> Generator[Found, None, None]:
        """Look for schedules on one core while the bound rises on another, until they meet or time is up."""
        second = Engine(self._problem, self._engine.tables)
        second.use(self._engine.prices)
        dives, proofs = self._beam_search(self._engine, proofs=False), self._beam_search(second, dives=False)
        with ThreadPoolExecutor(max_workers=1) as beside:
            while monotonic() < self._deadline and not self._stop() and not self._closed():
                raised = beside.submit(next, proofs, None)
                yield from self._take(next(dives, None))
                yield from self._take(raised.result())

    def _take(self, progress: Progress | None) -> Generator[Found, None, None]:
        if progress is not None:
            self.bound = max(self.bound, progress.bound)
            yield from self._better(progress.best)

    def _follow_beams(self, seconds: float) -> Generator[Found, None, None]:
        """Let the beam search go on for so long, less what it took too long before."""
        self._beams_due += seconds
        while self._beams_due > 0 and not self._over():
            begun = monotonic()
            progress = next(self._beams, None)
            if progress is None:
                return
            self._beams_due -= monotonic() - begun
            yield from self._take(progress)

    def _programs(self) -> list[Program]:
        """The linear programs whose prices repay."""
        tables = self._engine.tables
        n = len(tables.groups)
        everyone = (1 << n) - 1
        if n == 1 or configurations(tables, everyone) > MOST_CONFIGURATIONS:
            return []
        programs = [Program(everyone)]
        if self._objective == "throughput" and 2 < n <= MOST_SUBSETS:
            programs += [Program(members) for members in range(3, everyone) if members.bit_count() > 1]
        if self._objective == "throughput" and n <= MOST_ORDERS:
            programs += [
                Program(everyone, np.array(order), weight)
                for order in self._orders()
                for weight in self._weights(order)
            ]
        return programs

    def _price(self, programs: Sequence[Program]) -> None:
        """Solve the linear programs, and let their prices bound everything from here on."""
        assert self.best is not None
        start = [self._engine.groups_of(self.best.placement).astype(np.int64)]
        for program in programs:
            # one bound is there at once, in however little time
            if self._prices and self._over():
                break
            self._prices.append(
                solve_bound(
                    self._engine.tables, self._limits, program.members, start, self._over, program.order, program.weight
                )
            )
        if len(self._prices) < len(programs):
            # an order without prices would have to count as unbounded, so it is all or none
            self._prices = [bound for bound in self._prices if bound.order is None]
        if self._prices:
            self._engine.use(prices_of(self._prices))
            if self._objective == "latency":
                self.bound = max(self.bound, max(bound.makespan_ms for bound in self._prices))

    def _orders(self) -> Iterator[tuple[int, ...]]:
        """Every order in which the instances may finish."""
        waits = self._problem.workload.predecessors()
        for order in permutations(self._instances()):
            if all(order.index(j) < order.index(i) for i in order for j in waits[i]):
                yield order

    def _weights(self, order: Sequence[int]) -> Iterator[np.ndarray]:
        """Weights of the finishes, first as the throughput changes with each at the incumbent, then leaning to the first."""
        assert self.best is not None
        finish = sorted(simulate(self._problem, self.best.placement, self.best.order).finish_ms.values())
        for lean in LEANINGS:
            weight = np.zeros(len(order))
            for k, i in enumerate(order):
                weight[i] = (finish[0] / finish[k]) ** 2 * lean**k
            yield weight

    def _limits_now(self) -> Limits:
        return limits(self._objective, below(self._cost()), self._earliest)

    def _pool(self) -> Pool | None:
        """The patterns that could beat the incumbent, None if they are too many to list."""
        bounds = self._limits_now()
        tables, prices = self._engine.tables, self._engine.prices
        least = np.zeros((len(prices.members), len(tables.groups)))
        scratch = np.zeros(tables.time.shape[1], dtype=np.int64)
        for p in range(len(prices.members)):
            for i in self._instances():
                least[p, i] = cheapest_pattern(tables, i, self._limits[i], prices.work[p], prices.hold[p], scratch)
        waiting = self._waiting()
        choices = []
        for i in self._instances():
            most_worth = bounds.makespan - (least.sum(axis=1) - least[:, i])
            most_worth[prices.members < 0] = math.inf
            listed = self._engine.enumerate(
                i, int(self._limits[i]), most_worth, bounds.finish[i] - waiting[i], MOST_PATTERNS
            )
            if listed is None:
                return None
            choices.append(listed)
        pool = Pool(self._engine, choices)
        pool.narrow(bounds, waiting)
        return pool

    def _waiting(self) -> list[float]:
        waits = self._problem.workload.predecessors()
        return [max((self._earliest[j] for j in waits[i]), default=0.0) for i in self._instances()]

    def _horizon(self) -> float:
        """Any scale is right; this one keeps the sums of Z3 short and the rounding small."""
        assert self.best is not None
        return sum(pattern.chain for pattern in patterns(self._problem, self.best.placement))

    def _everything(self) -> Cube:
        assert self.best is not None
        return Cube(self.best.placement, (0,) * len(self.best.placement))

    def _settle(self, pool: Pool, cube: Cube, budget: int) -> Generator[Found, None, bool]:
        """Search a cube within the budget; returns whether it is settled."""
        begun, before = monotonic(), self._engine.nodes
        found, settled = pool.settle(
            cube, self._limits_now(), self._waiting(), self._excluded_groups, self._cost(), budget
        )
        visited = self._engine.nodes - before
        if visited >= FIRST_BUDGET:
            self._speed = visited / max(monotonic() - begun, 1e-6)
        yield from self._better(found)
        return settled

    def _slice(self, slices: float = 1) -> int:
        """States that take about so many times `SLICE_S`, or what time is left."""
        seconds = min(slices * SLICE_S, self._search_until - monotonic())
        return max(FIRST_BUDGET, int(self._speed * seconds))

    def _require(self, encoding: Encoding, forms: Sequence[Form], cost: float) -> None:
        """Demand what beating `cost` takes; out of time, fewer demands are as sound."""
        bounds = limits(self._objective, cost, self._earliest)
        for form in forms:
            if monotonic() > self._deadline:
                return
            encoding.require(form, bounds.of(form))

    def _prove(self, encoding: Encoding, forms: Sequence[Form], pool: Pool) -> Generator[Found, None, bool]:
        """Let Z3 propose and the search settle until nothing is left; returns whether that was reached in time."""
        level = math.inf
        patience = PATIENCE_S
        while True:
            if self._cost() < level:
                level = self._cost()
                self._require(encoding, forms, level)
                pool.narrow(self._limits_now(), self._waiting())
            if not pool.combinations():
                # no placement is open, so the cube of all of them is settled
                everything = self._everything()
                encoding.refute(everything.placement, everything.fixed)
            proposed = encoding.propose(min(patience, self._search_until - monotonic()), self._stop)
            if proposed is False:
                return True
            if self._over():
                return False
            begun = monotonic()
            if proposed is None:
                # what is hard for Z3 may be easy for the search
                yield from self._settle_quickly(pool, patience)
                patience *= 2
                continue
            cube = yield from self._settle_around(proposed, pool)
            if cube is None:
                return False
            encoding.refute(proposed, cube.fixed)
            yield from self._follow_beams((monotonic() - begun) * BEAMS)

    def _settle_around(self, placement: Placement, pool: Pool) -> Generator[Found, None, Cube | None]:
        """Settle a cube around `placement`, as large as can be searched quickly; returns it, None if time ran out."""
        counts = [len(groups) for groups in placement]
        total = sum(counts)
        root = self._engine.prices
        depth = max(1, min(self._depth, total))
        while not self._over():
            fixed = [0] * len(counts)
            left = depth
            for i in pool.level:
                fixed[i] = min(left, counts[i])
                left -= fixed[i]
            cube = Cube(placement, tuple(fixed))
            if depth == total:
                return (yield from self._settle_one(cube))
            begun = monotonic()
            prices = self._prices_within(cube)
            priced = monotonic()
            effort = max(priced - begun, LEAST_EFFORT_S)
            if prices is None:
                self._depth = depth - 1
                return cube
            self._engine.use(prices)
            try:
                slices = 1
                while not self._over():
                    size = len(pool)
                    if (yield from self._settle(pool, cube, self._slice(slices))):
                        searched = monotonic() - priced
                        # a few times as long for the search of a cube as for what comes before
                        if searched > 6 * effort:
                            self._depth = depth + 1
                        elif searched < effort:
                            self._depth = depth - 1
                        else:
                            self._depth = depth
                        return cube
                    if len(pool) == size:
                        slices *= 2
                    if monotonic() - priced > 20 * effort:
                        break
            finally:
                self._engine.use(root)
            depth += 1
        return None

    def _settle_one(self, cube: Cube) -> Generator[Found, None, Cube | None]:
        """Settle one placement: nothing smaller to go to, so only patience helps."""
        slices = 1
        groups = self._engine.groups_of(cube.placement)
        while not self._over():
            # the speed is not known before the first search of a region
            found, settled = self._engine.order(groups, self._cost(), max(self._slice(slices), slices * FIRST_BUDGET))
            yield from self._better(found)
            if settled:
                return cube
            slices *= 2
        return None

    def _prices_within(self, cube: Cube) -> Prices | None:
        """Prices for the placements of a cube only; None if they show that it holds nothing better."""
        if self._objective != "latency" or not self._prices:
            return self._engine.prices
        tables = self._engine.tables
        time = tables.time.copy()
        for i, count in enumerate(cube.fixed):
            for g in range(count):
                kept = time[i, g, cube.placement[i][g]]
                time[i, g] = np.inf
                time[i, g, cube.placement[i][g]] = kept
        start = self._engine.groups_of(cube.placement).astype(np.int64)
        everyone = (1 << len(cube.placement)) - 1
        bound = solve_bound(tables._replace(time=time), self._limits, everyone, [start], self._over)
        return None if bound.makespan_ms >= below(self._cost()) else prices_of([bound])

    def _raise_bound(self, encoding: Encoding, forms: Sequence[Form]) -> None:
        """Bisect for the highest cost below which Z3 still proves that there is nothing."""
        low, high = self.bound, self._cost()
        while high - low > 1e-4 * abs(high) and not self._stop():
            middle = (low + high) / 2
            with encoding.attempt():
                self._require(encoding, forms, middle)
                answer = encoding.propose((self._deadline - monotonic()) / 2, self._stop)
            if answer is False:
                low = middle
            else:
                high = middle
            if monotonic() > self._deadline - 0.05:
                break
        self.bound = low


def _is_possible(problem: Problem, placement: Placement) -> bool:
    """Whether a placement gives every group an accelerator that supports it."""
    return len(placement) == len(problem.instances) and all(
        len(groups) == len(problem.costs(i).groups)
        and all(problem.costs(i).groups[g][a] is not None for g, a in enumerate(groups))
        for i, groups in enumerate(placement)
    )
