"""However a command ends, nothing is left: no process, no shared memory, no half-written answer."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Board
from test_run import request


def processes_with(text: str) -> dict[int, str]:
    """Return process id and command line of every process whose command line has `text`."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                # one that has ended and waits to be collected has no command line
                if text in line:
                    found[int(path.name)] = line
    return found


def wait_until(condition: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


class LongRun:
    """A run that goes on for minutes, and what belongs to it."""

    def __init__(self, board: Board, *options: str, **changes: Any) -> None:
        self.before = set(os.listdir("/dev/shm"))
        self._board = board
        content = request(board, **changes)
        (board.directory / "answer.json").unlink()
        content["options"] |= {"min_iterations": 1_000_000, "max_iterations": 1_000_000, "budget_s": 1000.0}
        self.process = subprocess.Popen(
            [*board.argv("run", content), *options],
            cwd=board.directory / "code",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.workers = wait_until(self._workers, 30)
        # into its iterations
        time.sleep(1.5)
        assert self.process.poll() is None, self.process.communicate()[1]

    def _workers(self) -> list[int] | None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children] if len(children) >= 2 else None

    def ends(self, within_s: float) -> str:
        """Wait for its end, check that nothing is left, and return its last line."""
        _, said = self.process.communicate(timeout=within_s)
        wait_until(lambda: not processes_with(str(self._board.directory)), within_s)
        # other tests on this machine may have something there for a moment
        wait_until(lambda: set(os.listdir("/dev/shm")) <= self.before, within_s)
        assert not (self._board.directory / "answer.json").exists()
        assert not list(self._board.directory.glob(".answer*"))
        return said.strip().splitlines()[-1] if said.strip() else ""


@pytest.fixture
def long_run(board: Board) -> Iterator[Callable[..., LongRun]]:
    started: list[LongRun] = []

    def start(*options: str, **changes: Any) -> LongRun:
        started.append(LongRun(board, *options, **changes))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


# within a second on a machine that is not busy; the run itself would take a thousand
SOON_S = 60.0


def test_a_worker_that_is_killed(long_run: Callable[..., LongRun]) -> None:
    run = long_run()
    os.kill(run.workers[1], signal.SIGKILL)
    assert run.ends(SOON_S) == (
        "error: worker 'dla0' was killed by signal 9; the other workers were ended and nothing was written"
    )
    assert run.process.returncode == 1


def test_a_worker_that_hangs_is_named_by_its_partner(long_run: Callable[..., LongRun]) -> None:
    run = long_run(timeout_s=1.0)
    os.kill(run.workers[1], signal.SIGSTOP)
    last = run.ends(SOON_S)
    # which of these comes first depends on where it was stopped
    assert "error: " in last
    assert "dla0" in last
    assert run.process.returncode == 1


def test_the_parent_is_killed(long_run: Callable[..., LongRun]) -> None:
    run = long_run()
    run.process.kill()
    run.ends(SOON_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_parent_is_asked_to_end(long_run: Callable[..., LongRun], number: int) -> None:
    run = long_run()
    run.process.send_signal(number)
    run.ends(SOON_S)
    assert run.process.returncode != 0


def test_lifeline(long_run: Callable[..., LongRun]) -> None:
    run = long_run("--lifeline")
    assert run.process.stdin is not None
    run.process.stdin.close()
    run.process.stdin = None
    assert run.ends(SOON_S) == "error: the connection to the caller was lost; everything was ended"


def test_without_lifeline_the_end_of_input_means_nothing(long_run: Callable[..., LongRun]) -> None:
    run = long_run()
    assert run.process.stdin is not None
    run.process.stdin.close()
    run.process.stdin = None
    time.sleep(0.5)
    assert run.process.poll() is None


def test_the_sampler_ends_too(long_run: Callable[..., LongRun], board: Board, tmp_path: Path) -> None:
    mark = f"ticker-{tmp_path.name}"
    ticker = ["sh", "-c", f"while true; do echo tick; sleep 0.05; done # {mark}"]
    content = request(board, energy={"seconds": 1000.0, "sampler": {"command": ticker}})
    process = subprocess.Popen(
        board.argv("run", content), cwd=board.directory / "code", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: [pid for pid, line in processes_with(mark).items() if line.startswith("sh ")], 30)
    process.kill()
    process.wait()
    wait_until(lambda: not [pid for pid, line in processes_with(mark).items() if line.startswith("sh ")], SOON_S)


def test_an_answer_that_was_there_stays(board: Board) -> None:
    answer = board.directory / "answer.json"
    argv = board.argv("run", {"workers": {}})
    answer.write_text(json.dumps({"format": 1, "old": True}))
    done = subprocess.run(argv, cwd=board.directory / "code", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(answer.read_text())["old"] is True
