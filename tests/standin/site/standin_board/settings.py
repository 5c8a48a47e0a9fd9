"""What this stand-in is set to: STANDIN_* in the environment, or the JSON file that STANDIN_SETTINGS names."""

import functools
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# every setting, with what it is without one
DEFAULTS: dict[str, Any] = {
    "tensorrt": "8.5.2",
    "board": "orin",  # orin, orin-nano, xavier
    "state": "",  # directory of what processes share; empty: one per user in the temporary directory
    "root": True,  # whether tools may read what only root may (EMC)
    "jtop": "4.3.2",  # of jetson-stats; 7.2.2 is the other
    "settle_s": 9.0,  # until EMC % shows a new load
    "reformat_ms": 0.0,  # each copy between a GPU and a DLA inside an engine
    "loop_hold_ms": 20.0,  # gaps that a steady load may have because its process was kept from running
    "power_mode": 0,
    "clocks_locked": True,
}


@dataclass(frozen=True)
class Settings:
    """One value per key of `DEFAULTS`."""

    tensorrt: str
    board: str
    state: Path
    root: bool
    jtop: str
    settle_s: float
    reformat_ms: float
    loop_hold_ms: float
    power_mode: int
    clocks_locked: bool


@functools.cache
def settings() -> Settings:
    """Return the settings of this process; the file counts before the environment."""
    values = dict(DEFAULTS)
    for key, default in DEFAULTS.items():
        text = os.environ.get(f"STANDIN_{key.upper()}")
        if text is not None:
            values[key] = text not in ("0", "false", "") if isinstance(default, bool) else type(default)(text)
    path = os.environ.get("STANDIN_SETTINGS")
    if path:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        unknown = set(content) - set(DEFAULTS)
        if unknown:
            raise SystemExit(f"stand-in: {path}: unknown settings {sorted(unknown)}")
        values |= content
    state = values["state"] or os.path.join(tempfile.gettempdir(), f"standin-board-{os.getuid()}")
    Path(state).mkdir(parents=True, exist_ok=True)
    return Settings(**{**values, "state": Path(state)})
