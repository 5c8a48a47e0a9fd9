"""The engines that a request names, and their loading and dropping in the workers of a crew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

from . import files
from .crew import LOAD_TIMEOUT_S, Crew, Seat
from .errors import BoardError
from .fields import Fields
from .residency import Loadable, Residency


@dataclass(frozen=True)
class EngineFile:
    """An engine of a request: its file and the worker that runs it."""

    path: str
    worker: str


def read_seats(request: Fields) -> dict[str, Seat]:
    """Return what each worker of the request is started with."""
    seats = {
        name: Seat(fields.optional("dla_core", int), fields.optional("cpu", int))
        for name, fields in request.named_objects("workers")
    }
    if not seats:
        raise BoardError("request: workers is empty")
    return seats


def read_engines(request: Fields, seats: Mapping[str, Seat]) -> dict[str, EngineFile]:
    """Return the engines of the request by key."""
    return {
        key: EngineFile(fields.value("path", str), fields.choice("worker", tuple(seats)))
        for key, fields in request.named_objects("engines")
    }


def _loadable(engine: EngineFile, seat: Seat) -> Loadable:
    path = Path(engine.path)
    if not path.is_file():
        raise BoardError(f"engine {path} does not exist")
    record = path.with_suffix(".json")
    if record.is_file():
        content = files.read_json(record)
        if isinstance(content, dict) and isinstance(content.get("loadables"), int):
            return Loadable(engine.worker, seat.dla_core or 0, content["loadables"])
    # an engine without a record, on a worker with a DLA core, holds at least one
    return Loadable(engine.worker, seat.dla_core or 0, 0 if seat.dla_core is None else 1)


class Engines:
    """Sees to it that engines are loaded when they are needed, within what a DLA core holds.

    Args:
        engines: by key.
        seats: of their workers.
        instances: per key, the instances that it runs for; a key without any gets memory of its own.
        most: engines that one worker holds at once; None for all of them.
    """

    def __init__(
        self,
        crew: Crew,
        engines: Mapping[str, EngineFile],
        seats: Mapping[str, Seat],
        instances: Mapping[str, Sequence[str]],
        most: int | None = None,
    ) -> None:
        self._crew = crew
        self._engines = engines
        self._instances = instances
        self._residency = Residency(
            {key: _loadable(engine, seats[engine.worker]) for key, engine in engines.items()}, most
        )

    @property
    def loads(self) -> int:
        """How many times an engine was loaded."""
        return self._residency.loads

    def need(self, keys: Sequence[str]) -> bool:
        """Load what of `keys` is not loaded, and drop what must go for it; return whether anything was loaded.

        Loading runs an engine once, on the tensors of all its instances.
        """
        drop, load = self._residency.need(keys)
        for key in drop:
            self._crew.call(self._engines[key].worker, "drop", LOAD_TIMEOUT_S, key=key)
        # one after the other: two engines may write the same tensor
        for key in load:
            engine = self._engines[key]
            self._crew.call(
                engine.worker,
                "load",
                LOAD_TIMEOUT_S,
                key=key,
                path=engine.path,
                instances=sorted(set(self._instances.get(key, ()))),
            )
        return bool(load)
