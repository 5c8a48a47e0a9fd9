"""A workload that runs while it is solved: nothing dropped, nothing repeated, whatever joins, leaves or dies."""

import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multidnn.errors import InputError
from multidnn.runtime.background_solver import Answer, BackgroundSolver, Task
from multidnn.runtime.changes import first_schedule, given, joined, left, restricted
from multidnn.runtime.dynamic import DynamicIteration, DynamicRunner
from multidnn.runtime.dynamic_job import DynamicOptions, run_dynamic
from multidnn.schedule import Problem, Schedule, Workload, evaluate, solve
from multidnn.schedule.problem import GroupCost, Infeasible, NetworkCosts
from multidnn.schedule.slowdown import Slowdown
from multidnn.targets.host.target import HostTarget

two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")

Reference = Callable[[str, dict[str, Any]], dict[str, Any]]
GROUPS = {"alpha": 4, "beta": 3, "gamma": 1}


@pytest.fixture(scope="module", autouse=True)
def _compiled(compiled: None) -> None:
    """No workload should wait, iterating, for its solver to be compiled."""


def named(search: str) -> str:
    """Where the solver's process finds a search of the tests; nobody waits for an answer of the one that never ends."""
    return f"tests.runtime.{'searches' if search == 'busy_for_ever' else 'prompt_searches'}:{search}"


def costs(*rows: tuple[float | None, float | None]) -> NetworkCosts:
    """Times per group on the two accelerators, ms; a transition takes 0.1 ms on either side."""
    groups = tuple(tuple(None if time is None else GroupCost(time, 2.0) for time in row) for row in rows)
    holds = {
        (group, a, 1 - a): (0.1, 0.1)
        for group in range(len(rows) - 1)
        for a in (0, 1)
        if groups[group][a] is not None and groups[group + 1][1 - a] is not None
    }
    return NetworkCosts(groups, holds)


def problem_of(*instances: tuple[str, str] | tuple[str, str, list[str]], objective: str = "latency") -> Problem:
    """Each network is fast on one accelerator in its first groups and on the other in its last."""
    listed = [dict(zip(("name", "network", "after"), instance, strict=False)) for instance in instances]
    workload = Workload.from_dict({"name": "pool", "objective": objective, "instances": listed}, "pool")
    grid = {"demand_gb_s": [0, 4], "external_gb_s": [0, 4], "slowdown": [[1, 1.1], [1, 1.3]]}
    networks = {
        "alpha": costs((1, 4), (1, 4), (4, 1), (4, 1)),
        "beta": costs((3, 1), (3, 1), (1, 3)),
        "gamma": costs((2, 3)),
    }
    slowdown = (Slowdown.from_dict(grid, "ort"), Slowdown.from_dict(grid, "ov"))
    used = {name: networks[name] for name in workload.networks}
    return Problem(workload, ("ort", "ov"), used, slowdown)


@pytest.fixture
def pool() -> Problem:
    """Alpha and beta, and a second alpha that may join and then waits for beta."""
    return problem_of(("alpha", "alpha"), ("beta", "beta"), ("last", "alpha", ["beta"]))


def inputs_of(runner: DynamicRunner, seed: int) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return {
        instance: {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in network.inputs.items()}
        for instance, network in runner.runner.networks.items()
    }


class Checked:
    """Iterates on fresh inputs; every iteration must run each group of each instance that is there exactly once, and
    every output must be that of the whole model."""

    def __init__(self, runner: DynamicRunner, reference: Reference) -> None:
        self.runner = runner
        self.seen: list[DynamicIteration] = []
        self._reference = reference
        self._networks = {i.name: i.network for i in runner._all.workload.instances}

    def iterate(self, *present: str) -> DynamicIteration:
        inputs = inputs_of(self.runner, len(self.seen))
        self.runner.runner.clear_outputs()
        done = self.runner.iterate(inputs)
        self.seen.append(done)
        groups = Counter(
            (s.instance, group) for s in done.times.segments for group in range(s.first, s.last + 1)
        )  # fmt: skip
        assert groups == {(name, g): 1 for name in present for g in range(GROUPS[self._networks[name]])}
        assert set(done.times.finish_ms) == set(present) == set(self.runner.instances)
        ran = {(s.instance, s.first, s.last, s.accelerator) for s in done.times.segments}
        order = self.runner.schedules[done.schedule].order or {}
        assert ran == {(*entry, accelerator) for accelerator, turns in order.items() for entry in turns}
        outputs = self.runner.outputs()
        assert set(outputs) == set(present)
        for name, values in outputs.items():
            expected = self._reference(self._networks[name], inputs[name])
            assert set(values) == set(expected)
            for output, value in expected.items():
                np.testing.assert_allclose(values[output], value, rtol=1e-3, atol=1e-4 * np.abs(value).max())
        # nothing of an instance that is not there was touched
        for name, values in self.runner.runner.outputs().items():
            assert name in present or all(np.isnan(value).all() for value in values.values())
        return done

    def until_solved(self, *present: str) -> None:
        """Iterate until the search has ended."""
        # the search yields to everything else, so a busy machine keeps it waiting
        deadline = time.monotonic() + 200
        self.iterate(*present)
        while self.runner.solving:
            # three processes at work all the time would show nothing more
            time.sleep(0.01)
            self.iterate(*present)
            assert time.monotonic() < deadline, "the search goes on and on"
        # what the last answer brought has been taken up by then
        self.iterate(*present)


@pytest.fixture
def opened(
    host_spec: dict[str, Any], pool: Problem, tiny_networks: dict[str, Path], children: Callable[[], set[int]]
) -> Iterator[Callable[..., DynamicRunner]]:
    """Opens dynamic runners of the pool and closes them."""
    runners: list[DynamicRunner] = []

    def make(search: str, problem: Problem = pool, **options: Any) -> DynamicRunner:
        options = {"absent": ("last",), "max_transitions": 2, **options}
        target = HostTarget("box", host_spec)
        runners.append(DynamicRunner(target, problem, tiny_networks, search=named(search), **options))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()
    assert children() == set()


def kinds(runner: DynamicRunner) -> list[str]:
    return [event.kind for event in runner.events]


@two_cores
def test_each_better_schedule_is_taken_up_and_nothing_is_dropped_or_repeated(
    opened: Callable[..., DynamicRunner], reference: Reference, pool: Problem
) -> None:
    runner = opened("optimum_after_a_while")
    run = Checked(runner, reference)
    run.until_solved("alpha", "beta")
    runner.join("last")
    run.until_solved("alpha", "beta", "last")
    runner.leave("beta")
    run.until_solved("alpha", "last")
    assert [done.index for done in run.seen] == list(range(len(run.seen)))
    assert [done.time_s for done in run.seen] == sorted(done.time_s for done in run.seen)
    said = Counter(kinds(runner))
    once = dict.fromkeys(("start", "join", "leave"), 1)
    assert {kind: said[kind] for kind in once} == once
    assert said["optimal"] == said["solver_done"] == 3
    assert set(said) == {*once, "incumbent", "adopted", "optimal", "solver_done"}
    # what is run at the end of each phase is what a solver of its own finds
    everyone = pool.workload.instances
    names = [i.name for i in everyone]
    ends = [event for event in runner.events if event.kind == "solver_done"]
    for end, present in zip(ends, (names[:2], names, [names[0], names[2]]), strict=True):
        # last no longer waits for beta once that has left
        kept = [replace(i, after=i.after if "beta" in present else ()) for i in everyone if i.name in present]
        best = solve(restricted(pool, kept), "haxconn", max_transitions=2)
        assert end.facts["value"] == pytest.approx(best.value, rel=1e-6)
        assert end.facts["status"] == "optimal"


@two_cores
def test_every_adopted_schedule_is_better_than_the_one_before_and_counts_from_the_next_iteration(
    opened: Callable[..., DynamicRunner], reference: Reference, pool: Problem
) -> None:
    runner = opened("optimum_after_a_while")
    run = Checked(runner, reference)
    run.until_solved("alpha", "beta")
    naive = solve(restricted(pool, pool.workload.instances[:2]), "naive")
    optimum = solve(restricted(pool, pool.workload.instances[:2]), "haxconn", max_transitions=2)
    assert optimum.value < naive.value, "or this test shows nothing"
    assert [schedule.value for schedule in runner.schedules] == pytest.approx([naive.value, optimum.value])
    (adopted,) = (event for event in runner.events if event.kind == "adopted")
    assert [done.schedule for done in run.seen] == [
        0 if index < adopted.iteration else 1 for index in range(len(run.seen))
    ]
    (incumbent,) = (event for event in runner.events if event.kind == "incumbent")
    assert 0.3 <= incumbent.time_s <= adopted.time_s
    assert incumbent.facts["value"] == adopted.facts["value"] == optimum.value


@two_cores
def test_a_workload_that_comes_back_begins_with_its_own_best_schedule(
    opened: Callable[..., DynamicRunner], reference: Reference, pool: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = solve(restricted(pool, pool.workload.instances[:2]), "serial")
    # what is left after leaving happens to be as good here, so it is made worse
    monkeypatch.setattr("multidnn.runtime.dynamic.left", lambda problem, *_: given(problem, serial, 2))
    runner = opened("optimum_after_a_while", start=serial)
    run = Checked(runner, reference)
    run.until_solved("alpha", "beta")
    best = runner.schedule
    assert runner.schedules[0].order == serial.order
    assert (best.status, best.bound) == ("optimal", pytest.approx(best.value))
    runner.join("last")
    run.until_solved("alpha", "beta", "last")
    runner.leave("last")
    run.iterate("alpha", "beta")
    (join,), (leave,) = ([e for e in runner.events if e.kind == kind] for kind in ("join", "leave"))
    assert not join.facts["remembered"]
    assert leave.facts["remembered"]
    assert (runner.schedule.placement, runner.schedule.order) == (best.placement, best.order)
    assert runner.schedule.status == "feasible"


def test_a_schedule_that_cannot_begin_is_refused(pool: Problem) -> None:
    both = restricted(pool, pool.workload.instances[:2])
    best = solve(both, "haxconn", max_transitions=2)
    assert given(both, best, 2).value == pytest.approx(best.value)
    for schedule, words in (
        (replace(best, order=None), "'haxconn' places nothing"),
        (replace(best, placement={"alpha": ["ort"] * 4}), "placement: 'beta' is missing"),
    ):
        with pytest.raises(InputError, match=words):
            given(both, schedule, 2)
    with pytest.raises(InputError, match="1 transitions, at most 0 are allowed"):
        given(both, best, 0)


@two_cores
def test_a_schedule_that_is_no_better_is_not_taken_up(
    opened: Callable[..., DynamicRunner], reference: Reference
) -> None:
    runner = opened("worse_and_worse")
    Checked(runner, reference).until_solved("alpha", "beta")
    assert kinds(runner) == ["start", "solver_done"]
    assert len(runner.schedules) == 1


@two_cores
def test_a_change_while_the_solver_is_at_work_restarts_it(
    opened: Callable[..., DynamicRunner], reference: Reference
) -> None:
    runner = opened("optimum_after_a_while")
    run = Checked(runner, reference)
    run.iterate("alpha", "beta")
    # the first search is dropped, and its answer, should it still come, is not taken for one to the second
    for _ in range(2):
        runner.join("last")
        run.iterate("alpha", "beta", "last")
        runner.leave("last")
        run.iterate("alpha", "beta")
    runner.join("last")
    run.until_solved("alpha", "beta", "last")
    assert kinds(runner).count("optimal") == 1
    assert kinds(runner).count("join") == 3
    assert set(runner.schedule.placement or {}) == {"alpha", "beta", "last"}


@two_cores
def test_a_solver_that_is_killed_is_told_once_and_the_run_goes_on(
    opened: Callable[..., DynamicRunner], reference: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    runner = opened("killed_while_speaking")
    run = Checked(runner, reference)
    with caplog.at_level(logging.WARNING):
        run.until_solved("alpha", "beta")
        runner.join("last")
        for _ in range(3):
            run.iterate("alpha", "beta", "last")
        runner.leave("alpha")
        run.iterate("beta", "last")
    assert kinds(runner) == ["start", "incumbent", "adopted", "solver_lost", "join", "adopted", "leave", "adopted"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "was killed by signal 9; the run goes on with the best schedule so far" in caplog.text
    assert not runner.solving


@two_cores
def test_a_solver_that_gives_up_is_asked_again_after_a_change(
    opened: Callable[..., DynamicRunner], reference: Reference
) -> None:
    runner = opened("nothing_to_find")
    run = Checked(runner, reference)
    run.until_solved("alpha", "beta")
    runner.join("last")
    run.until_solved("alpha", "beta", "last")
    assert kinds(runner) == ["start", "solver_failed", "join", "adopted", "solver_failed"]
    assert runner.events[1].facts == {"reason": "alpha needs more than 0 transitions"}


@two_cores
def test_a_worker_killed_in_the_middle_is_one_error_and_nobody_is_left(
    opened: Callable[..., DynamicRunner], children: Callable[[], set[int]]
) -> None:
    runner = opened("busy_for_ever")
    runner.iterate()
    os.kill(runner.runner.process_ids()["ov"], signal.SIGKILL)
    with pytest.raises(InputError, match=r"worker 'ov' .*killed by signal 9"):
        runner.iterate()
    assert children() == set()


@two_cores
def test_an_interrupt_leaves_nobody(
    opened: Callable[..., DynamicRunner], children: Callable[[], set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = opened("busy_for_ever")
    runner.iterate()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.runner, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        runner.iterate()
    assert children() == set()


ENDLESS = """
import sys
from pathlib import Path
from multidnn.logs import job_log
from multidnn.runtime.dynamic import DynamicRunner
from multidnn.targets.host.target import HostTarget
from tests.runtime.test_dynamic import problem_of

cores = {"ort": {"runtime": "onnxruntime", "cores": "auto"}, "ov": {"runtime": "openvino", "cores": "auto"}}
problem = problem_of(("alpha", "alpha"), ("beta", "beta"))
networks = {name: Path(sys.argv[1]) / name for name in ("alpha", "beta")}
with job_log(sys.argv[2]), DynamicRunner(
    HostTarget("box", {"accelerators": cores}), problem, networks, search="tests.runtime.searches:busy_for_ever"
) as runner:
    runner.iterate()
    print(runner.solver.process_id, *runner.runner.process_ids().values(), flush=True)
    while True:
        runner.iterate()
"""


@two_cores
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_program_that_ends_takes_every_process_along(
    tiny_networks: dict[str, Path], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-c", ENDLESS, str(tiny_networks["alpha"].parent), str(tmp_path / "job.log")]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    try:
        processes = list(map(int, program.stdout.readline().split()))
        assert len(processes) == 3
        time.sleep(0.3)
        program.send_signal(number)
        _, said = program.communicate(timeout=120)
    finally:
        program.kill()
    assert program.returncode == code
    if number == signal.SIGINT:
        # before it there may be that the search was compiled
        assert said.splitlines()[-1] == "error: interrupted"
        assert "Traceback" not in said
    for process in processes:
        wait_for(lambda process=process: gone(process))


@two_cores
def test_changes_that_make_no_sense_are_refused_and_change_nothing(
    opened: Callable[..., DynamicRunner], reference: Reference
) -> None:
    runner = opened("busy_for_ever")
    for change, words in (
        (lambda: runner.join("first"), r"unknown instance 'first'; known: alpha, beta, last"),
        (lambda: runner.join("beta"), "instance 'beta' cannot join: it is there already"),
        (lambda: runner.leave("last"), "instance 'last' cannot leave: there are alpha, beta"),
    ):
        with pytest.raises(InputError, match=words):
            change()
    runner.leave("beta")
    with pytest.raises(InputError, match="instance 'last' waits for beta, which must be there first"):
        runner.join("last")
    with pytest.raises(InputError, match="instance 'alpha' cannot leave: it is the only one"):
        runner.leave("alpha")
    Checked(runner, reference).iterate("alpha")
    with pytest.raises(InputError, match="unknown instance 'nobody'"):
        runner.iterate({"nobody": {}})


def test_a_runner_that_cannot_be_opened_leaves_nobody(
    host_spec: dict[str, Any], pool: Problem, tiny_networks: dict[str, Path], children: Callable[[], set[int]]
) -> None:
    target = HostTarget("box", host_spec)
    for networks, options, words in (
        ({"alpha": tiny_networks["alpha"]}, {}, "needs network 'beta', which was not given"),
        (tiny_networks, {"absent": ("nobody",)}, "unknown instance 'nobody'; known: alpha, beta, last"),
        (tiny_networks, {"absent": ("alpha", "beta", "last")}, "no instance is there at the start"),
        (tiny_networks, {"absent": ("beta",)}, "instance 'last' waits for beta, which must be there first"),
    ):
        with pytest.raises(InputError, match=words):
            DynamicRunner(target, pool, networks, **options)
        assert children() == set()


def names_of(schedule: Schedule) -> set[tuple[str, int, int]]:
    return {tuple(entry) for turns in (schedule.order or {}).values() for entry in turns}


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_a_newcomer_goes_where_no_other_place_is_better(objective: str) -> None:
    pool = problem_of(("alpha", "alpha"), ("beta", "beta"), ("late", "gamma"), objective=objective)
    both = restricted(pool, pool.workload.instances[:2])
    before = solve(both, "haxconn", max_transitions=2)
    after = joined(pool, before, "late", 2)
    candidates = []
    for accelerator in ("ort", "ov"):
        for position in range(len(before.order[accelerator]) + 1):
            turns = [*before.order[accelerator]]
            turns.insert(position, ["late", 0, 0])
            placement = {**before.placement, "late": [accelerator]}
            timeline = evaluate(pool, placement, {**before.order, accelerator: turns})
            candidates.append(timeline.value(objective))
    assert len(candidates) >= 6
    assert len(set(candidates)) > 1
    assert after.value == (min(candidates) if objective == "latency" else max(candidates))
    assert names_of(after) == names_of(before) | {("late", 0, 0)}
    # leaving again gives what was there before
    again = left(both, after, "late", 2)
    assert (again.placement, again.order, again.value) == (before.placement, before.order, pytest.approx(before.value))


def test_a_newcomer_that_waits_never_deadlocks() -> None:
    pool = problem_of(("alpha", "alpha"), ("beta", "beta"), ("late", "gamma", ["alpha", "beta"]))
    before = solve(restricted(pool, pool.workload.instances[:2]), "haxconn", max_transitions=2)
    after = joined(pool, before, "late", 2)
    timeline = evaluate(pool, after.placement, after.order)
    (start,) = (s.start_ms for s in timeline.segments if s.instance == "late")
    assert start >= max(timeline.finish_ms["alpha"], timeline.finish_ms["beta"])


def test_where_nothing_fits_whole_an_instance_changes_as_rarely_as_possible() -> None:
    pool = problem_of(("alpha", "alpha"), ("odd", "beta"))
    pool.networks["beta"] = costs((None, 1), (2, None), (2, 1))
    start = first_schedule(pool, 1)
    assert start.placement["odd"] == ["ov", "ort", "ort"]
    assert names_of(start) == {("alpha", 0, 3), ("odd", 0, 0), ("odd", 1, 2)}
    assert start.value == evaluate(pool, start.placement, start.order).makespan_ms
    with pytest.raises(Infeasible, match="odd needs 1 transitions, at most 0 are allowed"):
        first_schedule(pool, 0)


# the solver's process


@pytest.fixture
def solver_of(children: Callable[[], set[int]]) -> Iterator[Callable[[str], BackgroundSolver]]:
    """Starts solvers and ends them."""
    started: list[BackgroundSolver] = []

    def start(search: str) -> BackgroundSolver:
        started.append(BackgroundSolver(named(search)))
        started[-1].wait_ready()
        return started[-1]

    yield start
    for solver in started:
        solver.close()
    assert children() == set()


def task_of(problem: Problem, number: int = 1, **options: Any) -> Task:
    return Task(number, problem, (first_schedule(problem, 2),), 2, 10.0, **options)


def wait_for(happened: Callable[[], Any], seconds: float = 200.0) -> Any:
    """What `happened` gives at last; the solver yields to everything else, so a busy machine keeps it waiting."""
    deadline = time.monotonic() + seconds
    while not (value := happened()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


def answers(solver: BackgroundSolver, last: str) -> list[Answer]:
    """The answers up to the first of kind `last`."""
    heard: list[Answer] = []
    wait_for(lambda: heard.extend(solver.poll()) or (heard and heard[-1].kind == last))
    return heard


def test_solver_uses_only_what_nobody_wants(solver_of: Callable[[str], BackgroundSolver], pool: Problem) -> None:
    solver = solver_of("busy_for_ever")
    assert os.sched_getscheduler(solver.process_id) == os.SCHED_IDLE
    assert os.getpriority(os.PRIO_PROCESS, solver.process_id) == 19
    before = solver.cpu_s()
    solver.solve(task_of(pool))
    wait_for(lambda: solver.cpu_s() > before + 0.1)
    solver.pause()
    wait_for(lambda: state_of(solver.process_id) == "T")
    still = solver.cpu_s()
    time.sleep(0.3)
    assert solver.cpu_s() == still
    solver.resume()
    wait_for(lambda: solver.cpu_s() > still + 0.05)
    solver.rest()
    # this search never sleeps
    wait_for(lambda: state_of(solver.process_id) == "S")
    resting = solver.cpu_s()
    time.sleep(0.3)
    assert solver.cpu_s() <= resting + 0.02


def test_solver_answers_in_order_and_to_the_task_it_has(
    solver_of: Callable[[str], BackgroundSolver], pool: Problem
) -> None:
    solver = solver_of("optimum_after_a_while")
    solver.solve(task_of(pool, 1))
    solver.solve(task_of(pool, 2))
    heard = answers(solver, "done")
    assert {answer.number for answer in heard} <= {1, 2}
    second = [answer for answer in heard if answer.number == 2]
    assert [answer.kind for answer in second] == ["better", "better", "done"]
    assert not [answer for answer in heard if answer.number == 1 and answer.kind == "done"]
    assert second[-1].schedule.status == "optimal"
    assert second[0].found <= second[1].found <= second[2].found <= time.monotonic()


def test_solver_that_never_rests_says_nothing(solver_of: Callable[[str], BackgroundSolver], pool: Problem) -> None:
    solver = solver_of("worse_and_worse")
    before = solver.cpu_s()
    solver.solve(task_of(pool, over_and_over=True))
    wait_for(lambda: solver.cpu_s() > before + 0.2)
    assert solver.poll() == []
    solver.solve(task_of(pool, 5))
    assert {answer.number for answer in answers(solver, "done")} == {5}


def test_a_solver_that_cannot_begin_is_an_error(
    host_spec: dict[str, Any], pool: Problem, tiny_networks: dict[str, Path], children: Callable[[], set[int]]
) -> None:
    with pytest.raises(InputError, match=r"the solver's process \d+ ended with exit code 1 before it began"):
        DynamicRunner(HostTarget("box", host_spec), pool, tiny_networks, search=named("not_there"))
    assert children() == set()


def test_a_solver_that_does_not_listen_can_be_ended(
    solver_of: Callable[[str], BackgroundSolver], pool: Problem
) -> None:
    solver = solver_of("deaf")
    solver.solve(task_of(pool))
    # by itself it would go on for longer than a test may take
    solver.close()
    solver.close()
    assert gone(solver.process_id)


ORPHAN = """
import sys, time
from multidnn.runtime.background_solver import BackgroundSolver
solver = BackgroundSolver("tests.runtime.searches:busy_for_ever")
solver.wait_ready()
if sys.argv[1] == "paused":
    solver.pause()
print(solver.process_id, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("state", ["running", "paused"])
def test_solver_ends_with_its_parent_however_that_ends(state: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, state], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    solver = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: gone(solver))


def gone(process: int) -> bool:
    """Whether a process has ended, waited for or not."""
    return state_of(process) in (None, "Z")


def state_of(process: int) -> str | None:
    """R of a process that runs or wants to, S of one that sleeps, T of one that is stopped, None of one that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return None


# the job


OPTIONS = DynamicOptions(
    warmup=1, min_iterations=3, budget_s=10.0, cost_iterations=6, cost_block=2, seed=3
)  # fmt: skip


@two_cores
def test_the_file_tells_what_happened(
    host_spec: dict[str, Any],
    pool: Problem,
    tiny_networks: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    children: Callable[[], set[int]],
) -> None:
    use(monkeypatch, "optimum_after_a_while")
    out = tmp_path / "dynamic" / "pool.json"
    run_dynamic(HostTarget("box", host_spec), pool, tiny_networks, ["last"], 2, OPTIONS, out)
    assert children() == set()
    content = json.loads(out.read_text())
    assert (content["format"], content["workload"], content["target"]) == (1, "pool", "box")
    assert [phase["cause"] for phase in content["phases"]] == ["start", "join", "leave"]
    assert content["phases"][1]["instances"] == ["alpha", "beta", "last"]
    first = content["phases"][0]
    assert 0.3 <= first["first_improvement_s"] == first["optimum_s"] <= first["proved_s"]
    assert content["first_improvement_s"] == first["first_improvement_s"]
    iterations = content["iterations"]
    assert [entry["index"] for entry in iterations] == list(range(len(iterations)))
    for number, phase in enumerate(content["phases"]):
        own = [entry for entry in iterations if entry["phase"] == number]
        assert len(own) == phase["iterations"] >= OPTIONS.min_iterations
        assert all(set(entry["finish_ms"]) == set(phase["instances"]) for entry in own)
        assert len({entry["schedule"] for entry in own[-OPTIONS.min_iterations :]}) == 1
    # each instance ran in each iteration that it was in, those of the cost included, and was compared each time
    both = len(iterations) + 2 * OPTIONS.cost_iterations
    last = content["phases"][1]["iterations"]
    assert content["executions"] == {
        name: dict.fromkeys(("wanted", "run", "compared"), count)
        for name, count in (("alpha", both), ("beta", both), ("last", last))
    }
    assert all(entry["ok"] for entry in content["outputs"].values())
    cost = content["cost_of_solving"]
    assert {state: len(values) for state, values in cost["makespan_ms"].items()} == {"paused": 6, "solving": 6}
    assert cost["ratio"] == pytest.approx(np.median(cost["makespan_ms"]["solving"]) / cost["paused_median_ms"])
    assert cost["solver_cpu_s"]["paused"] <= 0.02
    assert cost["schedule"] == len(content["schedules"]) - 1
    for earlier, later in itertools.pairwise(event["iteration"] for event in content["events"]):
        assert earlier <= later


@two_cores
def test_a_solver_lost_during_the_job_is_in_the_file(
    host_spec: dict[str, Any],
    pool: Problem,
    tiny_networks: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, "killed_while_speaking")
    out = tmp_path / "pool.json"
    run_dynamic(HostTarget("box", host_spec), pool, tiny_networks, ["last"], 2, OPTIONS, out)
    content = json.loads(out.read_text())
    assert [event["kind"] for event in content["events"]].count("solver_lost") == 1
    assert "killed by signal 9" in content["cost_of_solving"]["not_measured"]
    assert content["optimum_s"] is None
    assert all(entry["ok"] for entry in content["outputs"].values())


@two_cores
def test_the_real_search_reaches_the_optimum_in_every_phase(
    opened: Callable[..., DynamicRunner], reference: Reference, pool: Problem
) -> None:
    runner = opened("improve")
    run = Checked(runner, reference)
    run.until_solved("alpha", "beta")
    runner.join("last")
    run.until_solved("alpha", "beta", "last")
    values = [event.facts["value"] for event in runner.events if event.kind == "optimal"]
    best = [solve(p, "haxconn", max_transitions=2) for p in (restricted(pool, pool.workload.instances[:2]), pool)]
    assert values == pytest.approx([schedule.value for schedule in best], rel=1e-6)


def use(monkeypatch: pytest.MonkeyPatch, search: str) -> None:
    """Have the job's runner use a search of the tests."""
    defaults = dict(DynamicRunner.__init__.__kwdefaults__ or {})
    monkeypatch.setattr(DynamicRunner.__init__, "__kwdefaults__", {**defaults, "search": named(search)})
