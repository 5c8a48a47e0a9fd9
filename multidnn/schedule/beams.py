"""Beam search (`incumbents`) within a run of haxconn: a share of the time beside the proof, or all of it."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from multidnn.schedule.compiled.engine import Engine, Found
from multidnn.schedule.incumbents import Progress, search
from multidnn.schedule.search_state import SearchState


class Beams:
    """A beam search for better schedules that goes on in stretches of given lengths."""

    def __init__(self, state: SearchState) -> None:
        """Prepare the search; it begins with the first stretch."""
        self._state = state
        self._progress = _search(state, state.engine, proofs=False)
        self._due = 0.0

    def follow(self, seconds: float) -> Generator[Found, None, None]:
        """Let the search go on for so long, less what it took too long before."""
        self._due += seconds
        while self._due > 0 and not self._state.over():
            begun = monotonic()
            progress = next(self._progress, None)
            if progress is None:
                return
            self._due -= monotonic() - begun
            yield from _take(self._state, progress)


def beams_only(state: SearchState) -> Generator[Found, None, None]:
    """Look for schedules on one core while the bound rises on another, until they meet or time is up."""
    second = Engine(state.problem, state.engine.tables)
    second.use(state.engine.prices)
    dives, proofs = _search(state, state.engine, proofs=False), _search(state, second, dives=False)
    with ThreadPoolExecutor(max_workers=1) as beside:
        while monotonic() < state.deadline and not state.stop() and not state.closed():
            raised = beside.submit(next, proofs, None)
            yield from _take(state, next(dives, None))
            yield from _take(state, raised.result())


def _search(state: SearchState, engine: Engine, dives: bool = True, proofs: bool = True) -> Iterator[Progress]:
    return search(
        engine, state.limits, state.excluded_groups, state.best, state.bound, dives, proofs, lambda: state.best
    )


def _take(state: SearchState, progress: Progress | None) -> Generator[Found, None, None]:
    if progress is not None:
        state.bound = max(state.bound, progress.bound)
        yield from state.better(progress.best)
