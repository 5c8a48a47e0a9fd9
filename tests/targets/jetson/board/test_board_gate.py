"""Gates between processes: nothing passes early, nothing is lost, and a partner that is gone is named."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multidnn.targets.jetson.board import gate
from multidnn.targets.jetson.board.arena import Arena, Layout


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def start(function: Any, *arguments: Any) -> Any:
    process = gate.FORK.Process(target=function, args=arguments)
    process.start()
    return process


def _signal_often(one: Any, times: int) -> None:
    for _ in range(times):
        gate.signal(one)


def _wait_often(one: Any, times: int) -> None:
    for _ in range(times):
        gate.wait(one, 60, "the other side")


def test_no_signal_is_lost_or_given_twice() -> None:
    one = gate.make_gate()
    processes = [start(_signal_often, one, 5000) for _ in range(4)] + [
        start(_wait_often, one, 10_000) for _ in range(2)
    ]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert gate.count(one) == 0


def _ping(ours: Any, theirs: Any, rounds: int, delays: Any, results: Any) -> None:
    for i in range(rounds):
        time.sleep(delays[i])
        given = time.monotonic_ns()
        gate.signal(ours)
        gate.wait(theirs, 30, "the other side")
        results.send(given)


def test_a_wait_never_ends_before_its_signal() -> None:
    rounds = 200
    # some far longer than the spinning part of a wait
    delays = np.random.default_rng(1).choice([0, 1e-5, 1e-3, 1e-2], rounds, p=[0.3, 0.3, 0.3, 0.1])
    ours, theirs = gate.make_gate(), gate.make_gate()
    receive, send = gate.FORK.Pipe(False)
    process = start(_ping, ours, theirs, rounds, delays, send)
    passed = []
    for _ in range(rounds):
        gate.wait(ours, 30, "the other side")
        passed.append(time.monotonic_ns())
        gate.signal(theirs)
    given = [receive.recv() for _ in range(rounds)]
    process.join(10)
    assert all(after >= before for before, after in zip(given, passed, strict=True))
    assert gate.count(ours) == gate.count(theirs) == 0


def test_time_out_names_the_partner() -> None:
    begin = time.monotonic()
    with pytest.raises(gate.GateTimeoutError, match=r"waited 0\.2 s for worker 'dla0' \(segment 1 of googlenet\)"):
        gate.wait(gate.make_gate(), 0.2, "worker 'dla0' (segment 1 of googlenet)")
    assert time.monotonic() - begin >= 0.2


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_partner_gives_no_signal() -> None:
    one = gate.make_gate()
    start(_die).join(10)
    with pytest.raises(gate.GateTimeoutError, match="for the dead"):
        gate.wait(one, 0.1, "the dead")


def test_a_gate_has_no_name() -> None:
    before = shared_memory()
    kept = [gate.make_gate() for _ in range(5)]
    assert shared_memory() <= before
    assert [gate.count(one) for one in kept] == [0] * 5


def _line_up(line: gate.StartLine, name: str, rounds: int, results: Any) -> None:
    results.send([line.line_up(name, 30) for _ in range(rounds)])


def _skews(rounds: int) -> list[int]:
    """Start two workers together, over and over; return nanoseconds between them. None may begin before the start."""
    workers = ("gpu", "dla0")
    layout = Layout()
    layout.add("net", "x", (1,))
    line = gate.StartLine(Arena(layout).start_time(), workers)
    pipes = [gate.FORK.Pipe(False) for _ in workers]
    processes = [start(_line_up, line, name, rounds, send) for name, (_, send) in zip(workers, pipes, strict=True)]
    starts = []
    for _ in range(rounds):
        for name in workers:
            while not gate.try_wait(line.ready[name]):
                time.sleep(50e-6)
        starts.append(line.open(workers))
    began = [receive.recv() for receive, _ in pipes]
    for process in processes:
        process.join(10)
    assert all(min(one) >= start for *one, start in zip(*began, starts, strict=True))
    return [max(one) - min(one) for one in zip(*began, strict=True)]


def test_workers_begin_together() -> None:
    # on cores of their own they differ by tens of nanoseconds; a machine that is busy with other things delays either
    # side, but not both by the same again and again
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if min(skews := _skews(60)) < 20_000:
            return
    pytest.fail(f"workers never began within 20 microseconds of each other: {sorted(skews)[:5]} ns")


def test_more_waiters_than_cores_get_on() -> None:
    count = 3 * len(os.sched_getaffinity(0))
    gates = [gate.make_gate() for _ in range(count)]
    # a chain: each waits for the one before it
    processes = [start(_pass_on, gates[i], gates[(i + 1) % count], 20) for i in range(count - 1)]
    for _ in range(20):
        gate.signal(gates[0])
        gate.wait(gates[-1], 60, "the chain")
    for process in processes:
        process.join(30)
        assert process.exitcode == 0


def _pass_on(mine: Any, following: Any, rounds: int) -> None:
    for _ in range(rounds):
        gate.wait(mine, 60, "the one before")
        gate.signal(following)


def test_the_arena_has_no_name_and_is_shared(tmp_path: Path) -> None:
    before = shared_memory()
    layout = Layout()
    layout.add("net", "x", (2, 3))
    layout.add("other", "x", (4,))
    arena = Arena(layout)
    process = start(arena.write, "net", {"x": 7.0})
    process.join(10)
    assert shared_memory() <= before
    assert (arena.tensor(layout.slot("net", "x")) == 7).all()
    assert (arena.tensor(layout.slot("other", "x")) == 0).all()
    assert layout.slot("net", "x").offset % 4096 == layout.slot("other", "x").offset % 4096 == 0
