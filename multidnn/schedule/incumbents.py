"""Better and better schedules, and a bound that rises to meet them, by beam searches of growing width.

Two kinds of pass take turns. A dive keeps few partial schedules and lets no accelerator wait on purpose, for a good
schedule soon. A proof leaves nothing out but what it has no room for, so the least bound among what it gave up is a
bound on every schedule; it gives up at once what lies above a level, and the level rises as long as it is reached.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, isfinite

from multidnn.schedule.compiled.beam import beam_for, start_beam
from multidnn.schedule.compiled.engine import Engine, Found, Groups
from multidnn.schedule.compiled.packing import Ints
from multidnn.schedule.compiled.partial import ToGo, to_go

STRETCH = 100_000
"""Partial schedules expanded between two looks at the clock by the caller: about 0.1 s, more beside other work."""

BUCKETS = 60
"""Moments at which partial schedules are compared."""

FIRST_WIDTH = 10
GROWTH = 3
WIDEST = 60_000
"""Partial schedules kept per moment: at first, by how much more each time, and at most (about 300 MB)."""

NOISE = 0.01
"""Random share of the rank in dives that repeat a width."""

CLOSE = 1e-9
"""A bound this close to the cost, relatively, closes the proof."""


@dataclass(frozen=True)
class Progress:
    """Where a search stands: the best schedule so far, and a cost that none of those allowed beats (-inf: none known)."""

    best: Found | None
    bound: float


def search(
    engine: Engine,
    limits: Ints,
    excluded: Groups,
    best: Found | None = None,
    bound: float = -inf,
    dives: bool = True,
    proofs: bool = True,
    latest: Callable[[], Found | None] = lambda: None,
) -> Iterator[Progress]:
    """Search until closed, or until the bound has met the best schedule.

    Args:
        engine: of the problem; its prices are read at the start of each pass, so they may be improved meanwhile.
        limits: [n] transitions allowed.
        excluded: [k, n, G] placements that are no result; the bound holds for the others.
        best: a schedule to beat.
        bound: a cost that no schedule beats.
        dives: whether to look for schedules.
        proofs: whether to raise the bound.
        latest: asked before each stretch for the best schedule known elsewhere.

    Yields:
        Progress after each stretch of about a tenth of a second at most; nothing is looked at but numbers, so the same
        call gives the same schedules in the same order.
    """
    if not (dives or proofs):
        raise ValueError("neither dives nor proofs")
    width = min(FIRST_WIDTH, WIDEST)
    share = 0.5
    repeated = False
    while best is None or bound < best.cost - CLOSE * abs(best.cost):
        if dives or best is None:
            for found, _ in _pass(
                engine, limits, excluded, best, width, False, NOISE if repeated else 0.0, inf, latest
            ):
                best = found
                yield Progress(best, bound)
        if proofs:
            level = inf
            if best is not None and isfinite(bound):
                level = bound + share * (best.cost - bound)
            floor = -inf
            for found, reached in _pass(engine, limits, excluded, best, width, True, 0.0, level, latest):
                best, floor = found, reached
                yield Progress(best, bound)
            if best is not None:
                floor = min(floor, best.cost)
            if floor > bound:
                bound = floor
                yield Progress(best, bound)
            if floor >= level:
                share = min(1.0, 1.5 * share)
            elif width == WIDEST:
                # no room for this level: a lower one may fit
                share = 0.7 * share
        repeated = width == WIDEST
        width = min(WIDEST, GROWTH * width)
    yield Progress(best, best.cost)


def _pass(
    engine: Engine,
    limits: Ints,
    excluded: Groups,
    best: Found | None,
    width: int,
    idle: bool,
    noise: float,
    level: float,
    latest: Callable[[], Found | None],
) -> Iterator[tuple[Found | None, float]]:
    """One beam search in stretches: the best so far, and what bound the pass has proved, -inf before its end."""
    tables = engine.tables
    n, _, accelerators = tables.time.shape
    go = to_go(tables, engine.prices, limits)
    memory = beam_for(n, accelerators, BUCKETS, width)
    start_beam(memory, limits)
    horizon = _horizon(engine, go, best)
    through = False
    while not through:
        known = latest()
        if known is not None and (best is None or known.cost < best.cost):
            best = known
        cutoff = inf if best is None else best.cost
        found, through = engine.run_beam(tables, go, memory, horizon, idle, noise, excluded, cutoff, level, STRETCH)
        if found is not None:
            best = found
        yield best, float(memory.floor[0]) if through else -inf


def _horizon(engine: Engine, go: ToGo, best: Found | None) -> float:
    """The time (ms) that the buckets divide; what runs longer shares the last one."""
    alone = float(go.start[-1, :, 0].min(axis=(1, 2)).sum())
    horizon = min(alone, best.cost) if best is not None and engine.tables.latency else alone
    return horizon if horizon > 0 else 1.0
