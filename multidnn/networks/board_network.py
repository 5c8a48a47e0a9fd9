"""Reads back what `board_models` wrote (board.json and its models) without importing onnx."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.files import read_json
from multidnn.networks.exported import Shapes

DESCRIPTION = "board.json"


@dataclass(frozen=True)
class BoardModel:
    """One ONNX model: the network's layers first_layer..last_layer, of which `layers` names those that have a node.

    Tensors at its border are fp32; `inputs` and `outputs` map their names to shapes.
    """

    file: str
    first_layer: int
    last_layer: int
    layers: tuple[str, ...]
    inputs: Shapes
    outputs: Shapes
    output_bytes: int


@dataclass(frozen=True)
class BoardNetwork:
    """A network as `board_models.write_board_models` left it in `directory`.

    `types` maps layer names to ONNX operators, in execution order; None for a layer that vanished into its neighbours.
    """

    name: str
    directory: Path
    precision: str
    types: Mapping[str, str | None]
    groups: tuple[BoardModel, ...]
    whole: BoardModel

    @classmethod
    def read(cls, directory: str | Path) -> "BoardNetwork":
        """Return the network in `directory`.

        Raises:
            InputError: board.json is missing, truncated or lacks a key, or a model that it names is missing.
        """
        directory = Path(directory)
        place = directory / DESCRIPTION
        content = read_json(place)
        try:
            network = cls(
                name=str(content["name"]),
                directory=directory,
                precision=str(content["precision"]),
                types={str(layer["name"]): layer["type"] for layer in content["layers"]},
                groups=tuple(map(_model, content["groups"])),
                whole=_model(content["whole"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{place}: not the models of a network ({type(error).__name__}: {error}); write them again"
            ) from None
        for model in (network.whole, *network.groups):
            if not (directory / model.file).is_file():
                raise InputError(f"{place}: the model {directory / model.file} is missing; write the models again")
        return network

    @property
    def cuts(self) -> tuple[int, ...]:
        """First layer of each group but the first."""
        return tuple(group.first_layer for group in self.groups[1:])

    def position(self, cut: int) -> int:
        """Return the index among `whole.layers` of the first one that lies behind `cut`, a layer index of the network."""
        names = list(self.types)
        before = set(names[:cut])
        return sum(name in before for name in self.whole.layers)

    def of_types(self, layers: Sequence[str], types: Collection[str]) -> list[str]:
        """Return those of `layers` whose operator is one of `types`."""
        return [name for name in layers if self.types.get(name) in types]


def _model(content: Mapping[str, Any]) -> BoardModel:
    return BoardModel(
        file=str(content["file"]),
        first_layer=int(content["first_layer"]),
        last_layer=int(content["last_layer"]),
        layers=tuple(map(str, content["layers"])),
        inputs=_shapes(content["inputs"]),
        outputs=_shapes(content["outputs"]),
        output_bytes=int(content["output_bytes"]),
    )


def _shapes(shapes: Mapping[str, Any]) -> Shapes:
    return {name: tuple(int(size) for size in shape) for name, shape in shapes.items()}
