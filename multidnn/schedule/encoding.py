"""The placement problem as Z3 sees it: which accelerator each group takes, under bounds that no order can break.

Boolean x[i, g, a]: group g of instance i runs on accelerator a. Every constraint is a pseudo-Boolean form
``sum(cost * literal) <= limit`` whose left side never exceeds the true time of the timeline it bounds; costs are
rounded down to whole units and limits up, so rounding never excludes a better schedule either.

Z3 reads all of it as SMT-LIB text: built term by term through its Python interface, it took longer than many a proof.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Any, Literal

import numpy as np
import z3
from numpy.typing import NDArray

from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Placement

UNITS = 20_000
"""Whole units into which the incumbent's makespan is divided."""

PATHS = 8
"""Paths through `after` that bound one instance; there can be exponentially many, and any of them are sound."""

SLICE_S = 0.5
"""Seconds that Z3 may take before the clock, Ctrl-C and `stop` are looked at."""

_LARGEST_INT = 2**31 - 1

Floats = NDArray[np.float64]

Atom = tuple[int, ...]
"""(instance, group, accelerator) for a group, (instance, after_group, source, destination) for a transition."""


@dataclass(frozen=True)
class Form:
    """Milliseconds per atom, and the instance whose finish time the sum bounds from below (None: the makespan)."""

    costs: dict[Atom, float]
    finishes: int | None


def load_forms(problem: Problem) -> list[Form]:
    """An accelerator does its groups and holds one at a time, so each one's sum is at most the makespan."""
    forms = []
    for accelerator in range(len(problem.accelerators)):
        costs: dict[Atom, float] = {}
        for i in range(len(problem.instances)):
            for group, options in enumerate(problem.costs(i).groups):
                cost = options[accelerator]
                if cost is not None:
                    costs[i, group, accelerator] = cost.time_ms
            for (group, source, destination), (out_ms, in_ms) in problem.costs(i).transitions.items():
                if source == accelerator:
                    costs[i, group, source, destination] = out_ms
                elif destination == accelerator:
                    costs[i, group, source, destination] = in_ms
        forms.append(Form(costs, None))
    return forms


def chain_forms(problem: Problem) -> list[Form]:
    """The steps of an instance, and of those it waits for, follow each other, so their sum is at most its finish."""
    return [
        Form({atom: ms for i in path for atom, ms in _chain(problem, i).items()}, path[-1])
        for last in range(len(problem.instances))
        for path in islice(_paths(problem.workload.predecessors(), last), PATHS)
    ]


def price_form(problem: Problem, work: Floats, hold: Floats, finishes: int | None) -> Form:
    """The worth of all groups and holds in dual prices (`lp`), which is at most the makespan.

    Args:
        problem: what the prices are of.
        work: [n, G, A] in ms of makespan per ms alone.
        hold: [n, A] likewise, of holds.
        finishes: the instance whose finish it bounds, None for the makespan.
    """
    costs: dict[Atom, float] = {}
    for i in range(len(problem.instances)):
        for group, options in enumerate(problem.costs(i).groups):
            for a, cost in enumerate(options):
                if cost is not None:
                    costs[i, group, a] = float(work[i, group, a]) * cost.time_ms
        for (group, source, destination), (out_ms, in_ms) in problem.costs(i).transitions.items():
            costs[i, group, source, destination] = float(hold[i, source]) * out_ms + float(hold[i, destination]) * in_ms
    return Form(costs, finishes)


def _paths(waits: Sequence[Sequence[int]], last: int) -> Iterable[tuple[int, ...]]:
    if not waits[last]:
        yield (last,)
    for previous in waits[last]:
        for path in _paths(waits, previous):
            yield (*path, last)


def _chain(problem: Problem, instance: int) -> dict[Atom, float]:
    costs: dict[Atom, float] = {}
    for group, options in enumerate(problem.costs(instance).groups):
        for accelerator, cost in enumerate(options):
            if cost is not None:
                costs[instance, group, accelerator] = cost.time_ms
    for (group, source, destination), (out_ms, in_ms) in problem.costs(instance).transitions.items():
        costs[instance, group, source, destination] = out_ms + in_ms
    return costs


class Encoding:
    """Z3's side of the search: proposes placements that the bounds allow, and learns which ones cannot win."""

    def __init__(self, problem: Problem, max_transitions: int | None, unit_ms: float) -> None:
        """Build the variables and the transition limits; `unit_ms` is the rounding unit of all forms."""
        self._problem = problem
        self._unit = unit_ms
        # finite domain: Booleans and pseudo-Boolean sums go to the SAT core
        self._solver = z3.SolverFor("QF_FD")
        # else Z3 takes Ctrl-C for itself, and Python never hears of it
        self._solver.set("ctrl_c", False)
        self._names: dict[Atom, str] = {}
        lines = []
        for i in range(len(problem.instances)):
            costs = problem.costs(i)
            for group, options in enumerate(costs.groups):
                names = [
                    self._name((i, group, a), f"x_{i}_{group}_{a}")
                    for a, cost in enumerate(options)
                    if cost is not None
                ]
                lines += [f"(declare-const {name} Bool)" for name in names]
                lines.append(f"(assert {_any(names)})")
                lines.append(f"(assert {_at_most(1, names)})")
            moves = []
            for group, source, destination in costs.transitions:
                move = self._name((i, group, source, destination), f"move_{i}_{group}_{source}_{destination}")
                before, behind = self._names[i, group, source], self._names[i, group + 1, destination]
                lines.append(f"(declare-const {move} Bool)")
                lines.append(f"(assert (= {move} (and {before} {behind})))")
                moves.append(move)
            if max_transitions is not None and moves:
                lines.append(f"(assert {_at_most(max_transitions, moves)})")
        self._solver.from_string("\n".join(lines))
        # what a proposal is read from; the same name is the same variable
        self._chosen = {
            (i, group, a): z3.Bool(self._names[i, group, a])
            for i in range(len(problem.instances))
            for group, options in enumerate(problem.costs(i).groups)
            for a, cost in enumerate(options)
            if cost is not None
        }

    def _name(self, atom: Atom, name: str) -> str:
        self._names[atom] = name
        return name

    def require(self, form: Form, below_ms: float) -> None:
        """Demand that the form's sum stays below `below_ms`; infinity demands nothing."""
        if math.isfinite(below_ms):
            # Z3 sums C integers, so a far limit takes a coarser unit; any unit is sound
            unit = max(self._unit, below_ms / (_LARGEST_INT // (len(form.costs) + 1) - 2))
            if unit <= 0:
                return
            # the true sum is below the limit, so the rounded-down sum is at most the limit rounded up
            limit = math.ceil(below_ms / unit)
            # what passes the limit by itself is out, by however much
            terms = [(self._names[atom], math.floor(min(ms / unit, limit + 1))) for atom, ms in form.costs.items()]
            terms = [(name, units) for name, units in terms if units > 0]
            if sum(units for _, units in terms) > limit:
                units, names = " ".join(str(units) for _, units in terms), " ".join(name for name, _ in terms)
                self._solver.from_string(f"(assert ((_ pble {limit} {units}) {names}))")

    def refute(self, placement: Placement, fixed: Sequence[int]) -> None:
        """Learn that no schedule can win that places the first fixed[i] groups of every instance i as `placement` does."""
        inside = [f"(not {self._names[i, g, placement[i][g]]})" for i, count in enumerate(fixed) for g in range(count)]
        self._solver.from_string(f"(assert {_any(inside)})")

    def propose(self, timeout_s: float, stop: Callable[[], bool] = lambda: False) -> Placement | Literal[False] | None:
        """A placement that all constraints allow, False if there is none (proved), None if time ran out or `stop()`."""
        until = monotonic() + timeout_s
        while True:
            left = until - monotonic()
            if left <= 0 or stop():
                return None
            # what it learns in a slice it still knows in the next
            self._solver.set("timeout", max(1, int(1000 * min(left, SLICE_S))))
            answer = self._solver.check()
            if answer == z3.unsat:
                return False
            if answer == z3.sat:
                break
        model = self._solver.model()
        return tuple(
            tuple(
                next(
                    a
                    for a, cost in enumerate(options)
                    if cost is not None and z3.is_true(model[self._chosen[i, group, a]])
                )
                for group, options in enumerate(self._problem.costs(i).groups)
            )
            for i in range(len(self._problem.instances))
        )

    def attempt(self) -> "Attempt":
        """A block whose requirements vanish at its end."""
        return Attempt(self._solver)


def _any(names: Sequence[str]) -> str:
    """One of these, as SMT-LIB; of none, false."""
    return f"(or false {' '.join(names)})"


def _at_most(count: int, names: Sequence[str]) -> str:
    return f"((_ at-most {count}) {' '.join(names)})"


class Attempt:
    """Context in which further constraints are tried and then dropped."""

    def __init__(self, solver: Any) -> None:
        self._solver = solver

    def __enter__(self) -> None:
        self._solver.push()

    def __exit__(self, *_: object) -> None:
        self._solver.pop()
