"""The choice of a grid: what networks do to each other is learnt from networks, and predicts pairs that were not seen."""

from collections.abc import Callable

import numpy as np
import pytest

from multidnn.contention.fit import CoRun, Grid
from multidnn.contention.resolution import fit_validated

Surface = Callable[[float, float], float]


def memory(demand: float, external: float) -> float:
    """What PCCS describes: nothing until the memory is busy, then in proportion."""
    return 1 + 0.3 * max(0.0, demand + external - 800) / 1000


def launches(demand: float, external: float) -> float:
    """The same, and a price of company that has nothing to do with traffic."""
    return memory(demand, external) + 0.07 * min(1.0, external / 30)


def measured(surface: Surface, rng: np.random.Generator, noise: float = 0.0) -> tuple[list[CoRun], list[list[CoRun]]]:
    def sample(demand: float, beside: tuple[tuple[float, float], ...]) -> CoRun:
        mean = sum(share * surface(demand, level) for level, share in beside)
        return CoRun(demand, beside, mean * (1 + rng.normal(0, noise)))

    traffic = [sample(d, ((e, 1.0),)) for d in rng.uniform(10, 1000, 40) for e in (700.0, 1400.0, 2800.0)]
    pairs = []
    for _ in range(12):
        beside = tuple((float(level), 0.1) for level in rng.uniform(20, 700, 10))
        pairs.append([sample(float(d), beside) for d in rng.uniform(10, 1000, 10)])
    return traffic, pairs


def error(grid: Grid, pairs: list[list[CoRun]]) -> float:
    return float(np.mean([100 * abs(grid.of(run) / run.slowdown - 1) for pair in pairs for run in pair]))


@pytest.mark.parametrize("surface", [memory, launches])
def test_unseen_pairs_are_predicted(surface: Surface) -> None:
    rng = np.random.default_rng(0)
    traffic, pairs = measured(surface, rng, noise=0.01)
    grid, resolution, said = fit_validated(traffic, pairs[:9], rng)
    _, unseen = measured(surface, rng)
    assert resolution is not None
    assert said is not None
    # the noise itself is 0.8 % in the mean
    assert error(grid, unseen) < 1.0
    assert said < 2.0


def test_the_generator_alone_does_not_know_the_price_of_company() -> None:
    rng = np.random.default_rng(1)
    traffic, pairs = measured(launches, rng)
    alone, *_ = fit_validated(traffic, [], rng)
    grid, *_ = fit_validated(traffic, pairs[:9], rng)
    assert error(grid, pairs[9:]) < 0.8 < 1.5 < error(alone, pairs[9:])


def test_without_co_runs_nothing_slows_down() -> None:
    grid, resolution, said = fit_validated([], [], np.random.default_rng(0))
    assert grid.slowdown == ((1.0,),)
    assert resolution is None
    assert said is None


def test_a_mixture_counts_by_its_shares() -> None:
    grid = Grid((0.0, 10.0), (0.0, 100.0), ((1.0, 1.0), (1.0, 2.0)))
    assert grid.of(CoRun(5.0, ((0.0, 0.5), (100.0, 0.25), (50.0, 0.25)), 1.0)) == pytest.approx(
        0.5 * 1 + 0.25 * 1.5 + 0.25 * 1.25
    )
