"""What the configuration may say of networks that are kept at their latency, and what Snakemake plans for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multidnn.config import settings
from multidnn.config.references import broken_isolation
from multidnn.config.validation import validate
from multidnn.measure.isolation.case import IsolationOptions
from tests.workflow.conftest import ROOT, Project, default_config
from tests.workflow.test_config import message

Change = Callable[[dict[str, Any]], object]
FULL = {"protected": {"network": "alexnet", "accelerator": "ov"}, "beside": {"ort": ["googlenet"]}}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def case(**parts: Any) -> Change:
    """Have one entry on the host, `FULL` with `parts` in place of its own."""
    return lambda c: c["targets"]["host"].update(isolation={"kept": {**FULL, **parts}})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (case(protected={"network": "alexnett", "accelerator": "ov"}),
         "kept.protected.network: 'alexnett' is not in `networks of host`, found there: alexnet, .*(did you mean 'alexnet'?)"),
        (case(protected={"network": "alexnet", "accelerator": "small"}),
         "kept.protected.accelerator: 'small' is not in `accelerators of host`, found there: ort, ov"),
        (case(protected={"network": "alexnet"}), "kept.protected: the key 'accelerator' is missing"),
        (case(beside={"ov": ["googlenet"]}),
         "kept.beside.ov: found 'ov', which is the protected network's own, allowed: ort"),
        (case(beside={"gpu": ["googlenet"]}), "kept.beside.gpu: 'gpu' is not in `accelerators of host`"),
        (case(beside={"ort": ["googlenet", "vgg16"]}), "kept.beside.ort.1: 'vgg16' is not in `networks of host`"),
        (case(beside={"ort": []}), "kept.beside.ort: found nothing in it"),
        (case(beside={}), "kept.beside: found nothing in it"),
        (case(beside={"ort": "googlenet"}), "kept.beside.ort: found 'googlenet', allowed: a list"),
        (case(requests=1), "kept.requests: found 1, allowed: at least 2"),
        (case(blocks=1), "kept.blocks: found 1, allowed: at least 2"),
        (case(request=5), "kept.request: unknown key, allowed: protected, beside, requests, blocks, warmup"),
        (lambda c: c["targets"]["host"].update(isolation={"a/b": FULL}), "isolation.a/b: found the name 'a/b', allowed: let"),
        (lambda c: c["targets"]["orin"].update(isolation={"kept": FULL}), "targets.orin.isolation: unknown key, allowed: kind"),
        (lambda c: (case()(c), c["targets"]["host"].update(networks=["googlenet"], workloads=["googlenet+googlenet"])),
         "kept.protected.network: 'alexnet' is not in `networks of host`, found there: googlenet"),
        (lambda c: c["targets"]["cuda"]["isolation"]["googlenet-kept"]["protected"].update(accelerator="ov"),
         "googlenet-kept.protected.accelerator: 'ov' is not in `accelerators of cuda`, found there: small, large"),
    ],
)  # fmt: skip
def test_mistake_is_one_message_with_its_line(tmp_path: Path, change: Change, expected: str) -> None:
    said = message(tmp_path, change)
    assert said.startswith("config.yaml:")
    before, *after = expected.split(".*")
    assert before in said
    assert all(part in said for part in after)


def test_a_target_with_variants_is_told_where_to_put_it() -> None:
    config = default_config()
    config["targets"]["both"] = {"kind": "cuda", "variants": ["cuda", "cuda-64"], "isolation": {"kept": FULL}}
    ((path, said),) = broken_isolation(config, "both", "kept")
    assert path == ("targets", "both", "isolation", "kept")
    assert said == (
        "target 'both' has variants and no accelerators of its own, allowed: under one of cuda, cuda-64"
    )  # fmt: skip


def test_defaults_are_those_of_the_options() -> None:
    config = default_config()
    case()(config)
    entry = settings.isolation_cases(validate(config, ROOT), "host")["kept"]
    options = {key: value for key, value in entry.items() if key not in FULL}
    assert IsolationOptions(**options) == IsolationOptions()
    assert settings.isolation_networks(entry) == ["alexnet", "googlenet"]


def test_snakemake_measures_and_draws_each_entry(project: Project) -> None:
    config = default_config()
    case(beside={"ort": ["vgg19", "vgg19"]})(config)
    config["targets"]["host"]["isolation"]["again"] = FULL
    project.configure(config)
    jobs = project.jobs("--", "isolation")
    assert jobs["measure_isolation"] == jobs["draw_isolation"] == 2
    assert "run" not in jobs
    assert project.jobs("--", "all")["measure_isolation"] == 2


def test_asking_a_target_without_any_says_so(project: Project, refused: Callable[..., str]) -> None:
    config = default_config()
    del config["targets"]["host"]["isolation"]
    project.configure(config)
    assert refused("-n", "--", "isolation") == (
        "isolation: target 'host' has no entries under targets.host.isolation"
    )  # fmt: skip
    assert "measure_isolation" not in project.jobs("--", "all")
    said = refused("-n", "--config", "target=recorded", "--", "isolation")
    assert said.startswith("isolation: target 'recorded' is of kind recorded: it has tables, schedules")
