"""Statistics against the standard library, and when sampling stops."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multidnn.measure import sampling
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sampling import UNSTABLE_SPREAD, Statistics, sample_rounds

times = st.floats(1e-3, 1e4)


@given(st.lists(times, min_size=2, max_size=40))
def test_statistics_agree_with_the_standard_library(samples: list[float]) -> None:
    found = Statistics.of(samples)
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    assert found.samples == len(samples)
    assert found.median == pytest.approx(statistics.median(samples))
    assert found.mean == pytest.approx(statistics.fmean(samples))
    assert found.std == pytest.approx(statistics.stdev(samples), abs=1e-9 * max(samples))
    assert found.spread == pytest.approx((high - low) / statistics.median(samples), abs=1e-9)


@given(times)
def test_one_sample_has_no_spread(sample: float) -> None:
    assert Statistics.of([sample]) == Statistics(sample, sample, 0.0, 1, 0.0)


def test_a_median_that_could_move_is_called_unstable() -> None:
    steady = [10, 10, 10, 10 + 5 * UNSTABLE_SPREAD, 10]
    torn = [10, 10, 10 * (1 + 2 * UNSTABLE_SPREAD), 10 * (1 + 3 * UNSTABLE_SPREAD)]
    assert not Statistics.of(steady).unstable
    assert Statistics.of(torn).unstable


@pytest.mark.parametrize(
    ("seconds_each", "counted"),
    [
        (0.0, 7),  # time is left, the most samples are reached
        (0.5, 4),  # 2 s of budget hold four
        (100.0, 3),  # the least number is taken whatever it costs
    ],
)
def test_sampling_stops_at_budget_between_least_and_most(
    monkeypatch: pytest.MonkeyPatch, seconds_each: float, counted: int
) -> None:
    now = 50.0

    def take() -> None:
        nonlocal now
        now += seconds_each
        calls.append(now)

    calls: list[float] = []
    monkeypatch.setattr(sampling, "monotonic", lambda: now)
    options = MeasureOptions(warmup=2, min_samples=3, max_samples=7, budget_s=2.0)
    assert sample_rounds(take, options) == counted
    assert len(calls) == options.warmup + counted
