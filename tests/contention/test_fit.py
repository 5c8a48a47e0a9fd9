"""The slowdown grid: it obeys the timeline's rules for any samples, and finds a curve that lies within them."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from multidnn.contention.fit import Axes, CoRun, fit_grid
from multidnn.schedule.slowdown import Slowdown

DEMAND = (1.0, 4.0, 10.0, 20.0)
EXTERNAL = (0.0, 5.0, 15.0, 25.0)
AXES = Axes(DEMAND, EXTERNAL)

corun = st.builds(CoRun.steady, st.floats(0, 50), st.floats(0, 40), st.floats(0.5, 5))


@given(st.lists(corun, min_size=1, max_size=30))
@example([CoRun.steady(0.0, 1e-12, 2.0)])
@settings(max_examples=60, deadline=None)
def test_any_samples_give_a_grid_that_the_schedulers_accept(samples: list[CoRun]) -> None:
    grid = fit_grid(samples, AXES)
    # the schedule part checks every rule of the format on its own
    accepted = Slowdown.from_dict(
        {"demand_gb_s": grid.demand, "external_gb_s": grid.external, "slowdown": grid.slowdown}, "grid"
    )
    assert max(map(max, grid.slowdown)) <= max(1.0, *(sample.slowdown for sample in samples))
    for sample in samples:
        assert abs(accepted(sample.demand, sample.external) - grid.at(sample.demand, sample.external)) < 1e-9


def test_samples_of_a_grid_give_that_grid_back() -> None:
    truth = np.array([[1, 1, 1.1, 1.2], [1, 1.1, 1.3, 1.5], [1, 1.3, 1.6, 1.8], [1, 1.4, 2.0, 2.1]])
    surface = RegularGridInterpolator((DEMAND, EXTERNAL), truth)
    points = np.random.default_rng(0).uniform([1, 0], [20, 25], size=(4000, 2))
    samples = [CoRun.steady(d, e, float(surface((d, e)))) for d, e in points]
    assert np.abs(np.array(fit_grid(samples, AXES).slowdown) - truth).max() < 0.02


def test_noise_is_averaged_and_speedups_are_not_believed() -> None:
    rng = np.random.default_rng(1)
    samples = [CoRun.steady(5.0, 15.0, 1.2 + rng.normal(0, 0.05)) for _ in range(400)]
    samples += [CoRun.steady(5.0, 5.0, 0.9) for _ in range(400)]
    grid = fit_grid(samples, Axes((5.0,), EXTERNAL))
    assert abs(grid.at(5.0, 15.0) - 1.2) < 0.02
    assert grid.at(5.0, 5.0) < 1.01


def test_one_accelerator_alone_is_never_slowed() -> None:
    grid = fit_grid([], Axes((0.0,), (0.0,)))
    assert grid.slowdown == ((1.0,),)
