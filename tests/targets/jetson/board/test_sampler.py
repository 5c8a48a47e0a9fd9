"""The child that prints readings."""

import sys
import time
from pathlib import Path

import pytest

from multidnn.targets.jetson.board.errors import BoardError
from multidnn.targets.jetson.board.sampler import Sampler


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def wait_for_lines(sampler: Sampler, count: int) -> None:
    until = time.monotonic() + 60
    while len(sampler.lines) < count:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_lines_are_stamped() -> None:
    before = time.monotonic_ns()
    with Sampler(python("import time\nfor i in range(1000): print('reading', i); time.sleep(0.02)")) as sampler:
        wait_for_lines(sampler, 3)
        lines = sampler.finish()
    assert len(lines) >= 3
    assert [line for _, line in lines[:2]] == ["reading 0", "reading 1"]
    stamps = [stamp for stamp, _ in lines]
    assert stamps == sorted(stamps)
    assert before < stamps[0] < time.monotonic_ns()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["no-such-sampler"], "no-such-sampler cannot be started: No such file"),
        (python("import sys; sys.exit('needs root')"), "ended with exit code 1: needs root"),
    ],
)
def test_a_sampler_that_fails(command: list[str], message: str) -> None:
    with pytest.raises(BoardError, match=message), Sampler(command):
        pass


def test_a_sampler_that_ends_meanwhile() -> None:
    with Sampler(python("import sys; print('one'); sys.stdin.read()")) as sampler:
        sampler._process.stdin.close()
        sampler._process.wait(60)
        with pytest.raises(BoardError, match="ended with exit code 0: one"):
            sampler.finish()


def test_it_ends_with_its_block(tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    code = f"import time\nwhile True: open({str(ticks)!r}, 'a').write('x'); print('x'); time.sleep(0.01)"
    with Sampler(python(code)):
        time.sleep(0.05)
    size = ticks.stat().st_size
    time.sleep(0.1)
    assert ticks.stat().st_size == size


def test_a_sampler_that_ends_with_its_input_goes_on_until_it_is_told_to() -> None:
    # as stats/jtop_lines.py does
    code = (
        "import os, threading, time\n"
        "threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()\n"
        "while True: print('reading', flush=True); time.sleep(0.02)"
    )
    with Sampler(python(code)) as sampler:
        wait_for_lines(sampler, 4)
        assert len(sampler.finish()) > 3
