"""Loads the compiled searches before a clock runs: compiled once per installation, then read from numba's cache."""

import logging
import math
import os
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from time import monotonic

import numpy as np
from filelock import FileLock

from multidnn.schedule.compiled.configurations import cheapest_pattern
from multidnn.schedule.compiled.engine import Engine
from multidnn.schedule.incumbents import search
from multidnn.schedule.lp import prices_of, solve_bound
from multidnn.schedule.problem import GroupCost, NetworkCosts, Problem
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.workload import Instance, Workload

_log = logging.getLogger(__name__)

SLOW_S = 3.0
"""Loading that took longer was compiling, which is worth a line."""


@cache
def load() -> None:
    """Call every compiled search once, on a problem that takes no time; further calls do nothing.

    Processes that begin together wait for one of them, which compiles for all.
    """
    with FileLock(Path(gettempdir()) / f"multidnn-compiling-{os.getuid()}.lock"):
        _load()


def _load() -> None:
    started = monotonic()
    cost = GroupCost(1.0, 1.0)
    network = NetworkCosts(((cost, cost), (cost, cost)), {(0, 0, 1): (0.1, 0.1), (0, 1, 0): (0.1, 0.1)})
    workload = Workload("loading", "latency", (Instance("a", "x"), Instance("b", "x")))
    grid = Slowdown((0.0,), (0.0, 1.0), ((1.0, 1.5),))
    engine = Engine(Problem(workload, ("p", "q"), {"x": network}, (grid, grid)))
    groups = engine.groups_of(((0, 0), (0, 0)))
    limits = np.array([1, 1], dtype=np.int64)
    excluded = np.zeros((0, 2, 2), dtype=np.int8)
    found, _ = engine.order(groups, math.inf, 1)
    assert found is not None, "without a cutoff some order is found"
    bound = solve_bound(engine.tables, limits, 3, [groups.astype(np.int64)], lambda: False)
    engine.use(prices_of([bound]))
    scratch = np.zeros(2, dtype=np.int64)
    cheapest_pattern(engine.tables, 0, limits[0], engine.prices.work[0], engine.prices.hold[0], scratch)
    choices = [engine.enumerate(i, 1, np.full(1, math.inf), math.inf, 100) for i in range(2)]
    patterns = engine.patterns_of([own for own in choices if own is not None])
    members = [np.arange(patterns.start[i], patterns.start[i + 1], dtype=np.int64) for i in range(2)]
    engine.settle(patterns, members, np.arange(2), excluded, math.inf, 1000)
    for _ in search(engine, limits, excluded):
        pass
    engine.anneal(groups, np.array([[0.0, 1.0], [2.0, 3.0]]), math.inf, limits, excluded, 0.1, 0.01, 10)
    seconds = monotonic() - started
    if seconds > SLOW_S:
        _log.info("schedule: compiled the search in %.0f s; kept for the next time", seconds)
