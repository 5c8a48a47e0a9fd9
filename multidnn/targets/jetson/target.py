"""A Jetson board under one configuration: its accelerators, its state, and where its engines lie."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from multidnn.errors import InputError
from multidnn.targets.jetson.connection import Board

# width of the memory interface in bytes by what the device tree calls the board; NVIDIA's data sheets (256 or 128 bits).
# AGX Xavier calls itself Jetson-AGX; Orin NX and Nano on some carriers Orin Jetson-Small
_BUS_BYTES = {
    "Orin NX": 16,
    "Orin Nano": 16,
    "Jetson-Small": 16,
    "Xavier NX": 16,
    "AGX Xavier": 32,
    "Jetson-AGX": 32,
    "AGX Orin": 32,
    "Thor": 32,
}


def bus_bytes(model: str | None) -> int | None:
    """Return the width of the memory interface of a board in bytes, None if its model does not say it."""
    return next((width for known, width in _BUS_BYTES.items() if known in (model or "")), None)


class JetsonTarget:
    """A board, opened; a context manager.

    Args:
        name: key of the target in config.yaml.
        spec: its value, or the part of it that a job needs (`multidnn.config.settings.board_spec`).

    Raises:
        InputError: the board cannot be reached, lacks TensorRT or PyCUDA or an accelerator that `spec` names, or is in
            another power mode than `spec` asks for.
    """

    kind = "jetson"
    capabilities = frozenset({"layer", "transition", "emc", "contention", "run"})

    def __init__(self, name: str, spec: Mapping[str, Any]) -> None:
        self.name = name
        self.spec = dict(spec)
        self.board = Board.open(spec)
        try:
            self.state: dict[str, Any] = self.board.call("facts", {"directory": str(self.board.directory)}, 120)
            self._require_accelerators()
            self._require_power_mode()
        except BaseException:
            self.board.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.board.close()

    def _require_accelerators(self) -> None:
        cores = int(self.state["dla_cores"])
        for accelerator in self.accelerators:
            core = dla_core(accelerator)
            if core is not None and core >= cores:
                has = f"{cores} DLA core{'s' if cores > 1 else ''}" if cores else "no DLA (as Orin Nano and Thor)"
                raise InputError(
                    f"targets.{self.name}.accelerators: found {accelerator}, but the board "
                    f"({self.state['model'] or self.state['gpu']}) has {has}"
                )

    def _require_power_mode(self) -> None:
        wanted = self.spec.get("power_mode")
        if wanted is None:
            return
        mode = self.state["nvpmodel"]
        if mode is None:
            raise InputError(
                f"targets.{self.name}.power_mode: the board's power mode cannot be read: {self.state['nvpmodel_error']}"
            )
        if mode["id"] != wanted:
            raise InputError(
                f"targets.{self.name}.power_mode: the board is in mode {mode['id']} ({mode['name']}), the configuration "
                f"asks for {wanted}; on the board: sudo nvpmodel -m {wanted}"
            )

    @property
    def accelerators(self) -> tuple[str, ...]:
        """Names of the processing units, in the order of the configuration."""
        return tuple(self.spec.get("accelerators", ()))

    @property
    def tensorrt(self) -> str:
        """Version of TensorRT on the board, as 8.5.2."""
        return str(self.state["tensorrt"])

    def facts(self) -> dict[str, Any]:
        """What a reader of a result must know: configuration, versions, power mode and clocks of the board now."""
        configured = {key: value for key, value in self.spec.items() if key != "board"}
        return {"target": self.name, **configured, "batch": 1, "board": self.state}

    def clocks(self) -> dict[str, Any]:
        """Clocks of the board, and whether they are locked (None: the board does not say)."""
        return {**self.state["clocks"], "locked": self.state["clocks_locked"]}

    def memory_bus_bytes(self) -> int:
        """Return the width of the memory interface in bytes.

        Raises:
            InputError: neither the configuration nor the board's model says it.
        """
        if self.spec.get("memory_bus_bytes") is not None:
            return int(self.spec["memory_bus_bytes"])
        model = self.state["model"]
        width = bus_bytes(model)
        if width is None:
            raise InputError(
                f"targets.{self.name}.memory_bus_bytes: not set, and the model {model!r} is none of {', '.join(_BUS_BYTES)}"
            )
        return width

    def engine_path(self, network: str, engine: str) -> PurePosixPath:
        """Where the engine `engine` of `network` lies on the board."""
        return self.board.directory / "engines" / self.name / network / f"{engine}.engine"

    def push_models(self, network: str, models: Path) -> PurePosixPath:
        """Copy the models in `models` to the board, as far as they changed; return the directory there."""
        remote = f"models/{self.name}/{network}"
        self.board.push(models, remote)
        return self.board.directory / remote


def dla_core(accelerator: str) -> int | None:
    """The core of a DLA, None for the GPU."""
    return int(accelerator.removeprefix("dla")) if accelerator.startswith("dla") else None


def device_kind(accelerator: str) -> str:
    """``gpu`` or ``dla``: both cores of a DLA take the same engines."""
    return "gpu" if dla_core(accelerator) is None else "dla"
