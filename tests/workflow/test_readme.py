"""What README.md tells a user to write into config.yaml is accepted as it stands."""

import re
from typing import Any

import onnx
import yaml
from onnx import TensorProto, helper

from tests.workflow.conftest import ROOT, Project, default_config


def example() -> dict[str, Any]:
    """The YAML block of the section on one's own model."""
    _, _, section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Bring your own model\n")
    (block,) = re.findall(r"```yaml\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    loaded = yaml.safe_load(block)
    assert isinstance(loaded, dict)
    return loaded


def model() -> bytes:
    """An ONNX file with one layer."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", ends[:1], ends[1:])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def test_own_model_is_one_line_and_a_workload(project: Project) -> None:
    onnx.checker.check_model(onnx.load_from_string(model()))
    addition = example()
    assert set(addition) == {"networks", "workloads"}
    (name,) = addition["workloads"]
    config = default_config()
    for key, value in addition.items():
        config[key] = {**config[key], **value}
    for file in addition["networks"].values():
        path = project.directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model())
    project.configure(config)
    jobs = project.jobs("--", f"results/host/runs/{name}.json")
    assert jobs["run"] == jobs["schedule"] == 1
    assert jobs["export_network"] == len(config["networks"])
