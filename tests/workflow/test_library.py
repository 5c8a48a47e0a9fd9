"""The small parts that rules and scripts lean on: hashes, logs and merged tables."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from multidnn import hashing, tables
from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.logs import errors_since, job_log, unfinished
from multidnn.measure.merge import merge_tables


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two parts in place of multidnn."""
    for name in ("files.py", "tables.py", "left/a.py", "right/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(
            '"""Doc."""\n\n\ndef f(x):\n    """Doc."""\n    return x + 1  # why\n', encoding="utf-8"
        )
    (tmp_path / "left" / "table.json").write_text("[1]", encoding="utf-8")
    monkeypatch.setattr(hashing, "PACKAGE", tmp_path)
    hashing._part_digest.cache_clear()
    yield tmp_path
    hashing._part_digest.cache_clear()


def hashes() -> tuple[str, str]:
    hashing._part_digest.cache_clear()
    return hashing.package_hash("left"), hashing.package_hash("right")


def test_editing_a_part_changes_its_hash_alone(package: Path) -> None:
    left, right = hashes()
    (package / "left" / "a.py").write_text("def f(x):\n    return x + 2\n", encoding="utf-8")
    assert hashes()[0] != left
    assert hashes()[1] == right


def test_comments_documentation_and_formatting_change_nothing(package: Path) -> None:
    before = hashes()
    (package / "left" / "a.py").write_text(
        "def f( x ):\n    # other\n    'Other.'\n\n    return (x + 1)\n", encoding="utf-8"
    )
    assert hashes() == before


@pytest.mark.parametrize("change", ["files.py", "left/table.json", "left/new.py"])
def test_shared_modules_data_and_new_files_count(package: Path, change: str) -> None:
    before = hashes()
    (package / change).write_text("[2]", encoding="utf-8")
    after = hashes()
    assert after[0] != before[0]
    assert (after[1] != before[1]) == (change == "files.py")


def test_unknown_part_is_an_error() -> None:
    with pytest.raises(ValueError, match="no part 'scheduling'"):
        hashing.package_hash("scheduling")


def test_log_says_the_same_on_the_terminal_and_in_the_file(tmp_path: Path) -> None:
    code = (
        "import logging, sys\nfrom multidnn.logs import errors_since, job_log, unfinished\nfrom multidnn.errors import InputError\n"
        "with job_log(sys.argv[1]):\n    logging.getLogger('multidnn.part').info('layer: 3/10')\n"
        "    logging.getLogger('matplotlib').info('noise')\n    raise InputError('a.csv:3: found x')\n"
    )
    log = tmp_path / "logs" / "job.log"
    answer = subprocess.run([sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == ["layer: 3/10", "error: a.csv:3: found x"]
    assert [line.split(" ", 1)[1] for line in log.read_text().splitlines()] == [
        "layer: 3/10",
        "error: a.csv:3: found x",
    ]


def test_errors_of_this_run_are_found_again_and_older_ones_are_not(tmp_path: Path) -> None:
    for name, when in (("old", 1000.0), ("a/new", 3000.0)):
        path = tmp_path / f"{name}.log"
        with pytest.raises(SystemExit), job_log(path):
            raise InputError(f"{name} went wrong")
        os.utime(path, (when, when))
    assert errors_since(tmp_path, 2000.0) == ["error: a/new went wrong"]


def test_mark_changes_with_every_failure_and_with_no_success(tmp_path: Path) -> None:
    log = tmp_path / "job.log"

    def attempt(*, fails: bool) -> str | None:
        before = unfinished(log)
        try:
            with job_log(log):
                assert unfinished(log) not in (None, before)
                if fails:
                    raise InputError("no")
        except SystemExit:
            assert fails
        return unfinished(log)

    assert attempt(fails=False) is None
    first = attempt(fails=True)
    second = attempt(fails=True)
    assert len({None, first, second}) == 3
    assert attempt(fails=False) == attempt(fails=False) == second


def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop, job_log(tmp_path / "job.log"):
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert (tmp_path / "job.log").read_text(encoding="utf-8").splitlines()[0].endswith("error: interrupted")
    assert "Traceback" not in (tmp_path / "job.log").read_text(encoding="utf-8")


def test_defect_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), job_log(tmp_path / "job.log"):
        _ = 1 / 0
    assert "ZeroDivisionError" in (tmp_path / "job.log").read_text()
    assert not logging.getLogger("multidnn").handlers


def part(directory: Path, name: str, time: float) -> Path:
    path = directory / f"{name}.csv"
    row = {"network": name, "median_ms": time, "samples": 3}
    tables.write(path, tables.WHOLE, [row])
    write_json(path.with_suffix(".json"), {"samples_ms": [time]})
    return path


def test_merged_table_keeps_rows_in_order_and_every_sidecar(tmp_path: Path) -> None:
    parts = [part(tmp_path, "b", 2.0), part(tmp_path, "a", 1.0)]
    merge_tables(parts, tables.WHOLE, tmp_path / "all.csv")
    assert [row["network"] for row in tables.read(tmp_path / "all.csv", tables.WHOLE)] == ["b", "a"]
    sidecar = read_json(tmp_path / "all.json")
    assert sidecar == {"format": 1, "parts": {"b": {"samples_ms": [2.0]}, "a": {"samples_ms": [1.0]}}}


def test_merging_the_same_row_twice_or_a_truncated_part_writes_nothing(tmp_path: Path) -> None:
    first = part(tmp_path, "a", 1.0)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"other/a.csv: repeats the row a of .*a.csv"):
        merge_tables([first, part(tmp_path / "other", "a", 2.0)], tables.WHOLE, tmp_path / "all.csv")
    first.with_suffix(".json").write_text('{"samples', encoding="utf-8")
    with pytest.raises(InputError, match=r"a.json:1: not valid JSON"):
        merge_tables([first], tables.WHOLE, tmp_path / "all.csv")
    assert not list(tmp_path.glob("all.*"))
