"""What the configuration may say of workloads that run while they are solved, and what Snakemake plans for them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multidnn.config import settings
from multidnn.config.validation import validate
from tests.workflow.conftest import ROOT, Project, default_config
from tests.workflow.test_config import message

Change = Callable[[dict[str, Any]], object]
LOAD = "googlenet+alexnet"


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def join(entry: Any) -> Change:
    """Have that instance, and no other, join the workload."""
    return lambda c: c["dynamic"]["workloads"].update({LOAD: {"join": entry}})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["dynamic"]["workloads"].update(missing={}), r"dynamic.workloads.missing: 'missing' is not in `work"),
        (join({"x": {"network": "alexnett"}}), r"join.x.network: 'alexnett' is not in `networks`.*'alexnet'"),
        (join({"alexnet": {"network": "googlenet"}}), "'alexnet' is already the name of another instance"),
        (join({"x": {"network": "alexnet", "after": ["y"]}}), r"after: found 'y', expected one of"),
        (join({"x": {}}), "the key 'network' is missing"),
        (lambda c: c["dynamic"].update(cost_iterations=5), r"cost_iterations: found 5, allowed: at least 20"),
        (
            lambda c: (join({"x": {"network": "vgg19"}})(c), c["targets"]["host"].update(
                networks=["alexnet", "googlenet"], workloads=[LOAD])),
            f"workload '{re.escape(LOAD)}' needs network 'vgg19', found: alexnet, googlenet",
        ),
    ],
)  # fmt: skip
def test_mistake_is_one_message_with_its_line(tmp_path: Path, change: Change, expected: str) -> None:
    said = message(tmp_path, change)
    assert re.match(r"config.yaml:\d+: ", said)
    assert re.search(expected, said), said


def test_the_joining_instances_follow_those_of_the_workload() -> None:
    config = default_config()
    join({"late": {"network": "alexnet", "after": ["googlenet"]}})(config)
    checked = validate(config, ROOT)
    whole = settings.dynamic_dict(checked, LOAD)
    assert whole["instances"][:-1] == settings.workload_dict(checked, LOAD)["instances"]
    assert whole["instances"][-1] == {"name": "late", "network": "alexnet", "after": ["googlenet"]}
    assert settings.dynamic_workloads(checked, "host") == [LOAD]
    assert settings.dynamic_workloads(checked, "recorded") == []


def test_part_of_the_report_and_a_target_of_its_own(project: Project) -> None:
    jobs = project.jobs("--", "dynamic")
    assert jobs["run_dynamic"] == jobs["draw_dynamic"] == 1
    # it solves for itself
    assert not {"schedule", "run"} & set(jobs)
    assert project.jobs("--", "report")["run_dynamic"] == 1


def test_a_target_without_any_says_so(project: Project, refused: Callable[..., str]) -> None:
    config = default_config()
    config["dynamic"] = {}
    project.configure(config)
    assert refused("-n", "--", "dynamic") == "dynamic: target 'host' has none of the workloads under dynamic.workloads"
    assert "run_dynamic" not in project.jobs("--", "all")
