"""Energy of one iteration of each schedule on a board, from its power rails."""

import statistics
from collections.abc import Mapping
from typing import Any

from multidnn.targets.jetson.readings import Reading, readings, within
from multidnn.targets.jetson.target import JetsonTarget

# where a board measures its whole input, that is its power; otherwise the rails that it does measure are added up
_INPUT_RAILS = ("VDD_IN", "POM_5V_IN")


def energy_per_iteration(target: JetsonTarget, answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return, by scheduler, millijoules per iteration in all and per rail; None where energy was not asked for.

    Mean power while a schedule was repeated back to back, times its mean iteration; idle power is in it. Rails that
    overlap are not added: see ``total``.

    Raises:
        InputError: the sensors printed nothing while a schedule ran.
    """
    if not answer["energy"]:
        return None
    tool = target.spec["emc"]
    found = readings(tool, answer["sampler_lines"])
    schedulers = {}
    for scheduler, window in answer["energy"].items():
        chosen = within(found, window["begin_ns"], window["end_ns"])
        seconds = (window["end_ns"] - window["begin_ns"]) / 1e9 / window["iterations"]
        rails = _mean_power(chosen)
        if not rails:
            return {"by": tool, "missing": "this board shows no power rails", "schedulers": {}}
        used = _rails_of_total(rails)
        schedulers[scheduler] = {
            "mj": sum(rails[rail] for rail in used) * seconds,
            "mw": sum(rails[rail] for rail in used),
            "rails_mj": {rail: power * seconds for rail, power in rails.items()},
            "iterations": window["iterations"],
            "readings": len(chosen),
        }
        total = used
    return {"by": tool, "total": list(total), "schedulers": schedulers}


def _mean_power(found: list[Reading]) -> dict[str, float]:
    rails = dict.fromkeys(rail for reading in found for rail in reading.power_mw)
    return {rail: statistics.fmean(r.power_mw[rail] for r in found if rail in r.power_mw) for rail in rails}


def _rails_of_total(rails: Mapping[str, float]) -> tuple[str, ...]:
    whole = tuple(rail for rail in _INPUT_RAILS if rail in rails)
    # jtop lists USB-C supplies (2-00081) among the rails, with what they agreed to deliver and not what flows
    return whole[:1] or tuple(rail for rail in rails if not rail[:1].isdigit())
