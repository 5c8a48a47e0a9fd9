"""A network and profiles of its engines, made from known times, as a board's jobs write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multidnn.files import write_json

Times = Mapping[str, Sequence[float]]
"""Device to milliseconds per group."""


def write_network(directory: Path, name: str, groups: int) -> Path:
    """Write board.json and empty models of a chain with two layers per group; the last group ends with a softmax."""
    directory.mkdir(parents=True, exist_ok=True)
    layers = [
        {"index": index, "name": f"{name}_{index}", "type": "Softmax" if index == 2 * groups - 1 else "Conv"}
        for index in range(2 * groups)
    ]

    def model(file: str, first: int, last: int) -> dict[str, Any]:
        (directory / file).write_bytes(b"")
        return {
            "file": file,
            "first_layer": first,
            "last_layer": last,
            "layers": [layer["name"] for layer in layers[first : last + 1]],
            "inputs": {f"t{first}": [1, 2]},
            "outputs": {f"t{last + 1}": [1, 2]},
            "output_bytes": 8,
        }

    write_json(
        directory / "board.json",
        {
            "name": name,
            "precision": "fp32",
            "layers": layers,
            "groups": [model(f"group_{g:02d}.onnx", 2 * g, 2 * g + 1) for g in range(groups)],
            "whole": model("whole.onnx", 0, 2 * groups - 1),
        },
    )
    return directory


def profile_of(name: str, times: Times, place: Sequence[str], reformat_ms: float = 0.0) -> dict[str, Any]:
    """The profile of an engine whose group g runs on `place[g]`: a GPU group as two entries, a run on the DLA as one."""
    entries: list[dict[str, Any]] = [{"count": 50}]

    def add(entry: str, ms: float) -> None:
        entries.append({"name": entry, "timeMs": 50 * ms, "averageMs": ms, "medianMs": ms, "percentage": 1.0})

    block: list[int] = []
    blocks = []
    for group, device in [*enumerate(place), (len(place), "end")]:
        if device == "dla":
            block.append(group)
            continue
        if block:
            label = f"{{ForeignNode[{name}_{2 * block[0]}...{name}_{2 * block[-1] + 1}]}}"
            blocks.append(label)
            add(f"Reformatting CopyNode for Input Tensor 0 to {label}", reformat_ms)
            add(label, sum(times["dla"][g] for g in block))
            block = []
        if device == "gpu":
            add(f"{name}_{2 * group}", 0.75 * times["gpu"][group])
            add(f"{name}_{2 * group + 1}", 0.25 * times["gpu"][group])
    total = sum(entry["averageMs"] for entry in entries[1:])
    return {
        "build": {"placement": {"dla": blocks, "gpu": [], "fallback": []}, "refused": {}, "engine": f"/board/{name}"},
        "profile": {"profile": entries, "latency_ms": [total] * 11, "layer_samples_ms": None, "by": "a test"},
    }


def write_profiles(
    directory: Path,
    name: str,
    times: Times,
    marking: Times | None = None,
    reformat_ms: float = 0.0,
    refused: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write profiles/{network}/{family}.json of every family; `marking`: device to the cost of marking after each group."""
    groups = len(times["gpu"])
    marking = marking or {"gpu": [0.0] * groups, "dla": [0.0] * groups}
    families: dict[str, dict[str, Any]] = {}

    def engine(place: Sequence[str], extra_ms: float = 0.0) -> dict[str, Any]:
        made = profile_of(name, times, place, reformat_ms)
        made["profile"]["latency_ms"] = [ms + extra_ms for ms in made["profile"]["latency_ms"]]
        accelerator = "dla0" if "dla" in place else "gpu"
        return {"build": made["build"], "profiles": {accelerator: made["profile"]}}

    for device, other in (("gpu", "dla"), ("dla", "gpu")):
        families.setdefault("whole", {})[device] = engine([device] * groups)
        families[f"{device}_transitions"] = {
            f"{device}_transition_{2 * cut}": engine([device] * cut + [other] * (groups - cut))
            for cut in range(1, groups)
        }
        families[f"{device}_marks"] = {
            f"{device}_mark_{2 * cut}": engine([device] * groups, marking[device][cut - 1]) for cut in range(1, groups)
        }
    families["whole"]["dla"]["build"]["refused"] = dict(refused or {})
    paths = []
    for family, engines in families.items():
        path = directory / name / f"{family}.json"
        content = {"network": name, "family": family, "engines": engines, "environment": {"made": "in a test"}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        paths.append(path)
    return paths


def write_exported(directory: Path, name: str, groups: int) -> Path:
    """Write network.json and empty models as `multidnn.networks.exporting` does, two layers per group."""
    models = directory / "models"
    models.mkdir(parents=True)
    (models / "whole.onnx").write_bytes(b"")
    described = []
    for g in range(groups):
        (models / f"group_{g:02d}.onnx").write_bytes(b"")
        described.append(
            {
                "file": f"group_{g:02d}.onnx",
                "inputs": {f"t{2 * g}": [1, 2]},
                "outputs": {f"t{2 * g + 2}": [1, 2]},
                **dict.fromkeys(("macs", "weight_bytes", "activation_bytes", "input_bytes", "output_bytes"), 8),
            }
        )
    write_json(
        directory / "network.json",
        {
            "name": name,
            "source": "a test",
            "seed": 1,
            "inputs": {"t0": [1, 2]},
            "outputs": {f"t{2 * groups}": [1, 2]},
            "groups": [[2 * g, 2 * g + 1] for g in range(groups)],
            "group_models": described,
            "whole_model": "whole.onnx",
        },
    )
    return directory
