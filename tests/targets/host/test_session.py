"""Networks loaded on both accelerators: timing, background load, hand-overs; and opening a target."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets import open_target
from multidnn.targets.base import Loop, Service, Timed, Traffic, require
from multidnn.targets.host.session import HostSession
from multidnn.targets.host.target import HostTarget

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two accelerators need two cores")

SPEC = {
    "kind": "host",
    "accelerators": {
        "ort": {"runtime": "onnxruntime", "cores": "auto"},
        "ov": {"runtime": "openvino", "cores": "auto"},
    },
}


@pytest.fixture(scope="module")
def session(tiny_networks: dict[str, Path]) -> Iterator[HostSession]:
    """Beta twice, on both accelerators, and once whole on all cores."""
    network = ExportedNetwork.read(tiny_networks["beta"])
    with HostTarget("box", SPEC).open_session({"beta": network, "again": network}, chip={"beta": "openvino"}) as opened:
        opened.load()
        opened.fill_tensors(np.random.default_rng(1))
        yield opened


def test_timing_returns_a_number_per_pass_and_group(session: HostSession) -> None:
    for accelerator in ("ort", "ov"):
        rows = session.time(accelerator, [Timed("beta", 1), Timed("beta", 0, repeats=5)], passes=3)
        assert [len(row) for row in rows] == [2, 2, 2]
        assert all(value > 0 for row in rows for value in row)
    assert len(session.time_whole("beta", 4)) == 4


def test_a_repeated_group_counts_as_the_mean_of_its_runs(session: HostSession) -> None:
    begin = time.perf_counter()
    ((mean,),) = session.time("ort", [Timed("beta", 1, repeats=200)], passes=1)
    elapsed = 1000 * (time.perf_counter() - begin)
    assert 0 < 200 * mean <= elapsed


def test_instances_of_one_network_have_tensors_of_their_own(session: HostSession) -> None:
    (name,) = ExportedNetwork.read(session._instances["beta"].directory).outputs
    session.tensor("beta", name)[...] = 5
    session.tensor("again", name)[...] = 7
    session.time("ov", [Timed("again", group) for group in range(3)], passes=1)
    assert (session.tensor("beta", name) == 5).all()
    assert not (session.tensor("again", name) == 7).any()


def test_a_loop_runs_beside_a_timed_group_until_it_is_stopped(session: HostSession) -> None:
    with session.background({"ov": Loop((("again", 0), ("again", 1)))}) as answers:
        session.time("ort", [Timed("beta", 1)], passes=50)
    with session.background({"ov": Loop((("again", 0), ("again", 1)))}) as answers:
        time.sleep(0.3)
    assert answers["ov"] > 0


def test_traffic_counts_what_it_moved_and_rests_for_its_share(session: HostSession) -> None:
    # a fifth of the full speed, very generously; another program may take the core away from either
    assert any(rate_of_traffic(session, 0.2) < 0.6 * rate_of_traffic(session, 1.0) for _ in range(20))


def rate_of_traffic(session: HostSession, duty: float) -> float:
    with session.background({"ort": Traffic(duty)}) as answers:
        time.sleep(0.3)
    moved, seconds = answers["ort"]
    assert moved > 0
    assert seconds >= 0.3
    return moved / seconds


def test_peak_traffic_is_a_bandwidth(session: HostSession) -> None:
    # bytes per second, not GB/s, even with a core that others take away most of the time
    assert 1e6 < session.peak_traffic(0.3) < 1e13


def test_a_hand_over_is_timed_in_both_directions(session: HostSession, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps: dict[str, Any] = {}
    receive = session._crew.receive

    def keep(*workers: str, **limits: Any) -> dict[str, Any]:
        stamps.update(receive(*workers, **limits))
        return stamps

    monkeypatch.setattr(session._crew, "receive", keep)
    (name,) = session._instances["beta"].groups[0].outputs
    for source, destination in (("ort", "ov"), ("ov", "ort")):
        held, arrival, cold = session.time_transition(source, destination, "beta", name, 12)
        assert len(held) == len(arrival) == len(cold) == 12
        assert min(held) > 0
        assert min(arrival) >= 0
        # on one clock, nobody sees a signal before it is begun, nor a second one before the first was read
        last_read = 0
        for (begun, done), (received, first, second) in zip(stamps[source], stamps[destination], strict=True):
            assert last_read < begun < done
            assert begun < received
            assert min(first, second) > 0
            last_read = received + first + second


def test_a_hand_over_counts_from_the_end_of_signalling(session: HostSession, monkeypatch: pytest.MonkeyPatch) -> None:
    # the last signal is seen before the call that gives it returns: it took no time beyond that call
    stamps = {
        "ort": [(1_000_000, 1_030_000), (2_000_000, 2_010_000), (3_000_000, 3_040_000)],
        "ov": [(1_080_000, 9_000, 2_000), (2_010_000, 2_000, 5_000), (3_015_000, 1_000, 1_000)],
    }
    monkeypatch.setattr(session._crew, "send", lambda *command, **arguments: None)
    monkeypatch.setattr(session._crew, "receive", lambda *workers: {worker: stamps[worker] for worker in workers})
    (name,) = session._instances["beta"].groups[0].outputs
    held, arrival, cold = session.time_transition("ort", "ov", "beta", name, 3)
    assert held == pytest.approx([0.03, 0.01, 0.04])
    assert arrival == pytest.approx([0.05, 0.0, 0.0])
    assert cold == pytest.approx([0.007, -0.003, 0.0])


def test_requests_are_answered_beside_others_on_the_accelerators(session: HostSession) -> None:
    assert session.load_whole("ort", "again") is None
    assert session.load_whole("ov", "beta") is None
    executions = 0
    for _ in range(100):
        begin = time.perf_counter()
        served = session.serve(Service("beta", "ov"), [Service("again", "ort")], requests=200, warmup=3)
        elapsed = time.perf_counter() - begin
        assert len(served.latency_ms) == 200
        assert 0 < sum(served.latency_ms) <= 1e3 * served.window_s < 1e3 * elapsed
        executions += served.executions["again"]
        # its core may be another program's for as long as the requests take, some milliseconds
        if executions:
            break
    assert executions > 0


def test_beside_an_urgent_request_others_get_idle_time_only(session: HostSession) -> None:
    before = set(session.process_ids())
    session._chip["again"] = "onnxruntime"
    for _ in range(2):
        served = session.serve(Service("beta"), [Service("again")], requests=20, warmup=1, urgent=True)
        assert len(served.latency_ms) == 20
    (added,) = set(session.process_ids()) - before
    identity = session.process_ids()[added]
    policies = {os.sched_getscheduler(int(task)) for task in os.listdir(f"/proc/{identity}/task")}
    assert policies == {os.SCHED_IDLE}
    assert os.sched_getscheduler(session.process_ids()["chip:beta"]) == os.SCHED_OTHER


def test_a_model_that_an_accelerator_does_not_take_whole_has_a_reason(
    session: HostSession, tiny_networks: dict[str, Path], tmp_path: Path
) -> None:
    broken = ExportedNetwork.read(tiny_networks["beta"])
    path = tmp_path / "whole.onnx"
    path.write_bytes(b"no model")
    other = dataclasses.replace(broken, whole_path=path, directory=tmp_path)
    with HostTarget("box", SPEC).open_session({"beta": other}) as opened:
        assert "whole.onnx: onnxruntime cannot load it" in str(opened.load_whole("ort", "beta"))


def test_a_target_opens_by_its_kind() -> None:
    target = open_target("box", SPEC)
    assert (target.name, target.kind, target.accelerators) == ("box", "host", ("ort", "ov"))
    assert set(target.cores["ort"]).isdisjoint(target.cores["ov"])
    assert target.all_cores == tuple(sorted(os.sched_getaffinity(0)))
    facts = target.facts()
    assert facts["accelerators"]["ov"] == {"runtime": "openvino", "cores": list(target.cores["ov"])}
    assert set(facts["runtime_versions"]) == {"onnxruntime", "openvino"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "hots"}, r"kind 'hots' is unknown \(did you mean 'host'\?\)"),
        ({"kind": "recorded"}, "holds tables recorded elsewhere"),
        ({"kind": "host", "accelerators": {f"a{n}": {"runtime": "openvino", "cores": "auto"} for n in range(4097)}}, "4097 accelerators need"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_opened_says_why(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_target("box", spec)


def test_asking_for_what_a_target_cannot_do_lists_what_it_can() -> None:
    target = HostTarget("box", SPEC)
    require(target, "run")
    with pytest.raises(InputError, match=r"target 'box' \(kind host\) cannot do 'power'; it can do: contention, emc"):
        require(target, "power")


def test_a_counter_that_the_kernel_lacks_is_an_error_where_it_is_needed(
    session: HostSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multidnn.targets.host.session.find_counter", lambda process_id: (None, "none here"))
    with pytest.raises(InputError, match="no memory-traffic counter for accelerator 'ov': none here"):
        session.count_traffic("ov", [("beta", 0)], 0.1)


def test_opening_and_closing_leaves_no_process(
    tiny_networks: dict[str, Path], children: Callable[[], set[int]]
) -> None:
    with HostTarget("box", SPEC).open_session({"beta": ExportedNetwork.read(tiny_networks["beta"])}) as opened:
        assert len(children()) == 2
        assert set(opened.process_ids()) == {"ort", "ov"}
    assert children() == set()
