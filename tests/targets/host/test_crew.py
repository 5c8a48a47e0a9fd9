"""Workers and what happens when one of them, or their parent, does not live: one message, and nobody left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from multidnn.errors import InputError
from multidnn.targets.host.arena import Layout
from multidnn.targets.host.crew import Crew

CORE = (min(os.sched_getaffinity(0)),)
CREW = {"one": CORE, "two": CORE}

# starts a crew, says who its workers are, and puts both to work that never ends
PARENT = """
import json
import os
import signal
from multidnn.targets.host.crew import Crew

# a shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
core = (min(os.sched_getaffinity(0)),)
with Crew({"one": core, "two": core}, 1 << 20, 2) as crew:
    for name in ("one", "two"):
        crew.send(name, "traffic", duty=0.1, running=0, stop=1)
        crew.wait_signal(0, 60, name)
    print(json.dumps(crew.process_ids()), flush=True)
    crew.receive("one", "two")
"""


def alive(process_id: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def busy_parent() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process with a busy crew, in a process group of its own, and its workers; whoever outlives the test is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        workers = list(json.loads(parent.stdout.readline()).values())
        assert len(workers) == 2
        assert all(map(alive, workers))
        try:
            yield parent, workers
        finally:
            parent.kill()
            for worker in filter(alive, workers):
                os.kill(worker, signal.SIGKILL)


def test_workers_are_pinned_and_set_their_own_thread_count(
    monkeypatch: pytest.MonkeyPatch, children: Callable[[], set[int]]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "13")
    with Crew(CREW, 4096, 2) as crew:
        for process_id in crew.process_ids().values():
            assert wait_until(lambda p=process_id: os.sched_getaffinity(p) == set(CORE), 30)  # type: ignore[misc]
            environment = Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
            assert b"OMP_NUM_THREADS=1" in environment
        assert children() == set(crew.process_ids().values())
    assert children() == set()


def test_a_crew_may_be_closed_twice_and_keeps_no_descriptor(children: Callable[[], set[int]]) -> None:
    before = os.listdir("/proc/self/fd")
    with Crew(CREW, 4096, 2) as crew:
        crew.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_an_output_captured_by_the_caller_does_not_hinder_workers(capsys: pytest.CaptureFixture[str]) -> None:
    # sys.stderr has no descriptor here, as in a notebook
    with Crew({"one": CORE}, 4096, 2) as crew:
        crew.call("one", "forget")


def test_a_tensor_written_here_is_what_a_worker_computes_on(
    tiny_networks: dict[str, Path], children: Callable[[], set[int]]
) -> None:
    layout = Layout()
    x, y = layout.add("x", (1, 4, 20, 20)), layout.add("y", (1, 12, 16, 16))
    model = tiny_networks["beta"] / "models" / "group_00.onnx"
    from multidnn.networks.exported import ExportedNetwork

    group = ExportedNetwork.read(tiny_networks["beta"]).groups[0]
    with Crew(CREW, layout.size, 2) as crew:
        inputs, outputs = dict.fromkeys(group.inputs, x), dict.fromkeys(group.outputs, y)
        crew.call("one", "load", key="k", runtime="onnxruntime", model=str(model), threads=1)
        crew.call("one", "bind", call="c", engine="k", inputs=inputs, outputs=outputs)
        results = []
        for value in (1.0, 2.0):
            crew.arena.tensor(x)[...] = value
            times = crew.call("one", "time_passes", calls=[("c", 3)], passes=4)
            assert [len(row) for row in times] == [1] * 4
            assert all(row[0] > 0 for row in times)
            results.append(crew.arena.tensor(y).copy())
    assert not np.array_equal(results[0], results[1])
    assert np.isfinite(results).all()


def test_a_worker_killed_in_the_middle_is_named_and_takes_the_others_down(children: Callable[[], set[int]]) -> None:
    named = set(os.listdir("/dev/shm"))
    with Crew(CREW, 4096, 2) as crew:
        ids = crew.process_ids()
        for name in CREW:
            crew.send(name, "traffic", duty=0.1, running=0, stop=1)
            crew.wait_signal(0, 60, name)
        os.kill(ids["two"], signal.SIGKILL)
        with pytest.raises(InputError) as error:
            crew.receive("one", "two", timeout_s=60)
        message = str(error.value)
        assert "worker 'two'" in message
        assert "killed by signal 9" in message
        assert not any(map(alive, ids.values()))
        assert children() == set()
    assert set(os.listdir("/dev/shm")) == named


def test_a_worker_killed_between_commands_is_named(children: Callable[[], set[int]]) -> None:
    with Crew(CREW, 4096, 2) as crew:
        os.kill(crew.process_ids()["one"], signal.SIGKILL)
        with pytest.raises(InputError, match=r"worker 'one'.*killed by signal 9"):
            crew.call("one", "forget")
        assert children() == set()
        with pytest.raises(InputError, match="worker 'two' was ended"):
            crew.call("two", "forget")


def test_a_worker_killed_before_it_signals_is_named(children: Callable[[], set[int]]) -> None:
    with Crew(CREW, 4096, 2) as crew:
        os.kill(crew.process_ids()["one"], signal.SIGKILL)
        with pytest.raises(InputError, match=r"worker 'one'.*killed by signal 9"):
            crew.wait_signal(0, 60, "one", "two")


def test_a_mistake_in_one_worker_is_reported_and_ends_all(children: Callable[[], set[int]]) -> None:
    with Crew(CREW, 4096, 2) as crew:
        ids = crew.process_ids()
        with pytest.raises(InputError) as error:
            crew.call("two", "time_passes", calls=[("never loaded", 1)], passes=1)
        assert "worker 'two'" in str(error.value)
        assert "never loaded" in str(error.value)
        assert not any(map(alive, ids.values()))


def test_a_worker_that_does_not_answer_is_given_up(children: Callable[[], set[int]]) -> None:
    with Crew(CREW, 4096, 2) as crew:
        crew.send("one", "traffic", duty=0.1, running=0, stop=1)
        with pytest.raises(InputError, match=r"no answer from one for 0\.2 s"):
            crew.receive("one", timeout_s=0.2)
        assert children() == set()


def test_a_killed_parent_leaves_no_worker(busy_parent: tuple[subprocess.Popen[str], list[int]]) -> None:
    parent, workers = busy_parent
    parent.kill()
    assert wait_until(lambda: not any(map(alive, workers)), 60)


def test_ctrl_c_leaves_no_worker(busy_parent: tuple[subprocess.Popen[str], list[int]]) -> None:
    parent, workers = busy_parent
    # a terminal sends it to the whole group
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(60) != 0
    assert wait_until(lambda: not any(map(alive, workers)), 60)
