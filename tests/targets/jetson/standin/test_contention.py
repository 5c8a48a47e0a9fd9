"""Engines on different accelerators slow each other down by the recorded curve, exactly under a steady load."""

import statistics
import time

import pytest

from multidnn.targets.recorded.answer import recorded_data

LOAD = """
bound = Bound(load(open(sys.argv[1], "rb").read(), 0))
events, rounds = [cuda.Event(), cuda.Event()], 0
import select
while True:
    bound.context.execute_async_v3(bound.stream.handle)
    events[rounds % 2].record(bound.stream)
    if rounds:
        events[(rounds - 1) % 2].synchronize()
    rounds += 1
    if rounds == 100:
        print("running", flush=True)
    if rounds > 100 and select.select([sys.stdin], [], [], 0)[0]:
        break
bound.stream.synchronize()
"""
VICTIM = """
bound = Bound(load(open(sys.argv[1], "rb").read(), 0))
answer([bound.ms(repeats=3) for _ in range(60)])
"""
BUILD = """
open(sys.argv[2], "wb").write(build(sys.argv[1], dla=sys.argv[3] == "dla"))
answer(0)
"""


def slowdown(demand: float, external: float) -> float:
    """The curve, read from the table without the stand-in's code."""
    pccs = recorded_data()["pccs"]
    rows = [[1.0, *(x / y for y in row)] for x, row in zip(pccs["demand_gb_s"], pccs["achieved_gb_s"], strict=True)]

    def between(axis: list[float], values: list[float], at: float) -> float:
        at = min(max(at, axis[0]), axis[-1])
        i = max(i for i in range(len(axis) - 1) if axis[i] <= at)
        return values[i] + (values[i + 1] - values[i]) * (at - axis[i]) / (axis[i + 1] - axis[i])

    return between(pccs["demand_gb_s"], [between([0, *pccs["external_gb_s"]], row, external) for row in rows], demand)


def test_a_steady_load_slows_by_the_recorded_curve(board, googlenet, convolution, tmp_path):
    the = board(board="xavier", loop_hold_ms=5000.0)
    recorded, peak = recorded_data(), recorded_data()["peak_gb_s"]
    group, load = tmp_path / "group", tmp_path / "load"
    the.run(BUILD, googlenet / "group_06.onnx", group, "dla")
    the.run(BUILD, convolution / "whole.onnx", load, "gpu")
    alone = the.run(VICTIM, group)
    with the.start(LOAD, load) as process:
        assert process.stdout.readline() == "running\n"
        beside = the.run(VICTIM, group)
        process.stdin.close()
        assert process.wait(20) == 0
    again = the.run(VICTIM, group)
    ms, out = recorded["networks"]["googlenet"]["ms"]["dla"][6], recorded["networks"]["googlenet"]["out_ms"]["dla"][6]
    own = recorded["networks"]["googlenet"]["percent"]["dla"][6] * peak / 100
    other = recorded["convolution_percent"]["conv3"][2] * peak / 100
    assert alone == pytest.approx([ms + out] * 60, rel=1e-6)
    assert again == pytest.approx([ms + out] * 60, rel=1e-6)
    slowed = ms * slowdown(own, other) + out
    assert slowed > 1.1 * (ms + out)
    assert statistics.median(beside) == pytest.approx(slowed, rel=1e-6)
    # the load may have been kept from the processor now and then, but not for long
    assert sum(value == pytest.approx(slowed, rel=1e-6) for value in beside) > 40


def test_an_accelerator_does_not_slow_itself(board, googlenet, convolution, tmp_path):
    the = board(board="xavier")
    group, load = tmp_path / "group", tmp_path / "load"
    the.run(BUILD, googlenet / "group_06.onnx", group, "gpu")
    the.run(BUILD, convolution / "whole.onnx", load, "gpu")
    with the.start(LOAD, load) as process:
        assert process.stdout.readline() == "running\n"
        beside = the.run(VICTIM, group)
        process.kill()
    recorded = recorded_data()["networks"]["googlenet"]
    assert beside == pytest.approx([recorded["ms"]["gpu"][6] + recorded["out_ms"]["gpu"][6]] * 60, rel=1e-6)


def test_tools_see_what_runs(board, convolution, tmp_path):
    the = board(board="xavier", settle_s=1.0, loop_hold_ms=5000.0)
    load = tmp_path / "load"
    the.run(BUILD, convolution / "whole.onnx", load, "gpu")
    idle = first_line(the)
    with the.start(LOAD, load) as process:
        assert process.stdout.readline() == "running\n"
        time.sleep(0.1)
        busy = first_line(the)
        process.kill()
    assert "EMC_FREQ 0%@2133 GR3D_FREQ 0%@1377" in idle
    percent = recorded_data()["convolution_percent"]["conv3"][2]
    assert f"EMC_FREQ {percent}%@2133 GR3D_FREQ 99%@1377" in busy
    assert rail(busy) > rail(idle)


def first_line(the) -> str:
    done = the.tool("board-python", "-c", FIRST_LINE, the.bin / "tegrastats")
    return done.stdout


FIRST_LINE = """
import subprocess, sys
with subprocess.Popen([sys.argv[1], "--interval", "1500"], stdout=subprocess.PIPE, text=True) as process:
    print(process.stdout.readline())
    process.terminate()
"""


def rail(line: str) -> int:
    """Return what the GPU of an AGX Xavier draws."""
    return int(line.rpartition(" GPU ")[2].split("mW")[0])
