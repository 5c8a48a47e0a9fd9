"""trtexec's own output, by version: banner, summary, profile, and why a part is missing."""

import re

import pytest

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers import trtexec_log
from multidnn.targets.jetson.parsers.trtexec_log import Statistics, version_of
from tests.targets.jetson.parsers.helpers import SAMPLES, recorded


@pytest.mark.parametrize(
    ("name", "status", "version", "gpu"),
    [
        ("trtexec-7.1.log", "passed", None, Statistics(3.6, 4.14, 3.68, 3.67, {"99": 3.88})),
        ("trtexec-8.2.log", "passed", "8.2.1", Statistics(3.7, 4.5, 3.9, 3.8, {"99": 4.4})),
        (
            "trtexec-10.3.log",
            "passed",
            "10.3.0",
            Statistics(5.34, 13.3, 7.58, 7.14, {"90": 10.2, "95": 10.8, "99.9": 12.9}),
        ),
    ],
)
def test_summary(name: str, status: str, version: str | None, gpu: Statistics) -> None:
    log = trtexec_log.read(SAMPLES / name)
    assert (log.status, log.version, log.require_summary().gpu_compute) == (status, version, gpu)


def test_the_block_of_7_1() -> None:
    log = trtexec_log.read(SAMPLES / "trtexec-7.1.log")
    summary = log.require_summary()
    assert log.command
    assert log.command.startswith("./trtexec --deploy=small.prototxt")
    assert summary.latency == Statistics(3.71, 4.25, 3.79, 3.77, {"99": 3.99})
    assert summary.end_to_end == Statistics(3.72, 4.31, 3.81, 3.78, {"99": 4.02})
    assert summary.enqueue == Statistics(0.21, 0.95, None, 0.25)
    assert (summary.h2d, summary.d2h, summary.throughput_qps) == (None, None, None)
    assert (summary.walltime_s, summary.gpu_compute_total_s) == (3.01, 2.99)
    assert len(log.require_profile().layers) == 5


def test_the_lines_of_8_and_later() -> None:
    summary = trtexec_log.read(SAMPLES / "trtexec-8.2.log").require_summary()
    assert summary.end_to_end == Statistics(3.95, 5, 4.2, 4.1, {"99": 4.9})
    assert summary.h2d == Statistics(0.1, 0.2, 0.15, 0.14, {"99": 0.19})
    assert summary.d2h == Statistics(0, 0.1, 0.05, 0.04, {"99": 0.09})
    assert (summary.throughput_qps, summary.walltime_s, summary.gpu_compute_total_s) == (250.5, 3.002, 2.93)
    later = trtexec_log.read(SAMPLES / "trtexec-10.3.log")
    assert later.require_summary().end_to_end is None
    assert [layer.kind for layer in later.require_profile().layers] == ["reformat", "layer", "layer", "foreign"]


def test_profiling_without_a_separate_run_has_no_summary() -> None:
    log = trtexec_log.read(SAMPLES / "trtexec-8.5-profile.log")
    assert (log.version, log.summary) == ("8.5.2", None)
    assert log.require_profile().layers[1].time_ms == pytest.approx(1.032)
    with pytest.raises(InputError, match=r":12: found no performance summary; from 8.4 to 10.3 .*--separateProfileRun"):
        log.require_summary()


def test_a_failure_is_told_in_the_logs_own_words() -> None:
    log = trtexec_log.read(SAMPLES / "trtexec-failed.log")
    assert log.status == "failed"
    assert len(log.errors) == 2
    for demand in (log.require_passed, log.require_summary, log.require_profile):
        with pytest.raises(
            InputError, match=r"trtexec failed: Error\[9\].*layer prob is not supported.*Engine could not be"
        ):
            demand()
    # a failure without a line of level E: the last words before it
    text = (
        "&&&& RUNNING TensorRT.trtexec # x\n[I] fine\nCuda failure: out of memory\n&&&& FAILED TensorRT.trtexec # x\n"
    )
    assert trtexec_log.parse(text, "x").errors == ("Cuda failure: out of memory",)


@pytest.mark.parametrize(
    ("digits", "version"),
    [("7201", "7.2.1"), ("8003", "8.0.3"), ("8401", "8.4.1"), ("8502", "8.5.2"), ("8602", "8.6.2"), ("100300", "10.3.0"),
     ("100701", "10.7.1"), ("110401", "11.4.1")],
)  # fmt: skip
def test_versions(digits: str, version: str) -> None:
    assert version_of(digits) == version


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "&&&& PASSED TensorRT.trtexec [TensorRT v8201] # trtexec --loadEngine=small.engine\n",
            "",
            r":12: the log ends without",
        ),
        ("v8201", "v82", r":1: found version v82, expected"),
        ("mean = 3.9 ms, ", "", r":9: GPU Compute Time has no mean_ms"),
        (
            "percentile(99%) = 4.4 ms",
            "percentile(99%) = 4.",
            r":9: GPU Compute Time: found 'percentile\(99%\) = 4\.', expected",
        ),
        ("mean = 3.9 ms", "mean = nan ms", r":9: GPU Compute Time, mean is nan, expected a finite number"),
        ("Throughput: 250.5 qps", "Throughput: 250.5", r":4: Throughput is '250.5', expected a number and qps"),
        ("H2D Latency", "D2H Latency", r":10: a second line 'D2H Latency'"),
        ("[02/03/2022-10:00:00] [I] TensorRT", "&&&& RUNNING TensorRT.trtexec # y\nTensorRT", r":2: a second run"),
    ],
)
def test_a_mistake_is_reported_with_its_line(old: str, new: str, expected: str) -> None:
    text = (SAMPLES / "trtexec-8.2.log").read_text()
    assert old in text
    with pytest.raises(InputError) as caught:
        trtexec_log.parse(text.replace(old, new), "log")
    assert re.search(expected, str(caught.value)), caught.value


def test_a_block_of_7_1_that_was_cut() -> None:
    text = "[I] GPU Compute\n[I] min: 3.6 ms\n[I] max: 4.1 ms\n"
    with pytest.raises(InputError, match=r"log:1: 'GPU Compute' has no mean_ms, median_ms; the log is truncated"):
        trtexec_log.parse(text, "log")


def test_a_run_that_was_ended_tells_its_errors() -> None:
    text = "&&&& RUNNING TensorRT.trtexec # x\n[E] [TRT] out of memory\n"
    with pytest.raises(InputError, match=r"log:2: the log ends without .* out of memory"):
        trtexec_log.parse(text, "log")


def test_text_of_another_kind() -> None:
    with pytest.raises(InputError, match=r"log:2: found nothing of trtexec's"):
        trtexec_log.parse("\nhello\n", "log")


def test_recorded_logs() -> None:
    block = trtexec_log.read(recorded("trtexec-7.1/gpu_compute_block.txt")).require_summary()
    assert block.gpu_compute == Statistics(1.93848, 2.08691, 1.9787, 1.97852, {"99": 2.00391})
    assert block.gpu_compute_total_s == 19.787
    log = trtexec_log.read(recorded("trtexec-8.x/perf_summary_8.4.1_1percentile.txt"))
    summary = log.require_summary()
    assert (log.status, log.version, summary.throughput_qps) == ("passed", "8.4.1", 1004.27)
    assert summary.gpu_compute == Statistics(0.965637, 4.24448, 0.993252, 0.97998, {"99": 1.29016})
    assert summary.latency
    assert summary.h2d
    assert summary.d2h
    # latency is the sum of its three parts, which a mixed-up column would not be
    means = [part.mean_ms or 0 for part in (summary.h2d, summary.gpu_compute, summary.d2h) if part]
    assert summary.latency.mean_ms == pytest.approx(sum(means), abs=2e-3)
    xavier = trtexec_log.read(recorded("trtexec-7.1/xavier_trt713_dumpProfile_dla.txt"))
    assert xavier.require_summary().gpu_compute == Statistics(3.60278, 4.14014, 3.68068, 3.66748, {"99": 3.87695})
    assert len(xavier.require_profile().layers) == 6
