"""Schedules executed for real: the right results in the right order, whatever the placement."""

import itertools
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multidnn.errors import InputError
from multidnn.runtime import Iteration, Runner
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.host.target import HostTarget

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")

Reference = Callable[[str, dict[str, Any]], dict[str, Any]]
SPEC = {
    "accelerators": {"ort": {"runtime": "onnxruntime", "cores": "auto"}, "ov": {"runtime": "openvino", "cores": "auto"}}
}


@pytest.fixture(scope="module")
def runner(
    trio: Workload,
    tiny_networks: dict[str, Path],
    random_schedules: list[Schedule],
    zigzag: Schedule,
    serial: Schedule,
    chip_schedules: list[Schedule],
    chip_runtimes: dict[str, str],
) -> Iterator[Runner]:
    schedules = [*random_schedules, zigzag, serial, *chip_schedules]
    with Runner(HostTarget("box", SPEC), trio, tiny_networks, schedules, chip_runtimes) as opened:
        yield opened


@pytest.fixture(scope="module")
def by_name(
    random_schedules: list[Schedule], zigzag: Schedule, serial: Schedule, chip_schedules: list[Schedule]
) -> dict[str, Schedule]:
    return {schedule.scheduler: schedule for schedule in [*random_schedules, zigzag, serial, *chip_schedules]}


def random_inputs(runner: Runner, seed: int) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return {
        instance: {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in network.inputs.items()}
        for instance, network in runner.networks.items()
    }


def run_checked(runner: Runner, scheduler: str, seed: int, reference: Reference) -> Iteration:
    """Run once on fresh inputs and compare every output with the whole model."""
    inputs = random_inputs(runner, seed)
    runner.write_inputs(inputs)
    runner.clear_outputs()
    iteration = runner.run(scheduler)
    outputs = runner.outputs()
    for instance in runner.workload.instances:
        expected = reference(instance.network, inputs[instance.name])
        assert set(outputs[instance.name]) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[instance.name][name], value, rtol=1e-3, atol=1e-4 * np.abs(value).max())
    return iteration


def check_times(iteration: Iteration, schedule: Schedule, workload: Workload) -> None:
    """Compare when segments ran with what the schedule demands."""
    spans = {(s.instance, s.first, s.last): s for s in iteration.segments}
    assert all(0 <= s.start_ms < s.end_ms for s in iteration.segments)
    assert [s.start_ms for s in iteration.segments] == sorted(s.start_ms for s in iteration.segments)
    assert iteration.makespan_ms == max(s.end_ms for s in iteration.segments)
    assert 0 <= iteration.idle_ms <= iteration.makespan_ms
    assert all(s.handover_ms >= 0 for s in iteration.segments if s.handover_ms is not None)
    for instance in workload.instances:
        chain = sorted((s for s in iteration.segments if s.instance == instance.name), key=lambda s: s.first)
        assert iteration.finish_ms[instance.name] == chain[-1].end_ms
        for earlier, later in itertools.pairwise(chain):
            assert later.first == earlier.last + 1
            assert later.start_ms >= earlier.end_ms
        for other in instance.after:
            assert chain[0].start_ms >= iteration.finish_ms[other]
    assert set(iteration.finish_ms) == {instance.name for instance in workload.instances}
    for accelerator, listed in (schedule.order or {}).items():
        turn = [spans[tuple(entry)] for entry in listed]
        assert all(s.accelerator == accelerator for s in turn)
        for earlier, later in itertools.pairwise(turn):
            assert later.start_ms >= earlier.end_ms
    if schedule.order is not None:
        assert len(spans) == len(iteration.segments) == sum(map(len, schedule.order.values()))


def test_every_schedule_gives_the_results_of_the_whole_models_in_its_own_order(
    runner: Runner, by_name: dict[str, Schedule], trio: Workload, reference: Reference
) -> None:
    assert runner.schedulers == tuple(by_name)
    # mixed, so that what one schedule leaves behind could spoil another
    names = [name for name in by_name for _ in range(4)]
    random.Random(7).shuffle(names)
    for seed, name in enumerate(names):
        check_times(run_checked(runner, name, seed, reference), by_name[name], trio)


def test_schedules_of_the_test_hand_over_in_both_directions(by_name: dict[str, Schedule]) -> None:
    moves = {
        (a, b)
        for schedule in by_name.values()
        for placed in (schedule.placement or {}).values()
        for a, b in itertools.pairwise(placed)
        if a != b
    }
    assert moves == {("ort", "ov"), ("ov", "ort")}


def test_hand_overs_are_measured_where_an_accelerator_had_to_wait(runner: Runner, trio: Workload) -> None:
    measured = 0
    for _ in range(10):
        segments = runner.run("zigzag").segments
        ends = {segment.end_ms for segment in segments}
        for segment in segments:
            if segment.handover_ms is not None:
                measured += 1
                # counted from the end of a segment that came before
                assert segment.handover_ms > 0
                assert any(segment.start_ms - segment.handover_ms == pytest.approx(end, abs=1e-9) for end in ends)
    assert measured
    alone = runner.run("serial")
    assert all(s.handover_ms is None for s in alone.segments)


def test_the_chip_used_whole_runs_one_after_another(runner: Runner) -> None:
    segments = runner.run("whole").segments
    assert [(s.instance, s.first, s.last, s.accelerator) for s in segments] == [
        ("alpha", 0, 3, "chip"),
        ("beta", 0, 2, "chip"),
        ("last", 0, 3, "chip"),
    ]
    for earlier, later in itertools.pairwise(segments):
        assert later.start_ms >= earlier.end_ms


def test_inputs_not_named_keep_what_they_had(runner: Runner, reference: Reference) -> None:
    inputs = random_inputs(runner, 100)
    runner.write_inputs(inputs)
    fresh = random_inputs(runner, 101)["beta"]
    runner.write_inputs({"beta": fresh})
    runner.run("serial")
    outputs = runner.outputs()
    for instance, used in (("alpha", inputs["alpha"]), ("beta", fresh)):
        for name, value in reference(instance, used).items():
            np.testing.assert_allclose(outputs[instance][name], value, rtol=1e-3, atol=1e-4 * np.abs(value).max())


def test_both_accelerators_alone_agree_with_the_whole_model(runner: Runner, reference: Reference) -> None:
    inputs = random_inputs(runner, 102)
    runner.write_inputs(inputs)
    for accelerator in ("ort", "ov"):
        runner.clear_outputs()
        for name, value in runner.run_alone("last", accelerator).items():
            expected = reference("alpha", inputs["last"])[name]
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"alhpa": {}}, r"unknown instance 'alhpa' \(did you mean 'alpha'\?\); known: alpha, beta, last"),
        ({"alpha": {"image": np.zeros((1, 3, 24, 24))}}, "instance 'alpha' has no input 'image'; it has data"),
        (
            {"alpha": {"data": np.zeros((3, 24, 24))}},
            r"input alpha/data has shape \(3, 24, 24\), expected \(1, 3, 24, 24\)",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(runner: Runner, inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        runner.write_inputs(inputs)


def test_a_schedule_that_was_not_given_lists_those_that_were(runner: Runner) -> None:
    with pytest.raises(InputError, match=r"no schedule 'haxconn' was given; there are random0, .*streams"):
        runner.run("haxconn")


def test_a_network_that_is_not_given_is_named(
    trio: Workload, tiny_networks: dict[str, Path], serial: Schedule, children: Callable[[], set[int]]
) -> None:
    with pytest.raises(InputError, match="workload 'trio' needs network 'beta', which was not given"):
        Runner(HostTarget("box", SPEC), trio, {"alpha": tiny_networks["alpha"]}, [serial])


def test_the_whole_chip_needs_a_runtime_for_each_network(
    trio: Workload, tiny_networks: dict[str, Path], chip_schedules: list[Schedule], children: Callable[[], set[int]]
) -> None:
    with pytest.raises(InputError, match="no runtime is known for network 'beta' on the whole chip"):
        Runner(HostTarget("box", SPEC), trio, tiny_networks, chip_schedules, {"alpha": "openvino"})


def test_two_schedules_under_one_name_are_refused(
    trio: Workload, tiny_networks: dict[str, Path], serial: Schedule, children: Callable[[], set[int]]
) -> None:
    with pytest.raises(InputError, match="two schedules of scheduler 'serial'"):
        Runner(HostTarget("box", SPEC), trio, tiny_networks, [serial, serial])


def test_a_schedule_that_a_runner_was_not_made_for_is_refused_and_the_others_stay(
    trio: Workload, tiny_networks: dict[str, Path], serial: Schedule, zigzag: Schedule, chip_schedules: list[Schedule]
) -> None:
    with Runner(HostTarget("box", SPEC), trio, tiny_networks, [serial]) as runner:
        for schedule in (zigzag, *chip_schedules):
            with pytest.raises(InputError, match=f"'{schedule.scheduler}' of workload 'trio' cannot be added"):
                runner.adopt(schedule)
        assert runner.schedulers == ("serial",)
        assert len(runner.run("serial").segments) == 3


def test_a_schedule_may_take_the_place_of_another(
    trio: Workload, tiny_networks: dict[str, Path], random_schedules: list[Schedule], reference: Reference
) -> None:
    with Runner(HostTarget("box", SPEC), trio, tiny_networks, [], adopting=True) as runner:
        for seed, schedule in enumerate(random_schedules):
            same_name = replace(schedule, scheduler="latest")
            runner.adopt(same_name)
            check_times(run_checked(runner, "latest", seed, reference), same_name, trio)
        assert runner.schedulers == ("latest",)


def test_a_worker_killed_between_iterations_is_named_and_nobody_is_left(
    trio: Workload, tiny_networks: dict[str, Path], zigzag: Schedule, children: Callable[[], set[int]]
) -> None:
    with Runner(HostTarget("box", SPEC), trio, tiny_networks, [zigzag]) as runner:
        runner.run("zigzag")
        os.kill(runner.process_ids()["ov"], signal.SIGKILL)
        with pytest.raises(InputError, match=r"worker 'ov' .*killed by signal 9"):
            runner.run("zigzag")
        assert children() == set()
        with pytest.raises(InputError, match="was ended"):
            runner.run("zigzag")


def test_a_worker_that_stands_still_does_not_stop_the_run_for_ever(
    trio: Workload, tiny_networks: dict[str, Path], zigzag: Schedule, children: Callable[[], set[int]]
) -> None:
    with Runner(HostTarget("box", SPEC), trio, tiny_networks, [zigzag], timeout_s=1.0) as runner:
        runner.run("zigzag")

        def stop_in_the_middle(*arguments: Any) -> Any:
            os.kill(runner.process_ids()["ov"], signal.SIGSTOP)
            return signal_all(*arguments)

        from multidnn.targets.host import gate

        signal_all = gate.signal
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gate, "signal", stop_in_the_middle)
            with pytest.raises(InputError, match=r"worker 'ort': waited 1 s for"):
                runner.run("zigzag")
        assert children() == set()
