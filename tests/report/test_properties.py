"""Properties for any samples and segments: one recommended row, gains that order like times, lanes that lose nothing."""

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from multidnn.report.advice import recommendation, uncertainty_ms
from multidnn.report.intervals import handovers, lanes
from multidnn.report.records import BASELINES, SCHEDULER_ORDER, Iteration, Run, ScheduleRecord, Segment
from multidnn.report.summary import workload_rows

TIMES = st.floats(0.01, 1e4)
SAMPLES = st.dictionaries(
    st.sampled_from(SCHEDULER_ORDER), st.lists(TIMES, min_size=1, max_size=8), min_size=1, max_size=6
)
SEGMENTS = st.lists(
    st.builds(
        lambda instance, first, accelerator, start, length: Segment(
            instance, first, first, accelerator, float(start), float(start + length)
        ),
        st.sampled_from("abc"),
        st.integers(0, 9),
        st.sampled_from(["x", "y", "chip"]),
        st.integers(0, 30),
        st.integers(0, 10),
    ),
    max_size=12,
    unique_by=lambda segment: (segment.instance, segment.first),
)


@given(SAMPLES)
def test_one_row_is_recommended_and_it_is_the_fastest(samples: dict[str, list[float]]) -> None:
    iterations = tuple(
        Iteration(name, i, ms, {}, ()) for name, values in samples.items() for i, ms in enumerate(values)
    )
    run = Run(Path("run.json"), "w", "host", iterations, {}, {})
    schedules = {
        name: ScheduleRecord(
            Path(f"{name}.json"), "w", "host", name, None, 1.0, None if name in ("whole", "streams") else {}
        )
        for name in samples
    }
    rows = workload_rows("w", 2, schedules, run)
    best = [row for row in rows if row["recommended"]]
    assert len(best) == 1
    assert best[0]["measured_median_ms"] == min(row["measured_median_ms"] for row in rows)
    assert all(row["measured_p95_ms"] >= row["measured_median_ms"] for row in rows)
    baselines = [row["measured_median_ms"] for row in rows if row["scheduler"] in BASELINES]
    for row in rows:
        gain = row.get("gain_over_best_baseline_pct")
        assert (gain is None) == (row["scheduler"] in BASELINES or not baselines)
        if gain is not None:
            assert (gain > 0) == (row["measured_median_ms"] < min(baselines))
    assert best[0]["scheduler"] in recommendation(rows, schedules, run)


@given(SEGMENTS)
def test_lanes_keep_every_segment_and_never_overlap(segments: list[Segment]) -> None:
    packed = lanes(segments, ["x", "y"])
    assert sorted(s for _, lane in packed for s in lane) == sorted(segments)
    for name, lane in packed:
        assert all(segment.accelerator == name for segment in lane)
        assert all(before.end_ms <= after.start_ms for before, after in itertools.pairwise(lane))


@given(SEGMENTS)
def test_handovers_are_the_changes_of_accelerator(segments: list[Segment]) -> None:
    expected = set()
    for instance in "abc":
        chain = sorted((s for s in segments if s.instance == instance), key=lambda s: s.first)
        for i in range(1, len(chain)):
            if chain[i].accelerator != chain[i - 1].accelerator:
                expected.add((chain[i - 1], chain[i]))
    assert set(handovers(segments)) == expected


@given(st.lists(TIMES, min_size=1, max_size=30), st.floats(0.1, 10))
def test_uncertainty_scales_with_the_samples_and_vanishes_without_spread(samples: list[float], factor: float) -> None:
    assert uncertainty_ms([samples[0]] * len(samples)) < 1e-9 * samples[0]
    scaled = uncertainty_ms([factor * value for value in samples])
    assert abs(scaled - factor * uncertainty_ms(samples)) <= 1e-6 * factor * max(samples)
