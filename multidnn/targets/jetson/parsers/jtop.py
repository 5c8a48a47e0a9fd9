"""Lines of our script on the board (`stats/jtop_lines.py`), one JSON object per sample of jtop 4.3 to 7.2."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers.emc import Emc
from multidnn.targets.jetson.parsers.text import member, read_log


@dataclass(frozen=True)
class Engine:
    """One engine of the chip: switched on or not, its clock in MHz. From 7.2 on every engine with a clock counts as on."""

    on: bool | None
    mhz: float | None


@dataclass(frozen=True)
class JtopSample:
    """One sample; `emc` is None where jtop's service cannot read it, `emc_max_mhz` is the cap of the power mode.

    `engines`: group to engine ("DLA0" to "DLA0_CORE"); `gpu_load`: percent per GPU, where 7.2 gives 0 for one that it
    cannot read; `power_mw`: rail to mW; `nvpmodel_id`, `nvpmodel_name` and `jetson_clocks` are None where not available.
    """

    time_s: float
    emc: Emc | None
    emc_min_mhz: float | None
    emc_max_mhz: float | None
    power_mw: dict[str, float]
    engines: dict[str, dict[str, Engine]]
    gpu_load: dict[str, float | None]
    nvpmodel_id: int | None
    nvpmodel_name: str | None
    jetson_clocks: bool | None
    place: str = field(compare=False, repr=False)


def read(path: Path) -> list[JtopSample]:
    """Return the samples in the file at `path`."""
    return parse(read_log(path), str(path))


def parse(text: str, place: str) -> list[JtopSample]:
    """Return one sample per line; an `InputError` for a line that is not one (also one that was cut off)."""
    return [parse_line(line, f"{place}:{number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def parse_line(line: str, place: str) -> JtopSample:
    """Return what one line says; `place` is FILE:LINE."""
    try:
        item = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{place}: not valid JSON ({error.msg}), expected one object per line; was it cut off?"
        ) from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{place}: JSON that no tool here writes ({error})") from None
    if not isinstance(item, dict):
        raise InputError(f"{place}: found a JSON {type(item).__name__}, expected an object")
    emc = _object(item, "emc", place)
    nvpmodel = _object(item, "nvpmodel", place)
    clocks = item.get("jetson_clocks")
    if clocks is not None and not isinstance(clocks, bool):
        raise InputError(f"{place}: 'jetson_clocks' is {json.dumps(clocks)}, expected true, false or null")
    model, name = nvpmodel.get("id"), nvpmodel.get("name")
    load = _object(item, "gpu_load", place)
    power = _object(item, "power_mw", place)
    return JtopSample(
        member(item, "t_ns", place) / 1e9,
        _emc(emc, place) if emc else None,
        member(emc, "min", place) / 1000 if "min" in emc else None,
        member(emc, "max", place) / 1000 if "max" in emc else None,
        {rail: member(power, rail, place) for rail in power},
        {
            group: {engine: _engine(state, place) for engine, state in _object({group: states}, group, place).items()}
            for group, states in _object(item, "engines", place).items()
        },
        {gpu: None if load[gpu] is None else member(load, gpu, place) for gpu in load},
        model if isinstance(model, int) else None,
        name if isinstance(name, str) else None,
        clocks,
        place,
    )


def _object(item: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    value = item.get(key)
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{place}: {key!r} is {json.dumps(value)[:60]}, expected an object")
    return value or {}


def _emc(emc: dict[str, Any], place: str) -> Emc:
    clock = member(emc, "cur", place) if "cur" in emc else 0.0
    # jtop begins with a clock of 1 kHz and divides by it, so where it cannot read the clock the percentage is nonsense too
    if clock <= 1:
        raise InputError(
            f"{place}: EMC clock {clock:g} kHz: jtop's service could not read it, so its percentage means nothing"
        )
    return Emc(member(emc, "val", place), clock / 1000)


def _engine(state: Any, place: str) -> Engine:
    if not isinstance(state, dict):
        raise InputError(f"{place}: found the engine {json.dumps(state)[:40]}, expected an object")
    on = state.get("online")
    return Engine(on if isinstance(on, bool) else None, member(state, "cur", place) / 1000 if "cur" in state else None)
