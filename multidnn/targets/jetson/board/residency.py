"""Which engines are loaded: within what a DLA core holds and a worker may hold, the least recently used dropped first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Sequence

from .errors import BoardError

# NVIDIA's limit, over all processes together
LOADABLES_PER_CORE = 16


@dataclass(frozen=True)
class Loadable:
    """An engine as far as loading goes.

    Attributes:
        worker: the process that loads it.
        core: its DLA core.
        count: DLA loadables in it; 0 for an engine on the GPU alone.
    """

    worker: str
    core: int
    count: int


class Residency:
    """Keeps the books of loaded engines.

    Args:
        engines: every engine by its key.
        most: engines that a worker holds at once, those that are needed apart; None for as many as there are.
    """

    def __init__(self, engines: dict[str, Loadable], most: int | None = None) -> None:
        self._engines = engines
        self._most = most
        self._loaded: OrderedDict[str, None] = OrderedDict()
        self.loads = 0

    def need(self, keys: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return what to drop and then what to load so that all of `keys` are loaded at once.

        Raises:
            BoardError: they do not fit together.
        """
        wanted = list(dict.fromkeys(keys))
        cores = sorted({self._engines[key].core for key in wanted if self._engines[key].count})
        drop: list[str] = []
        for core in cores:
            needed = self._count(wanted, core)
            if needed > LOADABLES_PER_CORE:
                raise BoardError(
                    f"{needed} DLA loadables are needed at once on core {core}, which holds {LOADABLES_PER_CORE}: "
                    f"{', '.join(key for key in wanted if self._engines[key].core == core)}"
                )
            others = [key for key in self._loaded if key not in wanted]
            while needed + self._count(others, core) > LOADABLES_PER_CORE:
                oldest = next(key for key in others if self._engines[key].core == core and self._engines[key].count)
                others.remove(oldest)
                drop.append(oldest)
        for worker in sorted({self._engines[key].worker for key in wanted}):
            needed = sum(self._engines[key].worker == worker for key in wanted)
            others = [
                key
                for key in self._loaded
                if key not in wanted and key not in drop and self._engines[key].worker == worker
            ]
            if self._most is not None:
                drop.extend(others[: max(0, len(others) + needed - self._most)])
        load = [key for key in wanted if key not in self._loaded]
        for key in drop:
            del self._loaded[key]
        for key in wanted:
            self._loaded[key] = None
            self._loaded.move_to_end(key)
        self.loads += len(load)
        return drop, load

    def _count(self, keys: Sequence[str], core: int) -> int:
        return sum(self._engines[key].count for key in keys if self._engines[key].core == core)
