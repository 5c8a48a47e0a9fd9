"""The best order of a given placement: a search that branches inside the simulation and cuts what cannot win.

Every total order that does not deadlock is one path of the search: whenever an accelerator is free and one of its
segments could start, the path splits by the instance whose segment is next there, also one that is not ready yet.
A path is cut when a lower bound reaches the cutoff. The bounds use only what always holds: a group never runs
faster than alone (rate <= 1), holds run at rate 1, an instance's steps follow each other, and an accelerator does
its remaining steps one at a time. Contention has no part in them, because more contention can shorten a timeline.
Of instances that could trade places unnoticed (`Workload.twins`), only the first is tried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from time import monotonic

from multidnn.schedule.patterns import Pattern
from multidnn.schedule.problem import Problem
from multidnn.schedule.timeline import Order

CHECK_NODES = 128
"""Nodes between two looks at the clock: some hundredths of a second."""

HURRIED_NODES = 100
"""A budget for a first look at a placement."""

CUTOFF_SLACK = 1e-9
"""Relative; an order must beat the cutoff by more than this, so that rounding is no improvement."""


def cost_of(objective: str, value: float) -> float:
    """The objective's value as a cost, smaller being better."""
    return value if objective == "latency" else -value


def below(cutoff: float) -> float:
    """The cost that counts as better than `cutoff`."""
    return cutoff - CUTOFF_SLACK * abs(cutoff) if isfinite(cutoff) else cutoff


@dataclass
class _State:
    """A moment of a timeline; instances and accelerators by index, times in ms."""

    now: float
    step: list[int]  # per instance, the step running or next
    left: list[float]  # per instance, standalone ms left of that step
    segment: list[int]  # per instance, the segment running or next
    running: list[bool]
    finish: list[float]  # -1 until finished
    holder: list[int]  # per accelerator, the instance holding it, or -1
    wanted: list[int]  # per accelerator, the instance chosen to be next, or -1
    load: list[float]  # per accelerator, ms alone of steps not yet started
    turns: list[tuple[tuple[int, int, int], ...]]

    def copy(self) -> "_State":
        return _State(
            self.now, self.step[:], self.left[:], self.segment[:], self.running[:], self.finish[:],
            self.holder[:], self.wanted[:], self.load[:], self.turns[:],
        )  # fmt: skip


class _OutOfTime(Exception):  # noqa: N818 - unwinds the search, is no error
    """Deadline or budget ended the search before it was through."""


class OrderSearch:
    """Finds best orders for placements of one problem.

    Attributes:
        nodes: states visited.
        budget: states that one call of `best` may visit; may be changed between calls.
        settled: whether the last call of `best` was through with its search; False when deadline or budget stopped it.
    """

    def __init__(self, problem: Problem, deadline: float = inf) -> None:
        """Prepare searches that stop at `deadline` (monotonic seconds)."""
        self._deadline = deadline
        self._twins = problem.workload.twins()
        self._waits = problem.workload.predecessors()
        self._sequence = problem.workload.sequence()
        self._latency = problem.workload.objective == "latency"
        self._slowdown = problem.slowdown
        self._accelerators = len(problem.accelerators)
        self.nodes = 0
        self.budget = inf
        self.settled = True

    def lower_bound(self, patterns: Sequence[Pattern]) -> float:
        """A cost that no order of this placement can beat: chains through `after`, and loads."""
        finish = [0.0] * len(patterns)
        for i in self._sequence:
            finish[i] = patterns[i].chain + max((finish[j] for j in self._waits[i]), default=0.0)
        loads = [sum(pattern.load[a] for pattern in patterns) for a in range(self._accelerators)]
        cost = self._least_cost(finish, max(loads))
        if self._latency:
            return cost
        queues: list[list[tuple[float, float]]] = [[] for _ in loads]
        for pattern, end in zip(patterns, finish, strict=True):
            last = pattern.segments[-1][0]
            queues[last].append((pattern.load[last], end))
        return max(cost, sum(_queue_cost(0.0, queue) for queue in queues))

    def best(self, patterns: Sequence[Pattern], cutoff: float) -> tuple[float, Order] | None:
        """The least cost below `cutoff` over all orders and an order that has it; None if there is none below.

        When deadline or budget ends it, `settled` is False and the best order so far is returned; without a cutoff
        there always is one.
        """
        self.settled = True
        if self.lower_bound(patterns) >= below(cutoff):
            return None
        self._patterns = patterns
        self._cutoff = cutoff
        self._begun = self.nodes
        self._found: Order | None = None
        self._copies = [
            [j for j in range(i) if self._twins[i] == self._twins[j] and patterns[i].groups == patterns[j].groups]
            for i in range(len(patterns))
        ]
        count = len(patterns)
        start = _State(
            now=0.0,
            step=[0] * count,
            left=[pattern.steps[0][0] for pattern in patterns],
            segment=[0] * count,
            running=[False] * count,
            finish=[-1.0] * count,
            holder=[-1] * self._accelerators,
            wanted=[-1] * self._accelerators,
            load=[sum(pattern.load[a] for pattern in patterns) for a in range(self._accelerators)],
            turns=[()] * self._accelerators,
        )
        try:
            self._search(start)
        except _OutOfTime:
            self.settled = False
        return None if self._found is None else (self._cutoff, self._found)

    def _search(self, state: _State) -> None:
        """Follow the timeline from `state`, splitting where an accelerator's next segment is open."""
        self.nodes += 1
        # the first path meets no dead end, because it starts only what is ready: without a cutoff it is walked out
        if self._cutoff < inf and (
            self.nodes - self._begun > self.budget or (self.nodes % CHECK_NODES == 0 and monotonic() > self._deadline)
        ):
            raise _OutOfTime
        check = True
        while True:
            ended = self._end(state)
            check = check or ended
            split = self._start(state)
            if split is None:
                # zero-time steps of what has just started end at this same instant
                if any(busy and left <= 0 for busy, left in zip(state.running, state.left, strict=True)):
                    continue
                if check and self._bound(state) >= below(self._cutoff):
                    return
                check = False
                if not any(state.running):
                    if min(state.finish) >= 0:
                        self._cutoff = max(state.finish) if self._latency else _throughput_cost(state.finish)
                        self._found = tuple(state.turns)
                    return
                self._advance(state)
                continue
            accelerator, choices = split
            if self._bound(state) >= below(self._cutoff):
                return
            for instance, ready in choices:
                branch = state.copy()
                branch.wanted[accelerator] = instance
                if ready:
                    self._begin(branch, accelerator, instance)
                self._search(branch)
            return

    def _end(self, state: _State) -> bool:
        """End every step that is done, to the end of its segment if nothing more takes time."""
        ended = False
        for i, busy in enumerate(state.running):
            if not busy:
                continue
            pattern = self._patterns[i]
            while state.left[i] <= 0:
                state.step[i] += 1
                step, segment = state.step[i], state.segment[i]
                accelerator = pattern.segments[segment][0]
                if step < len(pattern.steps):
                    state.left[i] = pattern.steps[step][0]
                if step == pattern.ends[segment]:
                    ended = True
                    state.running[i] = False
                    state.holder[accelerator] = -1
                    state.segment[i] += 1
                    if step == len(pattern.steps):
                        state.finish[i] = state.now
                    break
                state.load[accelerator] -= pattern.steps[step][0]
        return ended

    def _ready(self, state: _State, instance: int, accelerator: int) -> bool:
        segments = self._patterns[instance].segments
        segment = state.segment[instance]
        return (
            not state.running[instance]
            and segment < len(segments)
            and segments[segment][0] == accelerator
            and all(state.finish[j] >= 0 for j in self._waits[instance])
        )

    def _start(self, state: _State) -> tuple[int, list[tuple[int, bool]]] | None:
        """Start what is certain; return the accelerator and its choices (instance, ready) where the path splits."""
        for accelerator in range(self._accelerators):
            if state.holder[accelerator] >= 0:
                continue
            wanted = state.wanted[accelerator]
            if wanted >= 0:
                if self._ready(state, wanted, accelerator):
                    self._begin(state, accelerator, wanted)
                continue
            ready, later = [], []
            for i, pattern in enumerate(self._patterns):
                if any(self._same(state, i, j) for j in self._copies[i]):
                    continue
                if self._ready(state, i, accelerator):
                    ready.append(i)
                elif any(a == accelerator for a, _, _ in pattern.segments[state.segment[i] + state.running[i] :]):
                    later.append(i)
            if not ready:
                continue
            if len(ready) == 1 and not later:
                self._begin(state, accelerator, ready[0])
                continue
            # a good order early cuts more: for latency the longest rest first, for throughput the shortest
            ready.sort(key=lambda i: self._patterns[i].tails[state.step[i]], reverse=self._latency)
            return accelerator, [*((i, True) for i in ready), *((i, False) for i in later)]
        return None

    def _same(self, state: _State, i: int, j: int) -> bool:
        """Whether the copies i and j are equally far, so that either may be the next."""
        return (
            state.step[i] == state.step[j]
            and state.left[i] == state.left[j]
            and not (state.running[i] or state.running[j])
            and i not in state.wanted
            and j not in state.wanted
        )

    def _begin(self, state: _State, accelerator: int, instance: int) -> None:
        pattern, segment = self._patterns[instance], state.segment[instance]
        _, first, last = pattern.segments[segment]
        state.turns[accelerator] = (*state.turns[accelerator], (instance, first, last))
        state.wanted[accelerator] = -1
        state.holder[accelerator] = instance
        state.running[instance] = True
        state.load[accelerator] -= pattern.steps[state.step[instance]][0]

    def _advance(self, state: _State) -> None:
        """Run to the next moment at which a step ends."""
        active = []
        for accelerator, i in enumerate(state.holder):
            if i >= 0:
                active.append((i, accelerator, self._patterns[i].steps[state.step[i]][1]))
        rates = []
        passed = float("inf")
        for i, accelerator, demand in active:
            factor = 1.0
            if demand >= 0:
                beside = 0.0
                for j, _, other in active:
                    if j != i and other > 0:
                        beside += other
                if beside > 0:
                    factor = self._slowdown[accelerator](demand, beside)
            end = state.left[i] * factor
            rates.append((i, factor, end))
            if end < passed:
                passed = end
        for i, factor, end in rates:
            state.left[i] = 0.0 if end == passed else max(0.0, state.left[i] - passed / factor)
        state.now += passed

    def _bound(self, state: _State) -> float:
        """A cost that no continuation of `state` can beat."""
        now = state.now
        finish = state.finish[:]
        for i in self._sequence:
            if finish[i] >= 0:
                continue
            pattern, step = self._patterns[i], state.step[i]
            begin = now
            for j in self._waits[i]:
                if finish[j] > begin:
                    begin = finish[j]
            finish[i] = begin + state.left[i] + pattern.tails[step + 1]
        latest = 0.0
        queues = 0.0
        for accelerator, i in enumerate(state.holder):
            free = now
            if not self._latency:
                queues += self._rest_cost(state, accelerator, finish)
            if i >= 0:
                free += state.left[i]
            elif state.wanted[accelerator] >= 0:
                # it waits for this instance to get through its steps elsewhere
                j = state.wanted[accelerator]
                pattern = self._patterns[j]
                own = state.segment[j] + state.running[j]
                while pattern.segments[own][0] != accelerator:
                    own += 1
                free = finish[j] - pattern.tails[pattern.ends[own - 1] if own else 0]
            latest = max(latest, free + state.load[accelerator])
        cost = self._least_cost(finish, latest)
        if self._latency:
            return cost
        return max(cost, queues - sum(1000 / end if end > 0 else inf for end in state.finish if end >= 0))

    def _rest_cost(self, state: _State, accelerator: int, finish: Sequence[float]) -> float:
        """A cost that those still to finish on `accelerator` cannot beat; `finish` are the times each cannot."""
        holder, free = state.holder[accelerator], state.now
        if holder >= 0:
            pattern, step = self._patterns[holder], state.step[holder]
            free += state.left[holder] + pattern.tails[step + 1] - pattern.tails[pattern.ends[state.segment[holder]]]
        queue = []
        for i, pattern in enumerate(self._patterns):
            if state.finish[i] < 0 and pattern.segments[-1][0] == accelerator:
                begun = state.segment[i] + state.running[i]
                queue.append((pattern.last if begun < len(pattern.segments) else 0.0, finish[i]))
        return _queue_cost(free, queue)

    def _least_cost(self, finish: Sequence[float], latest: float) -> float:
        """The cost if no instance finishes before `finish` and the makespan is at least `latest`."""
        if self._latency:
            return max(*finish, latest)
        # whichever instance is the last to finish, it does so at `latest` or after
        return min(
            _throughput_cost([*finish[:i], max(finish[i], latest), *finish[i + 1 :]]) for i in range(len(finish))
        )


def _queue_cost(free: float, queue: list[tuple[float, float]]) -> float:
    """A throughput cost that instances, (ms still to do here, least finish), cannot beat on one accelerator.

    Whichever k of them are the first to finish, their work from `free` on is at least that of the k shortest, and
    the k-th finish is no earlier than the k-th least one; shortest first is Smith's rule.
    """
    cost, done = 0.0, free
    for work, least in zip(sorted(work for work, _ in queue), sorted(least for _, least in queue), strict=True):
        done += work
        end = max(done, least)
        cost -= 1000 / end if end > 0 else inf
    return cost


def _throughput_cost(finish: Sequence[float]) -> float:
    return float("-inf") if min(finish) <= 0 else -sum(1000 / end for end in finish)
