"""STAND-IN for jtop (jetson-stats 4.3 and 7.2): what its service would show of the stand-in board."""

import time
from typing import Any as _Any

from standin_board.boards import board as _board
from standin_board.load import Load as _Load
from standin_board.load import power_mw as _power_mw
from standin_board.settings import settings as _settings

__version__ = _settings().jtop


class JtopException(Exception):  # noqa: N818  jtop's own name
    """Base of jtop's errors."""


class NVPModel:
    """The power mode."""

    @property
    def id(self) -> int:
        return _settings().power_mode

    @property
    def name(self) -> str:
        return _board().power_modes[_settings().power_mode]


class JetsonClocks:
    """Whether the clocks are locked."""

    def __bool__(self) -> bool:
        return _settings().clocks_locked


class jtop:  # noqa: N801  jtop's own name
    """The connection to the service. Everything before `start` is an error, as there is nothing to read from."""

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = float(interval)
        self._load: _Load | None = None

    def start(self) -> None:
        self._load = _Load()

    def close(self) -> None:
        self._load = None

    def __enter__(self) -> "jtop":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _started(self) -> _Load:
        if self._load is None:
            raise JtopException("jtop is not started")
        return self._load

    def ok(self, spin: bool = False) -> bool:
        """Wait for the next sample."""
        if self._load is None:
            return False
        if spin:
            time.sleep(0)
        else:
            self._load.follow(self._interval)
        return True

    @property
    def interval(self) -> float:
        return self._interval

    @property
    def memory(self) -> dict[str, _Any]:
        load, the = self._started(), _board()
        found: dict[str, _Any] = {"RAM": {"tot": the.memory_mb << 10, "used": 4100 << 10}}
        # a service that does not run as root cannot read it
        if _settings().root:
            khz = the.emc_mhz * 1000
            found["EMC"] = {"cur": khz, "max": khz, "min": 204000, "override": int(_settings().clocks_locked)}
            found["EMC"] |= {"val": load.emc_percent}
        return found

    @property
    def power(self) -> dict[str, _Any]:
        rails = _power_mw(self._started().emc_percent, _Load.busy())
        shown = {
            name: {"volt": 5000, "curr": mw // 5, "power": mw, "avg": mw, "online": True} for name, mw in rails.items()
        }
        # jtop/core/power.py: VDD_IN is taken out of the rails and is the total, by name; where there is none, the total is
        # the sum of all rails, whatever is within what, without a name
        if "VDD_IN" in shown:
            total = shown.pop("VDD_IN")
            return {"rail": shown, "tot": {**total, "name": "VDD_IN"}}
        power = sum(rails.values())
        return {"rail": shown, "tot": {"power": power, "avg": power}}

    @property
    def engine(self) -> dict[str, _Any]:
        busy = _Load.busy()
        self._started()
        groups: dict[str, _Any] = {"APE": {"APE": {"online": True, "cur": 174000}}}
        for core in range(_board().dla_cores):
            group = {"online": f"dla{core}" in busy, "cur": 1600000, "max": 1600000, "min": 0}
            groups[f"DLA{core}"] = {f"DLA{core}_CORE": group}
        return groups

    @property
    def gpu(self) -> dict[str, _Any]:
        self._started()
        load = 99.0 if "gpu" in _Load.busy() else 0.0
        # 7.2 calls an integrated GPU by what it is
        name = "gpu" if int(__version__.split(".")[0]) >= 7 else {"xavier": "gv11b"}.get(_board().name, "ga10b")
        khz = _board().gpu_mhz * 1000
        return {name: {"type": "integrated", "status": {"load": load}, "freq": {"cur": khz, "max": khz, "min": 306000}}}

    @property
    def nvpmodel(self) -> NVPModel:
        self._started()
        return NVPModel()

    @property
    def jetson_clocks(self) -> JetsonClocks:
        self._started()
        return JetsonClocks()
