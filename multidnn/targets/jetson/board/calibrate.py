"""Inputs for int8 calibration: from an npz file, or random numbers where only speed counts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from . import api, files
from .errors import BoardError
from .fields import Fields

DEFAULT_SAMPLES = 8


class Calibration:
    """What a build request says about calibration.

    Args:
        request: {"data": npz file} or {"random_seed": n, "samples": n}.
    """

    def __init__(self, request: Fields) -> None:
        self.data: Path | None = Path(request.value("data", str)) if "data" in request else None
        self.seed = 0 if self.data else int(request.value("random_seed", int))
        self.samples = request.optional("samples", int) or DEFAULT_SAMPLES

    @property
    def kind(self) -> str:
        """Where the numbers come from: "data" or "random"."""
        return "data" if self.data else "random"

    def identity(self) -> dict[str, Any]:
        """Return what makes two calibrations the same: the content of the data, not its path."""
        if self.data:
            return {"data_sha256": files.sha256(self.data)}
        return {"random_seed": self.seed, "samples": self.samples}

    def arrays(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Return a float32 array per input, whose first axis counts samples and the others are the input's but its first.

        Args:
            shapes: shape of each input, batch first.
        """
        if self.data is None:
            rng = np.random.default_rng(self.seed)
            return {
                name: rng.standard_normal((self.samples * shape[0], *shape[1:]), dtype=np.float32)
                for name, shape in shapes.items()
            }
        try:
            with np.load(str(self.data), allow_pickle=False) as content:
                found = {name: np.asarray(content[name], dtype=np.float32) for name in content.files}
        except (OSError, ValueError) as error:
            raise BoardError(f"calibration data {self.data} cannot be read: {error}") from None
        for name, shape in shapes.items():
            if name not in found:
                raise BoardError(
                    f"calibration data {self.data} lacks the input {name!r}; it has {', '.join(found) or 'nothing'}"
                )
            if found[name].shape[1:] != tuple(shape[1:]) or len(found[name]) < shape[0]:
                raise BoardError(
                    f"calibration data {self.data}: {name!r} has shape {found[name].shape}; needed: at least {shape[0]} samples "
                    f"of {tuple(shape[1:])}"
                )
        return found


def batches(arrays: Mapping[str, Any], batch_size: int) -> list[dict[str, Any]]:
    """Return the arrays cut into whole batches; what does not fill one is left out."""
    count = min(len(array) for array in arrays.values()) // batch_size
    return [
        {name: np.ascontiguousarray(array[i * batch_size : (i + 1) * batch_size]) for name, array in arrays.items()}
        for i in range(count)
    ]


def make_calibrator(
    calibration: Calibration, shapes: Mapping[str, tuple[int, ...]], directory: Path, model: str
) -> Any:
    """Return a TensorRT calibrator that feeds the inputs from device memory and keeps its table in `directory`.

    Args:
        model: hash of the model, part of the table's name: all engines of one model and data share a table.
    """
    import pycuda.driver as cuda

    batch_size = next(iter(shapes.values()))[0]
    content = iter(batches(calibration.arrays(shapes), batch_size))
    memory: dict[str, Any] = {}

    def next_batch(names: Sequence[str]) -> list[int] | None:
        batch = next(content, None)
        if batch is None:
            return None
        for name in names:
            if name not in memory:
                memory[name] = cuda.mem_alloc(batch[name].nbytes)
            cuda.memcpy_htod(memory[name], batch[name])
        return [int(memory[name]) for name in names]

    identity = hashlib.sha256(repr((model, sorted(calibration.identity().items()), api.VERSION)).encode()).hexdigest()
    return api.make_calibrator(batch_size, next_batch, directory / f"calibration-{identity[:16]}.table")
