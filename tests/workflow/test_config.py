"""Every mistake in the configuration is one message with its place, what was found and what is allowed."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from multidnn.config import settings
from multidnn.config.schema import SCHEMA
from multidnn.config.validation import validate
from multidnn.errors import InputError
from tests.workflow.conftest import ROOT, default_config

Change = Callable[[dict[str, Any]], object]


def message(tmp_path: Path, change: Change) -> str:
    """What `validate` says of the default configuration after `change`, written to a file as a user would have it."""
    config = default_config()
    change(config)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        validate(config, ROOT, [file])
    said = str(caught.value)
    assert "\n" not in said
    return said.replace(str(file), "config.yaml")


def line_of(tmp_path: Path, text: str) -> int:
    """The line of config.yaml that holds `text`."""
    (number,) = (
        i for i, line in enumerate((tmp_path / "config.yaml").read_text().splitlines(), start=1) if text in line
    )
    return number


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(sed=1), r"sed: unknown key, allowed: target, seed, .* \(did you mean 'seed'\?\)"),
        (lambda c: c.update(target="hosts"), r"target: 'hosts' is not in `targets`.*did you mean 'host'"),
        (
            lambda c: c["targets"]["host"].update(kind="hots"),
            r"targets.host.kind: found 'hots', allowed: host, cuda, jetson, recorded",
        ),
        (
            lambda c: c["targets"]["cuda"]["partitions"]["small"].update(sms="rest"),
            r"targets.cuda.partitions.large.sms: found 'rest', which small takes already",
        ),
        (
            lambda c: c["targets"]["cuda"]["partitions"]["small"].update(sms=7),
            r"targets.cuda.partitions.small.sms: found 7, allowed: rest or a whole number of at least 8",
        ),
        (
            lambda c: c["targets"]["cuda"].update(partitions={f"p{i}": {"sms": 8} for i in range(5)}),
            r"targets.cuda.partitions: found 5 partitions, allowed: at most 4",
        ),
        (
            lambda c: c["targets"]["cuda"]["partitions"]["small"].update(precision="fp8"),
            r"targets.cuda.partitions.small.precision: found 'fp8', allowed: fp32, tf32, fp16, bf16",
        ),
        (lambda c: c["targets"]["cuda"].pop("partitions"), r"targets.cuda: the key 'partitions' is missing"),
        (
            lambda c: c["targets"]["orin"].update(accelerators=["dla0"]),
            r"targets.orin.accelerators: found \['dla0'\], allowed: a list with gpu in it",
        ),
        (
            lambda c: c["targets"]["orin"].update(accelerators=["gpu", "dla2"]),
            r"targets.orin.accelerators.1: found 'dla2', allowed: gpu, dla0, dla1",
        ),
        (
            lambda c: c["targets"]["orin"].update(precision="fp32"),
            r"targets.orin.precision: found fp32, allowed with a DLA: fp16, int8",
        ),
        (
            lambda c: c["targets"]["orin"].update(board={"host": "-oProxyCommand=x"}),
            r"targets.orin.board.host: found '-oProxyCommand=x', allowed: null or a host as ssh takes it",
        ),
        (
            lambda c: c["targets"]["orin"].update(board={"hosts": "x"}),
            r"targets.orin.board.hosts: unknown key, .*'host'",
        ),
        (
            lambda c: c["targets"]["orin"].update(precision="int8", calibration={"vgg": "x.npz"}),
            r"targets.orin.calibration.vgg: 'vgg' is not in `networks`",
        ),
        (
            lambda c: c["targets"]["orin"].update(precision="int8", calibration={"vgg19": "none.npz"}),
            r"targets.orin.calibration.vgg19: found 'none.npz', no such file",
        ),
        (lambda c: c["targets"]["host"].pop("kind"), r"targets.host: the key 'kind' is missing"),
        (lambda c: c["targets"]["host"].pop("accelerators"), r"targets.host: the key 'accelerators' is missing"),
        (lambda c: c["targets"]["host"].update(tables="x"), r"targets.host.tables: unknown key, allowed: kind"),
        (
            lambda c: c["targets"]["host"]["accelerators"]["ort"].update(runtime="openvin"),
            r"targets.host.accelerators.ort.runtime: found 'openvin', allowed: onnxruntime, openvino",
        ),
        (
            lambda c: c["targets"]["host"]["accelerators"]["ort"].update(cores=0),
            r"accelerators.ort.cores: found 0, allowed: auto, a count of cores, or a list of core numbers",
        ),
        (lambda c: c["targets"]["host"].update(accelerators={}), r"accelerators: found nothing in it"),
        (
            lambda c: c["targets"]["recorded"]["workloads"].append("x"),
            r"targets.recorded.workloads.3: 'x' is not in `workloads`",
        ),
        (
            lambda c: c["targets"]["host"].update(networks=["vgg19"]),
            r"workload '.*' needs network 'googlenet', found: vgg19",
        ),
        (
            lambda c: c["targets"].update(networks=c["targets"]["host"]),
            r"targets.networks: the name 'networks' is reserved",
        ),
        (lambda c: c["networks"].update(alexnet="a.prototxt"), r"networks.alexnet: found 'a.prototxt', no such file"),
        (
            lambda c: c["networks"].update(alexnet="a.caffe"),
            r"networks.alexnet: found 'a.caffe', allowed: a path that ends",
        ),
        (lambda c: c["networks"].update({"a/b": "x.onnx"}), r"networks.a/b: found the name 'a/b', allowed: letters"),
        (lambda c: c["networks"].update({7: "x.onnx"}), r"networks.7: found the name 7, .*put a number in quotes"),
        (
            lambda c: c["networks"].update(convolution="prototxt/alexnet.prototxt"),
            r"networks.convolution: the name 'convolution' is reserved",
        ),
        (lambda c: c.update(workloads=None), r"workloads: found nothing, allowed: a mapping"),
        (lambda c: c["workloads"].update(x={"instances": {}}), r"workloads.x.instances: found nothing in it"),
        (
            lambda c: c["workloads"]["googlenet+alexnet"]["instances"]["alexnet"].update(network="alexnt"),
            r"instances.alexnet.network: 'alexnt' is not in `networks`.*did you mean 'alexnet'",
        ),
        (
            lambda c: c["workloads"]["googlenet-then-alexnet"]["instances"]["googlenet"].update(after=["alexnet"]),
            r"workloads.googlenet-then-alexnet: .*cycle.*(googlenet -> alexnet|alexnet -> googlenet)",
        ),
        (
            lambda c: c["groups"].update(networks={"vgg": {"count": 3}}),
            r"groups.networks.vgg: 'vgg' is not in `networks`",
        ),
        (
            lambda c: c["groups"].update(networks={"vgg19": {"starts": [0, 9, 4]}}),
            r"vgg19.starts: found \[0, 9, 4\], allowed: ascending, starting with 0",
        ),
        (
            lambda c: c["schedule"].update(schedulers=["haxcon"]),
            r"schedulers.0: found 'haxcon', .*did you mean 'haxconn'",
        ),
        (lambda c: c["schedule"].update(schedulers=["serial"] * 2), r"schedule.schedulers: 'serial' is listed twice"),
        (
            lambda c: c["schedule"].update(schedulers=["naive", "tuned"]),
            r"schedule.schedulers.1: found 'tuned' without 'haxconn', whose schedules it chooses among",
        ),
        (lambda c: c["schedule"].update(candidates=1), r"schedule.candidates: found 1, allowed: at least 2"),
        (lambda c: c["schedule"].update(candidates="x"), r"schedule.candidates: found 'x', allowed: a whole number"),
        (lambda c: c["schedule"].update(time_limit_s=0), r"schedule.time_limit_s: found 0, allowed: more than 0"),
        (lambda c: c["run"].update(max_iterations=3), r"run.max_iterations: found 3, allowed: at least min_iterations"),
        (lambda c: c["measure"].update(warmup=1.5), r"measure.warmup: found 1.5, allowed: a whole number"),
    ],
)
def test_mistake(tmp_path: Path, change: Change, expected: str) -> None:
    assert re.match(rf"config.yaml:\d+: .*{expected}", message(tmp_path, change))


def test_line_is_that_of_the_key(tmp_path: Path) -> None:
    said = message(tmp_path, lambda c: c["measure"].update(max_samples=1))
    assert said.startswith(f"config.yaml:{line_of(tmp_path, 'max_samples')}: measure.max_samples: ")


def test_missing_section_names_the_file(tmp_path: Path) -> None:
    assert message(tmp_path, lambda c: c.pop("workloads")) == "config.yaml: the key 'workloads' is missing"


def test_value_given_on_the_command_line_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    config = default_config()
    config["seed"] = -1  # the file says otherwise
    with pytest.raises(InputError, match=r"^--config: seed: found -1, allowed: at least 0$"):
        validate(config, ROOT, [ROOT / "config.yaml"])


def test_the_winning_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("\nschedule:\n  time_limit_s: -2\n", encoding="utf-8")
    config = default_config()
    config["schedule"]["time_limit_s"] = -2
    files = [tmp_path / "mine.yaml", ROOT / "config.yaml"]
    with pytest.raises(InputError, match=r"mine.yaml:3: schedule.time_limit_s: found -2"):
        validate(config, ROOT, files)


def test_defaults_are_filled_at_every_level() -> None:
    config = {
        "target": "t",
        "networks": {"a": "prototxt/alexnet.prototxt"},
        "targets": {"t": {"kind": "host", "accelerators": {"x": {"runtime": "openvino"}}}},
        "workloads": {"w": {"instances": {"a": {"network": "a"}}}},
    }
    checked = validate(config, ROOT)
    assert checked["targets"]["t"]["accelerators"]["x"]["cores"] == "auto"
    assert checked["workloads"]["w"]["objective"] == "latency"
    assert checked["schedule"]["schedulers"][0] == "serial"
    assert checked["measure"]["budget_s"] > 0
    assert settings.workload_dict(checked, "w")["instances"] == [{"name": "a", "network": "a", "after": []}]
    assert "objective" not in config["workloads"]["w"], "the argument is left alone"


def test_schema_defaults_are_those_of_the_options() -> None:
    from multidnn.measure.options import MeasureOptions

    config = {key: default_config()[key] for key in ("target", "networks", "targets", "workloads")}
    checked = validate(config, ROOT)
    assert MeasureOptions(**checked["measure"]) == MeasureOptions(seed=MeasureOptions().seed)


def test_what_to_measure_changes_no_number() -> None:
    checked = validate(default_config(), ROOT)
    assert set(settings.target_spec(checked, "host")) == {"kind", "accelerators"}


def test_recorded_leaves_out_what_needs_the_chip_whole() -> None:
    checked = validate(default_config(), ROOT)
    assert settings.schedulers_of_kind(checked, "recorded") == ["serial", "naive", "mensa", "herald", "h2h", "haxconn"]
    assert settings.schedulers_of_kind(checked, "host") == checked["schedule"]["schedulers"]


def test_artifact_is_asked_only_for_what_it_answers() -> None:
    checked = validate(default_config(), ROOT)
    with_artifact = {
        name: "artifact" in settings.workload_schedulers(checked, "recorded", name) for name in checked["workloads"]
    }
    assert [name for name, there in with_artifact.items() if there] == ["googlenet+alexnet"]
    assert "artifact" not in settings.workload_schedulers(checked, "host", "googlenet+alexnet")


def _keys(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of all mappings inside `value` whose keys the schema fixes."""
    if not isinstance(value, Mapping):
        return []
    return [path, *(found for key, entry in value.items() for found in _keys(entry, (*path, key)))]


NAMED = {"networks", "targets", "workloads", "accelerators", "partitions", "instances", "join", "isolation", "beside"}
FIXED = [path for path in _keys(default_config()) if not path or path[-1] not in NAMED]


@hypothesis_settings(deadline=None)
@given(st.sampled_from(FIXED), st.from_regex(r"[a-z_]{1,8}x", fullmatch=True))
def test_any_unknown_key_at_any_level_is_refused(path: tuple[str, ...], key: str) -> None:
    config = default_config()
    place = config
    for part in path:
        place = place[part]
    place[key] = 1
    with pytest.raises(InputError, match="unknown key"):
        validate(config, ROOT, [ROOT / "config.yaml"])


def test_documentation_is_in_step_with_the_schema() -> None:
    from multidnn.config.docs import page
    from multidnn.files import read_yaml

    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page(read_yaml(ROOT / SCHEMA))


@pytest.mark.parametrize("name", ["quick.yaml", "jetson-quick.yaml"])
def test_quick_is_one_workload_of_its_own_target(name: str) -> None:
    quick = yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))
    config = default_config()
    for key, value in quick.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    checked = validate(config, ROOT, [ROOT / "config" / name, ROOT / "config.yaml"])
    assert settings.target_workloads(checked, checked["target"]) == ["googlenet+alexnet"]
    assert settings.target_networks(checked, checked["target"]) == ["googlenet", "alexnet"]
