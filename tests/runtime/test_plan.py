"""From a schedule to what each worker does: turns, signals between workers, and what is refused."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.runtime.plan import CHIP, Plan, make_plan
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload

ACCELERATORS = ("ort", "ov")
Planner = Callable[[Schedule], Plan]


@pytest.fixture(scope="session")
def networks(tiny_networks: dict[str, Path], trio: Workload) -> dict[str, ExportedNetwork]:
    """Instance name to network."""
    return {i.name: ExportedNetwork.read(tiny_networks[i.network]) for i in trio.instances}


@pytest.fixture(scope="session")
def plan_of(trio: Workload, networks: dict[str, ExportedNetwork]) -> Planner:
    """The plan of a schedule of the trio."""
    return lambda schedule: make_plan(schedule, trio, networks, ACCELERATORS)


def named(plan: Plan, number: int) -> tuple[str, int, int]:
    segment = plan.segments[number]
    return segment.instance, segment.first, segment.last


def test_turns_are_those_of_the_order_and_waits_cross_workers_only(plan_of: Planner, zigzag: Schedule) -> None:
    plan = plan_of(zigzag)
    assert zigzag.order is not None
    for accelerator, listed in zigzag.order.items():
        assert [list(named(plan, number)) for number in plan.turns[accelerator]] == listed
    waits = {named(plan, number): {named(plan, s) for s in sources} for number, sources in plan.before.items()}
    assert waits == {
        ("alpha", 0, 0): set(),
        ("alpha", 1, 1): {("alpha", 0, 0)},
        ("alpha", 2, 2): {("alpha", 1, 1)},
        ("alpha", 3, 3): {("alpha", 2, 2)},
        ("beta", 0, 0): set(),
        ("beta", 1, 1): {("beta", 0, 0)},
        ("beta", 2, 2): {("beta", 1, 1)},
        ("last", 0, 0): set(),  # beta ended before on the same accelerator, whose turns say so already
        ("last", 1, 1): {("last", 0, 0)},
        ("last", 2, 2): {("last", 1, 1)},
        ("last", 3, 3): {("last", 2, 2)},
    }
    assert sorted(plan.edges) == sorted((s, n) for n, sources in plan.before.items() for s in sources)
    assert plan.spin


def test_a_schedule_on_one_accelerator_needs_no_signal(plan_of: Planner, serial: Schedule) -> None:
    plan = plan_of(serial)
    assert plan.edges == []
    assert plan.turns["ov"] == []


def test_an_instance_waits_for_another_across_accelerators(
    plan_of: Planner, trio: Workload, schedule_of: Callable[..., Schedule]
) -> None:
    placement = {"alpha": ["ort"] * 4, "beta": ["ov"] * 3, "last": ["ort"] * 4}
    order = {"ort": [["alpha", 0, 3], ["last", 0, 3]], "ov": [["beta", 0, 2]]}
    plan = plan_of(schedule_of(trio, "naive", placement, order))
    assert [(named(plan, a), named(plan, b)) for a, b in plan.edges] == [(("beta", 0, 2), ("last", 0, 3))]


def test_whole_runs_one_after_another_and_streams_all_at_once(plan_of: Planner, chip_schedules: list[Schedule]) -> None:
    whole, streams = map(plan_of, chip_schedules)
    for plan in (whole, streams):
        assert not plan.spin
        assert {segment.accelerator for segment in plan.segments} == {CHIP}
        assert len({segment.worker for segment in plan.segments}) == 3
        assert {named(plan, n) for n in range(3)} == {("alpha", 0, 3), ("beta", 0, 2), ("last", 0, 3)}
    edges = {(plan.segments[a].instance, plan.segments[b].instance) for plan in (whole,) for a, b in plan.edges}
    assert edges == {("alpha", "beta"), ("beta", "last")}
    assert [(streams.segments[a].instance, streams.segments[b].instance) for a, b in streams.edges] == [
        ("beta", "last")
    ]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_random_order_runs_through_when_signals_are_obeyed(
    plan_of: Planner, trio: Workload, random_schedule_of: Callable[[random.Random], Schedule], seed: int
) -> None:
    plan = plan_of(random_schedule_of(random.Random(seed)))
    turns = {worker: list(turn) for worker, turn in plan.turns.items()}
    signalled: set[tuple[int, int]] = set()
    finished: list[tuple[str, int, int]] = []
    while any(turns.values()):
        ready = [
            worker
            for worker, turn in turns.items()
            if turn and all((source, turn[0]) in signalled for source in plan.before[turn[0]])
        ]
        assert ready, "the plan is stuck"
        number = turns[ready[0]].pop(0)
        signalled |= {edge for edge in plan.edges if edge[0] == number}
        finished.append(named(plan, number))
    position = {segment: place for place, segment in enumerate(finished)}
    for instance in trio.instances:
        chain = sorted(segment for segment in finished if segment[0] == instance.name)
        assert [g for _, first, last in chain for g in range(first, last + 1)] == list(
            range({"alpha": 4, "beta": 3}[instance.network])
        )
        assert sorted(chain, key=position.__getitem__) == chain
        for other in instance.after:
            assert max(position[s] for s in finished if s[0] == other) < position[chain[0]]


def test_an_order_that_deadlocks_names_the_cycle(
    plan_of: Planner, zigzag: Schedule, schedule_of: Callable[..., Schedule], trio: Workload
) -> None:
    assert zigzag.order is not None
    order = {name: list(listed) for name, listed in zigzag.order.items()}
    order["ort"].insert(0, order["ort"].pop(2))
    with pytest.raises(InputError, match=r"'zigzag' of workload 'trio': its order deadlocks") as error:
        plan_of(schedule_of(trio, "zigzag", zigzag.placement, order))
    cycle = str(error.value).partition("deadlocks: ")[2].split(" -> ")
    assert cycle[0] == cycle[-1]
    assert {"alpha[2-2]", "alpha[0-0]"} <= set(cycle)


def test_a_schedule_of_another_workload_is_refused(plan_of: Planner, serial: Schedule) -> None:
    with pytest.raises(InputError, match="workload 'duo' cannot run workload 'trio'"):
        plan_of(replace(serial, workload="duo"))


def broken(serial: Schedule, **changes: Any) -> Schedule:
    assert serial.order is not None
    return replace(serial, order={**serial.order, **changes})


@pytest.mark.parametrize(
    ("ort", "words"),
    [
        ([["alpha", 0, 3], ["beta", 0, 1], ["last", 0, 3]], r"'beta' runs groups \[0, 1\], .* 0 to 2, each once"),
        ([["alpha", 0, 3], ["beta", 0, 2], ["last", 0, 3], ["beta", 2, 2]], r"'beta' runs groups \[0, 1, 2, 2\]"),
        ([["alpha", 0, 3], ["beta", 0, 3], ["last", 0, 3]], r"'beta' runs groups \[0, 1, 2, 3\]"),
        ([["alpha", 0, 3], ["beta", 0, 2]], r"'last' runs groups \[\]"),
        ([["alpha", 0, 3], ["beta", 0, 2], ["last", 0, 3], ["gamma", 0, 0]], "gamma"),
        ([["alpha", 0, 3], ["beta", 0, 2], ["last", 0]], r"order\.ort\[2\]"),
        ([["alpha", 0, 3], ["beta", 0, 2], ["last", 0, "3"]], r"order\.ort\[2\]"),
        ([["alpha", 0, 3], ["beta", 0, 2], "last"], r"order\.ort\[2\]"),
        ("alpha", r"order\.ort"),
    ],
)
def test_turns_that_do_not_cover_the_networks_are_refused(
    plan_of: Planner, serial: Schedule, ort: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        plan_of(broken(serial, ort=ort))


def test_an_accelerator_that_is_not_here_lists_those_that_are(plan_of: Planner, serial: Schedule) -> None:
    with pytest.raises(InputError, match=r"\['dla'\] do not exist here; there are \['ort', 'ov'\]"):
        plan_of(broken(serial, dla=[]))


def test_only_the_chip_used_whole_may_have_no_order(plan_of: Planner, serial: Schedule) -> None:
    with pytest.raises(InputError, match="'serial' of workload 'trio': order is null, which only whole and streams"):
        plan_of(replace(serial, placement=None, order=None))
