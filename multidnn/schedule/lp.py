"""The configuration LP: how fast all work could be done if any groups that may run together did, in any order.

A configuration is a set of groups and holds, of different instances on different accelerators, that run together, each
at the rate that the others' demand leaves it. Give time to configurations, and let each instance mix placements: the
least total time in which all work gets done is a lower bound on every makespan, because a timeline is such a
mixture. The dual prices u say more: with sum(u x rate) <= 1 over every configuration, the makespan is at least
sum(u x work left) at every moment of every timeline of every placement, which covers loads, chains and contention at
once (weak duality; the fixed-placement form is the configuration LP of machine scheduling, Bansal and Sviridenko 2006).

Solved by column generation: HiGHS gives prices, the compiled pricing finds the configurations that earn more than 1 and
the cheapest placement of each instance. Any prices divided by the largest earning are valid, so each round
also gives a bound, and it does not matter when the rounds end or how HiGHS rounds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import highspy
import numpy as np

from multidnn.schedule.compiled.configurations import best_configurations, cheapest_pattern, earned, lift
from multidnn.schedule.compiled.packing import Floats, Ints, Prices, Tables

ROUNDS = 200
"""Rounds of column generation at most."""

CLOSE = 1e-3
"""Relative gap between master and bound at which the rounds end."""

SMOOTH = 0.8
"""Share of the best prices so far in those that the next round tries: LP prices alone swing (Wentges 1997)."""

LIFTS = (0.3, 0.3, 0.3, 1.0)
"""Shares of the room left by which prices are raised at the end, one sweep each; small ones first spread it evenly."""

MOST_TO_LIFT = 1_000_000
"""Configurations up to which prices are raised: a sweep looks at all of them several times."""

SAFETY = 1 - 1e-9
"""Prices are scaled by this much more, so that rounding never makes them worth more than they are."""


@dataclass(frozen=True)
class Bound:
    """Valid prices: work [n, G, A] and hold [n, A] in ms of makespan per ms alone, and the makespan they prove, in ms.

    With `order` and `weight` [n] they are ms of the weighted sum of finishes instead, if the instances finish in that
    order, and `makespan_ms` is the sum they prove.
    """

    work: Floats
    hold: Floats
    members: int
    makespan_ms: float
    order: Ints | None = None
    weight: Floats | None = None


@dataclass(frozen=True)
class Program:
    """One linear program: the bits of its instances, and the order of finishing and weights [n] if it is for one."""

    members: int
    order: Ints | None = None
    weight: Floats | None = None


def prices_of(bounds: list[Bound]) -> Prices:
    """Stack bounds for the compiled searches."""
    n = len(bounds[0].work)
    return Prices(
        np.stack([bound.work for bound in bounds]),
        np.stack([bound.hold for bound in bounds]),
        np.array([bound.members if bound.order is None else -1 for bound in bounds], dtype=np.int64),
        np.stack([np.arange(n) if bound.order is None else bound.order for bound in bounds]).astype(np.int64),
        np.stack([np.zeros(n) if bound.weight is None else bound.weight for bound in bounds]),
    )


def configurations(tables: Tables, members: int) -> int:
    """About how many configurations there are."""
    n, groups, accelerators = tables.time.shape
    count, total = sum(members >> i & 1 for i in range(n)), 1
    for a in range(accelerators):
        total *= 1 + max(0, count - a) * (groups + 1)
    return total


def rows(tables: Tables) -> int:
    """About how many rows a linear program has, which its time grows with."""
    n, groups, accelerators = tables.time.shape
    return int(n * (groups + 1) * accelerators)


def never_together(tables: Tables) -> Ints:
    """[n, n] 1 where one instance waits for the other, directly or not."""
    reach = tables.waits.copy()
    for _ in range(len(reach)):
        reach = np.minimum(1, reach + reach @ reach)
    return np.asarray(np.minimum(1, reach + reach.T))


class Master:
    """The restricted master LP over the configurations and patterns found so far."""

    def __init__(self, tables: Tables, members: int) -> None:
        self._tables = tables
        n, groups, accelerators = tables.time.shape
        self._model = highspy.Highs()
        self._model.setOptionValue("output_flag", False)
        self._model.setOptionValue("threads", 1)
        self._rows: dict[tuple[int, int, int], int] = {}
        infinity = highspy.kHighsInf
        for i in range(n):
            if not members >> i & 1:
                continue
            for g in range(groups + 1):
                for a in range(accelerators):
                    if g == groups or tables.time[i, g, a] < np.inf:
                        # work done minus work of the mixed placement
                        self._rows[i, g, a] = self._model.getNumRow()
                        self._model.addRow(0.0, infinity, 0, np.zeros(0, dtype=np.int32), np.zeros(0))
        self._mixed = {}
        for i in range(n):
            if members >> i & 1:
                self._mixed[i] = self._model.getNumRow()
                self._model.addRow(1.0, 1.0, 0, np.zeros(0, dtype=np.int32), np.zeros(0))

    def add_configuration(self, entries: list[tuple[tuple[int, int, int], float]], cost: float = 1.0) -> None:
        """A configuration as (instance, group or G for a hold, accelerator) with its rate, and what a ms of it costs."""
        self._column(cost, {self._rows[item]: rate for item, rate in entries if rate > 0})

    def add_pattern(self, i: int, groups: Ints) -> None:
        """A placement [G] of instance `i`."""
        tables = self._tables
        holds = tables.time.shape[1]
        entries: dict[int, float] = {self._mixed[i]: 1.0}
        for g in range(tables.groups[i]):
            a = groups[g]
            entries[self._rows[i, g, a]] = -tables.time[i, g, a]
            if g > 0 and groups[g - 1] != a:
                b = groups[g - 1]
                for at, ms in ((b, tables.hold_out[i, g - 1, b, a]), (a, tables.hold_in[i, g - 1, b, a])):
                    row = self._rows[i, holds, at]
                    entries[row] = entries.get(row, 0.0) - ms
        self._column(0.0, {row: value for row, value in entries.items() if value != 0.0})

    def _column(self, cost: float, entries: dict[int, float]) -> None:
        self._model.addCol(
            cost,
            0.0,
            highspy.kHighsInf,
            len(entries),
            np.array(list(entries), dtype=np.int32),
            np.array(list(entries.values())),
        )

    def solve(self) -> tuple[float, Floats, Floats]:
        """The optimum, and its prices of work [n, G, A] and holds [n, A]."""
        self._model.run()
        duals = np.array(self._model.getSolution().row_dual)
        n, groups, accelerators = self._tables.time.shape
        work, hold = np.zeros((n, groups, accelerators)), np.zeros((n, accelerators))
        for (i, g, a), row in self._rows.items():
            price = max(0.0, float(duals[row]))
            if g == groups:
                hold[i, a] = price
            else:
                work[i, g, a] = price
        return float(self._model.getObjectiveValue()), work, hold


def solve_bound(
    tables: Tables,
    limits: Ints,
    members: int,
    starts: list[Ints],
    stop: Callable[[], bool],
    order: Ints | None = None,
    weight: Floats | None = None,
) -> Bound:
    """Prices for the instances in `members`, as good as the rounds allow.

    With `order` and `weight` the bound is on the weighted sum of finishes of schedules that finish in that order: time
    falls into phases between finishes, in each of which the instances not yet finished may run, and a millisecond of
    it costs the sum of their weights. Prices are valid if no configuration earns more than its phase costs.

    Args:
        tables: the problem.
        limits: [n] transitions allowed.
        members: bits of the instances that count.
        starts: placements [n, G] to begin with, at least one.
        stop: ends the rounds early.
        order: [n] the instances, all of them, as they finish.
        weight: [n] of each instance's finish, above 0.
    """
    n, groups, accelerators = tables.time.shape
    phases = [(members, 1.0)]
    if order is not None and weight is not None:
        phases = [(sum(1 << int(i) for i in order[k:]), float(weight[order[k:]].sum())) for k in range(n)]
    apart = never_together(tables)
    master = Master(tables, members)
    inside = [i for i in range(n) if members >> i & 1]
    for i, g, a in list(master._rows):
        # alone, and in the cheapest phase that it may run in
        master.add_configuration([((i, g, a), 1.0)], min(cost for running, cost in phases if running >> i & 1))
    known: set[tuple[int, ...]] = set()
    for start in starts:
        for i in inside:
            master.add_pattern(i, start[i])
    best = np.empty((accelerators, n, groups + 1))
    instances = np.zeros((accelerators, n, groups + 1, accelerators), dtype=np.int64)
    items = np.zeros((accelerators, n, groups + 1, accelerators), dtype=np.int64)
    rates = np.zeros(accelerators)
    pattern = np.zeros(groups, dtype=np.int64)
    found: Bound | None = None
    for _ in range(ROUNDS):
        value, work, hold = master.solve()
        if found is not None and value - found.makespan_ms <= CLOSE * value:
            break
        # between the best prices and the LP's; the LP's alone where that teaches nothing new
        for share in (SMOOTH, 0.0) if found is not None else (0.0,):
            if found is not None and share > 0.0:
                tried, tried_hold = share * found.work + (1 - share) * work, share * found.hold + (1 - share) * hold
            else:
                tried, tried_hold = work, hold
            # by how much the prices earn too much in some phase
            excess, columns = 1.0, []
            for phase, (running, cost) in enumerate(phases):
                top = best_configurations(tables, apart, running, tried, tried_hold, best, instances, items, cost)
                excess = max(excess, top / cost)
                for index in np.argwhere(best > cost * (1 + 1e-7)):
                    columns.append((phase, instances[tuple(index)].copy(), items[tuple(index)].copy()))
            scale = SAFETY / excess
            makespan = 0.0
            for i in inside:
                makespan += scale * cheapest_pattern(tables, i, limits[i], tried, tried_hold, pattern)
                master.add_pattern(i, pattern)
            better = found is None or makespan > found.makespan_ms
            if better:
                found = Bound(tried * scale, tried_hold * scale, members, makespan, order, weight)
            new = False
            for phase, instance, group in columns:
                key = (phase, *instance, *group)
                if key in known:
                    continue
                known.add(key)
                new = True
                earned(tables, instance, group, work, hold, rates)
                master.add_configuration(
                    [
                        ((int(instance[a]), int(group[a]), a), float(rates[a]))
                        for a in range(accelerators)
                        if instance[a] >= 0
                    ],
                    phases[phase][1],
                )
            if new or better:
                break
        if stop():
            break
    assert found is not None
    # what may be earned differs between phases, and raising looks at all configurations alike
    if order is not None or configurations(tables, members) > MOST_TO_LIFT or stop():
        return found
    return _lifted(tables, apart, found)


def _lifted(tables: Tables, apart: Ints, bound: Bound) -> Bound:
    """The same bound with prices as high as they may be."""
    n, groups, accelerators = tables.time.shape
    work, hold = bound.work.copy(), bound.hold.copy()
    for share in LIFTS:
        lift(tables, apart, bound.members, work, hold, share)
    # rounding may have taken a configuration above 1
    best = np.empty((accelerators, n, groups + 1))
    chosen = np.zeros((2, accelerators, n, groups + 1, accelerators), dtype=np.int64)
    scale = SAFETY / best_configurations(tables, apart, bound.members, work, hold, best, chosen[0], chosen[1], 1.0)
    return Bound(work * scale, hold * scale, bound.members, bound.makespan_ms * scale)
