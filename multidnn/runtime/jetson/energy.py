"""Energy of one iteration of each schedule on a board, from its power rails."""

import statistics
from collections.abc import Mapping
from typing import Any

from multidnn.runtime.jetson.rails import is_supply, module_of
from multidnn.targets.jetson.readings import Reading, readings, within
from multidnn.targets.jetson.target import JetsonTarget


def energy_per_iteration(target: JetsonTarget, answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return, by scheduler, millijoules per iteration in all and per rail; None where energy was not asked for.

    Mean power while a schedule was repeated back to back, times its mean iteration; idle power is in it. Rails that
    overlap are not added: ``total`` names those that are, by the table in `rails`; without a row of it for this board there
    is no energy, and ``missing`` says so.

    Raises:
        InputError: the sensors printed nothing while a schedule ran.
    """
    if not answer["energy"]:
        return None
    tool = target.spec["emc"]
    found = readings(tool, answer["sampler_lines"])
    schedulers: dict[str, Any] = {}
    total: tuple[str, ...] = ()
    for scheduler, window in answer["energy"].items():
        chosen = within(found, window["begin_ns"], window["end_ns"])
        seconds = (window["end_ns"] - window["begin_ns"]) / 1e9 / window["iterations"]
        rails = _mean_power(chosen)
        if not rails:
            return {"by": tool, "missing": "this board shows no power rails", "schedulers": {}}
        module = module_of(rails)
        if module is None:
            reason = f"nobody has said which of this board's power rails ({', '.join(rails)}) add up to its power"
            return {"by": tool, "missing": reason, "schedulers": {}}
        total = module.total
        power = sum(rails[rail] for rail in total)
        schedulers[scheduler] = {
            "mj": power * seconds,
            "mw": power,
            "rails_mj": {rail: power * seconds for rail, power in rails.items()},
            "iterations": window["iterations"],
            "readings": len(chosen),
        }
    return {"by": tool, "total": list(total), "schedulers": schedulers}


def _mean_power(found: list[Reading]) -> dict[str, float]:
    rails = dict.fromkeys(rail for reading in found for rail in reading.power_mw if not is_supply(rail))
    return {rail: statistics.fmean(r.power_mw[rail] for r in found if rail in r.power_mw) for rail in rails}
