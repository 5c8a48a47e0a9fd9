"""Reads an exported network back (network.json and its models) without importing onnx or a runtime."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.files import read_json

Shapes = dict[str, tuple[int, ...]]

DESCRIPTION = "network.json"
MODELS = "models"


@dataclass(frozen=True)
class GroupModel:
    """One group of an exported network: layers first_layer..last_layer (inclusive) as the ONNX model at `path`.

    Tensors are fp32; `inputs` and `outputs` map tensor names to shapes. `weight_bytes` counts the group's constants,
    `activation_bytes` sums the activation inputs and outputs of every layer, `input_bytes` and `output_bytes` what
    crosses the group's border.
    """

    index: int
    first_layer: int
    last_layer: int
    path: Path
    inputs: Shapes
    outputs: Shapes
    macs: int
    weight_bytes: int
    activation_bytes: int
    input_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class ExportedNetwork:
    """A network as `multidnn.networks.exporting` left it in `directory`; `seed` is None for a user's own weights."""

    name: str
    directory: Path
    source: str
    seed: int | None
    inputs: Shapes
    outputs: Shapes
    groups: tuple[GroupModel, ...]
    whole_path: Path

    @classmethod
    def read(cls, directory: str | Path) -> "ExportedNetwork":
        """Return the network exported to `directory`.

        Raises:
            InputError: network.json is missing, truncated or lacks a key, or a model it names is missing.
        """
        directory = Path(directory)
        place = directory / DESCRIPTION
        description = read_json(place)
        models = directory / MODELS
        try:
            network = cls(
                name=str(description["name"]),
                directory=directory,
                source=str(description["source"]),
                seed=None if description["seed"] is None else int(description["seed"]),
                inputs=_shapes(description["inputs"]),
                outputs=_shapes(description["outputs"]),
                groups=tuple(
                    _group(index, layers, model, models)
                    for index, (layers, model) in enumerate(
                        zip(description["groups"], description["group_models"], strict=True)
                    )
                ),
                whole_path=models / description["whole_model"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{place}: not an exported network ({type(error).__name__}: {error}); export it again"
            ) from None
        for path in (network.whole_path, *(group.path for group in network.groups)):
            if not path.is_file():
                raise InputError(f"{place}: the model {path} is missing; export the network again")
        return network


def _shapes(shapes: Mapping[str, Any]) -> Shapes:
    return {name: tuple(int(size) for size in shape) for name, shape in shapes.items()}


def _group(index: int, layers: Any, model: Mapping[str, Any], models: Path) -> GroupModel:
    first, last = layers
    return GroupModel(
        index=index,
        first_layer=int(first),
        last_layer=int(last),
        path=models / model["file"],
        inputs=_shapes(model["inputs"]),
        outputs=_shapes(model["outputs"]),
        macs=int(model["macs"]),
        weight_bytes=int(model["weight_bytes"]),
        activation_bytes=int(model["activation_bytes"]),
        input_bytes=int(model["input_bytes"]),
        output_bytes=int(model["output_bytes"]),
    )
