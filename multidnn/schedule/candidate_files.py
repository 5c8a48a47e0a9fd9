"""The file of a workload's candidates: made from haxconn's schedule, joined over the variants of a chip, written and read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.schedule.candidates import Candidates, best_of, candidates
from multidnn.schedule.problem import Problem
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.variants import one_reason


def make_candidates(
    problem: Problem, haxconn: Path, target: str, out: Path, *, count: int, time_limit_s: float
) -> None:
    """Write candidates/{workload}.json (docs/formats.md) around the schedule in the file `haxconn`.

    Args:
        count: how many to find, haxconn's own included.
        time_limit_s: for all searches together.

    Raises:
        InputError: the file is missing or broken, or does not fit the problem.
    """
    workload = problem.workload.name
    content = read_json(haxconn)
    if "absent" in content:
        _write_absent(workload, target, str(content["absent"]), out)
        return
    schedule = Schedule.from_dict(content, str(haxconn))
    _write(candidates(problem, schedule, count=count, time_limit_s=time_limit_s), workload, target, out)


def choose_candidates(paths: Mapping[str, Path], workload: str, target: str, out: Path, *, count: int) -> None:
    """Write the `count` best of the candidates at `paths` (variant to its file, in order) to `out`.

    Raises:
        InputError: a file is missing or broken.
    """
    read = {variant: read_candidates(path) for variant, path in paths.items()}
    found = [listed for listed in read.values() if isinstance(listed, Candidates)]
    if found:
        _write(best_of(found, count), workload, target, out)
    else:
        absent = {variant: reason for variant, reason in read.items() if isinstance(reason, str)}
        _write_absent(workload, target, one_reason(absent), out)


def read_candidates(path: Path) -> Candidates | str:
    """Return what candidates/{workload}.json holds, or the reason why there are none.

    Raises:
        InputError: the file is missing or broken; the message names file and key.
    """
    content: Mapping[str, Any] = read_json(path)
    if "absent" in content:
        return str(content["absent"])
    listed = content.get("candidates")
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{path}: candidates: found {listed!r}, expected a list of schedules")
    schedules = []
    for number, entry in enumerate(listed):
        place = f"{path}: candidates[{number}]"
        schedule = Schedule.from_dict(entry, place)
        if schedule.value is None or schedule.placement is None:
            raise InputError(f"{place}: found no value or no placement, expected a schedule of haxconn")
        schedules.append(schedule)
    return Candidates(tuple(schedules), content.get("stopped"))


def _write(made: Candidates, workload: str, target: str, out: Path) -> None:
    listed = [schedule.to_dict() for schedule in made.schedules]
    write_json(out, {"workload": workload, "target": target, "candidates": listed, "stopped": made.stopped})


def _write_absent(workload: str, target: str, reason: str, out: Path) -> None:
    write_json(out, {"workload": workload, "target": target, "absent": reason})
