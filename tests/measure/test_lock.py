"""The measurement lock: separate invocations take turns, and the one that waits says so."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from multidnn.measure.lock import machine_lock

HOLDER = """
import logging
import sys
import time
from multidnn.measure.lock import machine_lock

logging.basicConfig(level=logging.WARNING)
with machine_lock():
    print("begin", time.monotonic(), flush=True)
    time.sleep(0.3)
    print("end", time.monotonic(), flush=True)
"""


def test_two_processes_do_not_measure_at_once(tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    spans = []
    for holder in holders:
        out, error = holder.communicate(timeout=60)
        assert holder.returncode == 0, error
        spans.append(tuple(float(line.split()[1]) for line in out.splitlines()))
    (_, first_end), (second_begin, _) = sorted(spans)
    assert second_begin >= first_end


def test_a_process_that_waits_says_for_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stderr is not None
        with machine_lock():
            assert "another measurement is running" in holder.stderr.readline()
        assert holder.wait(60) == 0


def test_the_lock_is_free_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="in the middle"), machine_lock():
        raise ValueError("in the middle")
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", HOLDER], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("begin")
    assert "another measurement" not in done.stderr


def test_each_user_has_a_lock_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with machine_lock():
        monkeypatch.setattr("os.getuid", lambda: 4711)
        # another user's measurement does not wait
        with machine_lock():
            assert len(list(tmp_path.glob("*.lock"))) == 2
