"""docs/paper.md: the predictions it prints for the recorded tables are those that the scheduler gives."""

import re
from pathlib import Path

import pytest

from multidnn.schedule import Problem, Workload, artifact_schedule, solve
from multidnn.targets.recorded import write_tables

PAGE = Path(__file__).parents[2] / "docs" / "paper.md"
SCHEDULERS = ("serial", "naive", "mensa", "herald", "h2h", "haxconn")
ROW = re.compile(r"^\| (\w+)\+(\w+) " + r"\| ([\d.]+) " * len(SCHEDULERS) + r"\| ([\d.]+|–) \|$", re.MULTILINE)


def test_recorded_predictions_are_up_to_date(tmp_path: Path) -> None:
    write_tables(tmp_path, {})
    files = ("layer_results.csv", "transition_results.csv", "emc_results.csv", "contention.json")
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) == 3
    for first, second, *printed, artifact in rows:
        form = {
            "name": f"{first}+{second}",
            "instances": [{"name": f"{first}-1", "network": first}, {"name": f"{second}-2", "network": second}],
        }
        layers, transitions, emc, contention = (tmp_path / name for name in files)
        problem = Problem.from_files(layers, transitions, emc, contention, Workload.from_dict(form, "paper.md"))
        for scheduler, value in zip(SCHEDULERS, printed, strict=True):
            schedule = solve(problem, scheduler, max_transitions=2, time_limit_s=30)
            assert schedule.value == pytest.approx(float(value), abs=6e-4)
            if scheduler == "haxconn":
                assert schedule.status == "optimal"
        if artifact != "–":
            assert artifact_schedule(problem, "recorded").value == pytest.approx(float(artifact), abs=6e-4)
