"""Chooses among the schedules of one scheduler on the variants (splits) of a chip, and says what it proves of all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.schedule.schedule import Schedule, status_of


def choose(paths: Mapping[str, Path], target: str, out: Path) -> None:
    """Write the best of the schedules at `paths` (variant to schedule file, in order) to `out`.

    Raises:
        InputError: a file is missing or broken, or they are not schedules of one scheduler for one workload.
    """
    schedules: dict[str, Schedule] = {}
    absent: dict[str, str] = {}
    names: dict[tuple[str, str], Path] = {}
    for variant, path in paths.items():
        content = read_json(path)
        if "absent" in content:
            absent[variant] = str(content["absent"])
        else:
            schedules[variant] = Schedule.from_dict(content, str(path))
        names.setdefault((str(content.get("workload")), str(content.get("scheduler"))), path)
    if len(names) > 1:
        listed = " and ".join(f"{' of '.join(reversed(name))} in {path}" for name, path in names.items())
        raise InputError(f"{out}: schedules of different things, {listed}; delete them to make them again")
    if schedules:
        best(schedules, absent).write(out)
        return
    ((workload, scheduler),) = names
    write_json(out, {"workload": workload, "target": target, "scheduler": scheduler, "absent": one_reason(absent)})


def one_reason(absent: Mapping[str, str]) -> str:
    """Say why no variant has a schedule, given each one's reason."""
    reasons = list(dict.fromkeys(absent.values()))
    return reasons[0] if len(reasons) == 1 else "; ".join(f"{name}: {text}" for name, text in absent.items())


def best(schedules: Mapping[str, Schedule], absent: Mapping[str, str] | None = None) -> Schedule:
    """Return the best of `schedules`, one per variant of a chip; its `target` is the variant. The first of equals wins.

    What can be had is the best over the variants, so the bound is the best of their bounds, none if one has none; a
    variant in `absent` (with the reason) has no schedule at all. `solve_s` is the sum, and incumbents are those that
    were better than all before, had the variants been solved in turn. Alternatives are over all variants too.

    Args:
        schedules: variant to its schedule, in order; at least one, all of one scheduler, workload and objective.
        absent: variants without a schedule of this scheduler.
    """
    sign = 1 if next(iter(schedules.values())).objective == "latency" else -1
    values = {variant: sign * _value(schedule) for variant, schedule in schedules.items()}
    winner = min(values, key=lambda variant: values[variant])
    chosen = schedules[winner]
    bound = _bound((schedule.bound for schedule in schedules.values()), sign)
    extra = dict(chosen.extra or {})
    for schedule in schedules.values():
        # a choice is as settled as the least settled of what it is made from
        if "stopped" in (schedule.extra or {}):
            extra.setdefault("stopped", (schedule.extra or {})["stopped"])
    if all("alternatives" in (schedule.extra or {}) for schedule in schedules.values()):
        extra["alternatives"] = _alternatives(schedules, winner, sign)
    extra["variants"] = {
        **{
            variant: {"value": schedule.value, "bound": schedule.bound, "status": schedule.status}
            for variant, schedule in schedules.items()
        },
        **{variant: {"absent": reason} for variant, reason in (absent or {}).items()},
    }
    return replace(
        chosen,
        target=winner,
        bound=bound,
        status=status_of(_value(chosen), bound),
        solve_s=sum(schedule.solve_s for schedule in schedules.values()),
        incumbents=_incumbents(schedules.values(), sign),
        extra=extra,
    )


def _value(schedule: Schedule) -> float:
    if schedule.value is None:
        raise InputError(
            f"workload {schedule.workload}, scheduler {schedule.scheduler}: a placed schedule without a value"
        )
    return schedule.value


def _bound(bounds: Iterable[float | None], sign: int) -> float | None:
    known = list(bounds)
    if any(bound is None for bound in known):
        return None
    return sign * min(sign * bound for bound in known if bound is not None)


def _incumbents(schedules: Iterable[Schedule], sign: int) -> tuple[tuple[float, float], ...]:
    kept: list[tuple[float, float]] = []
    before = 0.0
    for schedule in schedules:
        for seconds, value in schedule.incumbents:
            if not kept or sign * value < sign * kept[-1][1]:
                kept.append((before + seconds, value))
        before += schedule.solve_s
    return tuple(kept)


def _alternatives(schedules: Mapping[str, Schedule], winner: str, sign: int) -> dict[str, Any]:
    """The answers over all variants: what came second may be the best schedule of another split."""
    found = {variant: (schedule.extra or {})["alternatives"] for variant, schedule in schedules.items()}
    chosen = _value(schedules[winner])
    others = {variant: _as_answer(schedule) for variant, schedule in schedules.items()}
    second = _joined({**others, winner: found[winner]["second"]}, chosen, sign)
    if (
        "absent" in found[winner]["second"]
        and second
        and "absent" not in second
        and len(schedules[winner].order or ()) > 1
    ):
        # none was found in time, perhaps: then nothing but the chosen schedule's own bound holds there
        second["bound"] = _bound((second["bound"], schedules[winner].bound), sign)
        second["status"] = status_of(second["value"], second["bound"])
    joined: dict[str, Any] = {"second": second}
    for question in ("no_transitions", "one_more"):
        answers = {variant: alternatives[question] for variant, alternatives in found.items()}
        joined[question] = _joined(answers, chosen, sign)
    return {"time_limit_s": max(answers["time_limit_s"] for answers in found.values()), **joined}


def _as_answer(schedule: Schedule) -> dict[str, Any]:
    """The chosen schedule of another variant, in the form of an answer."""
    return {key: getattr(schedule, key) for key in ("max_transitions", "value", "bound", "placement", "solve_s")}


def _joined(answers: Mapping[str, dict[str, Any] | None], chosen: float, sign: int) -> dict[str, Any] | None:
    """One answer from those of the variants: None where the question does not arise, the reasons where none exists."""
    asked = {variant: answer for variant, answer in answers.items() if answer is not None}
    there = {variant: answer for variant, answer in asked.items() if "absent" not in answer}
    if not asked:
        return None
    if not there:
        return {"absent": "; ".join(dict.fromkeys(str(answer["absent"]) for answer in asked.values()))}
    variant = min(there, key=lambda name: sign * there[name]["value"])
    value = there[variant]["value"]
    bound = _bound((answer["bound"] for answer in there.values()), sign)
    return {
        **there[variant],
        "bound": bound,
        "status": status_of(value, bound),
        "better_pct": 100 * sign * (chosen - value) / chosen if chosen else None,
        "solve_s": sum(answer["solve_s"] for answer in there.values()),
        "target": variant,
    }


def variant_of(variants: Mapping[str, Sequence[str]], used: Iterable[str], place: str) -> str:
    """Return the variant whose accelerators include all of `used`.

    Args:
        variants: accelerators by variant, as joined tables list them.
        used: names of accelerators; those that are in no variant are left to other checks.
        place: the file, for the message.

    Raises:
        InputError: they are of more than one variant.
    """
    owners = {name: variant for variant, names in variants.items() for name in names}
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(used):
        if name in owners:
            found.setdefault(owners[name], []).append(name)
    if len(found) > 1:
        listed = " and ".join(f"{', '.join(names)} of {variant}" for variant, names in found.items())
        raise InputError(f"{place}: uses accelerators of {len(found)} variants, {listed}; a schedule uses those of one")
    return next(iter(found), next(iter(variants)))
