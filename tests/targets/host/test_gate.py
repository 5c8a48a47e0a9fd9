"""Signals between processes: never early, never lost, never for ever."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from multidnn.targets.host import gate

WAITS = [gate.wait_spinning, gate.wait_sleeping]

CHILD = """
import sys
from multidnn.targets.host import gate
gate.wait_sleeping(int(sys.argv[1]), 20, "the parent")
gate.signal(int(sys.argv[2]), 3)
"""


@pytest.fixture
def event() -> Iterator[int]:
    descriptor = gate.make_event()
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_does_not_pass_before_the_signal(event: int, wait: Callable[[int, float, str], None]) -> None:
    passed: list[float] = []
    waiter = threading.Thread(target=lambda: (wait(event, 20, "a signal"), passed.append(time.monotonic())))
    waiter.start()
    time.sleep(0.1)
    assert passed == []
    signalled = time.monotonic()
    gate.signal(event)
    waiter.join(20)
    assert len(passed) == 1
    assert passed[0] >= signalled


@pytest.mark.parametrize("wait", WAITS)
def test_each_signal_releases_one_wait(event: int, wait: Callable[[int, float, str], None]) -> None:
    gate.signal(event, 2)
    gate.signal(event)
    for _ in range(3):
        wait(event, 5, "a signal")
    assert not gate.try_wait(event)


@pytest.mark.parametrize("wait", WAITS)
def test_a_partner_that_never_comes_is_named(event: int, wait: Callable[[int, float, str], None]) -> None:
    begin = time.monotonic()
    with pytest.raises(gate.GateTimeoutError, match=r"waited 0\.05 s for the other side"):
        wait(event, 0.05, "the other side")
    assert time.monotonic() - begin >= 0.05


def test_sleeping_takes_no_processor_time(event: int) -> None:
    begin = time.thread_time()
    with pytest.raises(gate.GateTimeoutError):
        gate.wait_sleeping(event, 0.3, "nobody")
    assert time.thread_time() - begin < 0.1


def test_signals_cross_processes(event: int) -> None:
    back = gate.make_event()
    with subprocess.Popen([sys.executable, "-c", CHILD, str(event), str(back)], pass_fds=[event, back]) as child:
        gate.signal(event)
        for _ in range(3):
            gate.wait_sleeping(back, 20, "the child")
        assert child.wait(20) == 0
    os.close(back)
