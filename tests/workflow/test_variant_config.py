"""Targets with variants: what the configuration may say of them, what it means, and what Snakemake plans for them."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from multidnn.config import settings
from multidnn.config.validation import validate
from multidnn.variants import variants_of
from tests.workflow.conftest import ROOT, Project, default_config
from tests.workflow.test_config import message

Change = Callable[[dict[str, Any]], object]
ORT = {"runtime": "onnxruntime"}
LOAD = "googlenet+alexnet"


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def host(**changes: Any) -> Change:
    """Have a target `both` of the variants `host` and `one`; a keyword replaces a target or, if None, takes it out."""
    targets = {
        "one": {"kind": "host", "accelerators": {"single": ORT}},
        "both": {"kind": "host", "variants": ["host", "one"]},
        **changes,
    }
    return lambda c: c["targets"].update(copy.deepcopy(targets))


def auto(**changes: Any) -> Change:
    """Have a target `auto` with `partitions: auto` and these further keys."""
    return lambda c: c["targets"].update(auto={"kind": "cuda", "partitions": "auto", **copy.deepcopy(changes)})


def parts(*names: str, **shared: Any) -> dict[str, Any]:
    """A cuda target with these partitions of 32 multiprocessors."""
    return {"kind": "cuda", "partitions": {name: {"sms": 32} for name in names}, **shared}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (host(both={"kind": "host", "variants": ["host", "on"]}),
         r"targets.both.variants.1: 'on' is not in `targets`, found there of kind host: host, one \(did you mean 'one'\?\)"),
        (host(both={"kind": "host", "variants": ["host", "both"]}), r"variants.1: found 'both', the target itself"),
        (host(both={"kind": "host", "variants": ["host", "orin"]}),
         r"variants.1: 'orin' is of kind jetson, allowed: targets of kind host, as 'both' is"),
        (host(more={"kind": "host", "variants": ["both"]}),
         r"targets.more.variants.0: 'both' has variants itself, allowed: targets with accelerators of their own"),
        (host(one={"kind": "host", "accelerators": {"ov": ORT}}),
         r"variants.1: 'host' and 'one' both have 'ov' among their accelerators; names must differ across variants"),
        (host(both={"kind": "host", "variants": []}), r"targets.both.variants: found nothing in it"),
        (host(both={"kind": "host", "variants": ["one", "one"]}), r"variants: 'one' is listed twice"),
        (host(both={"kind": "host", "variants": ["one"], "accelerators": {"x": ORT}}),
         r"both.accelerators: found beside variants, which have their own; allowed beside them: networks, workloads"),
        (host(both={"kind": "host"}), r"targets.both: the key 'accelerators' is missing; a target has accelerators or var"),
        (host(one={"kind": "host", "accelerators": {"single": ORT}, "networks": ["alexnet"], "workloads": ["alexnet+alexnet"]}),
         r"targets.both.variants.1: 'one' lists networks of its own without googlenet, inception, .*leave its list out or"),
        (host(both={"kind": "jetson", "variants": ["one"]}), r"targets.both.variants: unknown key"),
        (host(a=parts("x"), b=parts("y", batch=8), both={"kind": "cuda", "variants": ["a", "b"]}),
         r"targets.both.variants.1: 'b' has batch 8, 'a' has 1; they must be the same"),
        (host(a=parts("x", large_clusters=True), b=parts("y"), both={"kind": "cuda", "variants": ["a", "b"]}),
         r"'b' has large_clusters false, 'a' has true; they must be the same"),
        (host(a=parts("x"), b=parts("y", device=1), both={"kind": "cuda", "variants": ["a", "b"]}), r"'b' has device 1"),
        (host(a=parts("x"), b=parts("y", demand="counters"), both={"kind": "cuda", "variants": ["a", "b"]}),
         r"'b' has demand counters, 'a' has graph"),
        (host(a=parts("x"), both={"kind": "cuda", "variants": ["a"], "batch": 8}),
         r"targets.both.batch: found beside variants"),
        (lambda c: c["targets"]["cuda"].update(partitions="all"), r"cuda.partitions: found 'all', allowed: auto, or part"),
        (lambda c: c["targets"]["cuda"].update(splits={"x": {"a": {"sms": 8}}}),
         r"targets.cuda.splits: found without `partitions: auto`; allowed only with it"),
        (lambda c: c["targets"]["cuda"].update(precision="fp16"), r"cuda.precision: found without `partitions: auto`"),
        (auto(variants=["cuda"]), r"targets.auto.partitions: found beside variants"),
        (auto(splits={}), r"targets.auto.splits: found nothing in it"),
        (auto(splits={"x": {"a": {"sms": "120%"}}}), r"splits.x.a.sms: found '120%', allowed: rest or .* a share such as 25%"),
        (auto(splits={"x": {"a": {"sms": "60%"}, "b": {"sms": "50%"}}}),
         r"targets.auto.splits.x: found shares that add up to 110%, allowed: at most 100%"),
        (auto(splits={"x": {"a": {"sms": "rest"}, "b": {"sms": "rest"}}}), r"splits.x.b.sms: found 'rest', which a takes"),
        (auto(splits={"x": {"a": {"sms": 8}}, "y": {"a": {"sms": 16}}}),
         r"targets.auto.splits.y.a: split 'x' has a partition 'a' too; names must differ across splits"),
        (host(**{"auto.half": parts("z"), "auto": {"kind": "cuda", "partitions": "auto"}}),
         r"targets.auto.half: the name 'auto.half' is that of split 'half' of target 'auto', choose another"),
    ],
)  # fmt: skip
def test_mistake_is_one_message_with_its_line(tmp_path: Path, change: Change, expected: str) -> None:
    said = message(tmp_path, change)
    assert re.match(r"config.yaml:\d+: ", said), said
    assert re.search(expected, said), said


def test_auto_is_a_target_per_split() -> None:
    config = default_config()
    auto(precision="tf32", batch=4, workloads=[LOAD], networks=["googlenet", "alexnet"])(config)
    checked = validate(config, ROOT)
    names = variants_of(checked, "auto")
    assert names == ("auto.quarter", "auto.half", "auto.thirds")
    partitions = [checked["targets"][name]["partitions"] for name in names]
    assert [len(split) for split in partitions] == [2, 2, 3]
    assert len({name for split in partitions for name in split}) == 7
    for name in names:
        entry = checked["targets"][name]
        assert (entry["batch"], entry["device"], entry["workloads"]) == (4, 0, [LOAD])
        assert {part["precision"] for part in entry["partitions"].values()} == {"tf32"}
    spec = settings.target_spec(checked, "auto")
    assert spec["splits"] == dict(zip(names, partitions, strict=True))
    assert {key: spec[key] for key in spec if key != "splits"} == {
        "kind": "cuda", "batch": 4, "device": 0, "large_clusters": False, "demand": "graph",
    }  # fmt: skip


def test_a_split_of_ones_own_wins_and_says_what_it_computes_in() -> None:
    config = default_config()
    auto(precision="fp16", splits={"own": {"a": {"sms": "40%"}, "b": {"sms": "rest", "precision": "fp32"}}})(config)
    checked = validate(config, ROOT)
    assert variants_of(checked, "auto") == ("auto.own",)
    assert checked["targets"]["auto.own"]["partitions"] == {
        "a": {"sms": "40%", "precision": "fp16"}, "b": {"sms": "rest", "precision": "fp32"},
    }  # fmt: skip


@pytest.mark.parametrize("change", [auto(precision="tf32"), auto(splits={"own": {"a": {"sms": 8}}}), host()])
def test_a_checked_configuration_laid_over_the_file_means_the_same(change: Change) -> None:
    config = default_config()
    change(config)
    checked = validate(config, ROOT)
    # as the report job does: every mapping merged into that of the file
    merged = copy.deepcopy(config)

    def lay(over: dict[str, Any], under: dict[str, Any]) -> None:
        for key, value in over.items():
            if isinstance(value, dict) and isinstance(under.get(key), dict):
                lay(value, under[key])
            else:
                under[key] = value

    lay(checked, merged)
    assert validate(merged, ROOT) == checked


def test_variants_take_the_lists_of_those_that_choose_from_them() -> None:
    config = default_config()
    lists = {"networks": ["googlenet", "alexnet"], "workloads": [LOAD]}
    host(
        host={"kind": "host", "accelerators": {"ort": ORT}},
        both={"kind": "host", "variants": ["host", "one"], **lists},
        third={"kind": "host", "variants": ["one"], "networks": ["alexnet"], "workloads": ["alexnet+alexnet"]},
    )(config)
    checked = validate(config, ROOT)
    assert {key: checked["targets"]["host"][key] for key in lists} == lists
    # those of two targets together
    assert checked["targets"]["one"]["workloads"] == [LOAD, "alexnet+alexnet"]
    assert settings.target_spec(checked, "both") == {
        "kind": "host",
        "splits": {
            "host": {"ort": {"runtime": "onnxruntime", "cores": "auto"}},
            "one": {"single": {"runtime": "onnxruntime", "cores": "auto"}},
        },
    }
    assert settings.dynamic_workloads(checked, "both") == []
    assert settings.dynamic_workloads(checked, "one") == [LOAD]


@pytest.mark.parametrize(("target", "splits"), [("cuda-auto", 3), ("splits", 3)])
def test_every_variant_is_profiled_and_one_job_runs_them_all(project: Project, target: str, splits: int) -> None:
    over = yaml.safe_load((ROOT / "config" / "variants.yaml").read_text(encoding="utf-8"))
    config = default_config()
    if target == "splits":
        config["targets"].update(over["targets"])
    project.configure(config)
    jobs = project.jobs("--config", f"target={target}", "--", "all")
    networks = len(config["targets"][target].get("networks", config["networks"]))
    loads = len(config["targets"][target].get("workloads", config["workloads"]))
    assert jobs["profile_layers"] == splits * networks
    assert jobs["profile_transitions"] == jobs["profile_emc"] == jobs["characterise"] == jobs["merge_layers"] == splits
    assert jobs["join_variants"] == jobs["profile_whole"] == 1
    assert jobs["schedule_variant"] == splits * loads
    assert jobs["choose_variant"] == jobs["schedule_chip"] == jobs["run"] == jobs["draw_workload"] == loads
    assert not {"schedule", "run_dynamic"} & set(jobs)


def test_a_variant_can_be_run_by_itself(project: Project) -> None:
    jobs = project.jobs("--config", "target=cuda-auto.half", "--", "all")
    assert jobs["run"] == jobs["schedule_variant"] == jobs["schedule_chip"] == len(default_config()["workloads"])
    assert jobs["profile_whole"] == jobs["run_dynamic"] == 1
    assert not {"join_variants", "choose_variant"} & set(jobs)


def test_what_runs_cannot_change_its_split(refused: Callable[..., str]) -> None:
    assert refused("-n", "--config", "target=cuda-auto", "--", "dynamic") == (
        "dynamic: target 'cuda-auto' chooses among variants, and what runs cannot change from one to another; ask for it "
        "on one of them (--config target=NAME): cuda-auto.quarter, cuda-auto.half, cuda-auto.thirds"
    )


def test_schedules_need_not_use_the_chip_whole(project: Project) -> None:
    config = default_config()
    config["schedule"]["schedulers"] = ["naive", "haxconn"]
    project.configure(config)
    jobs = project.jobs("--config", "target=cuda-auto", "--", "schedules")
    assert jobs["choose_variant"] == len(config["workloads"])
    assert "schedule_chip" not in jobs
