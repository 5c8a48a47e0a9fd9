"""The command `python -m multidnn.schedule`: one schedule from the tables of a target (docs/formats.md)."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from multidnn.errors import InputError, exit_on_input_error
from multidnn.files import read_json, require_writable
from multidnn.schedule import wording
from multidnn.schedule.alternative import with_alternatives
from multidnn.schedule.explanation import explained
from multidnn.schedule.problem import Problem, read_variants
from multidnn.schedule.schedule import Schedule, check, named_order, named_placement, predicted
from multidnn.schedule.solving import SCHEDULERS, SEARCHED, require_scheduler, solve
from multidnn.schedule.timeline import simulate
from multidnn.schedule.variants import variant_of
from multidnn.schedule.workload import Workload


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the tables, solve or evaluate, write the schedule; a mistake is one line and exit code 1."""
    with exit_on_input_error():
        _run(_parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m multidnn.schedule", description=__doc__)
    parser.add_argument("--layers", type=Path, required=True, help="layer_results.csv")
    parser.add_argument("--transitions", type=Path, required=True, help="transition_results.csv")
    parser.add_argument("--emc", type=Path, required=True, help="emc_results.csv")
    parser.add_argument("--contention", type=Path, required=True, help="contention.json")
    parser.add_argument("--workload", type=Path, required=True, help="the workload, YAML or JSON")
    parser.add_argument("--scheduler", required=True, help=f"one of {', '.join(SCHEDULERS)}, given")
    parser.add_argument("--schedule", type=Path, help="with --scheduler given: the schedule to evaluate")
    parser.add_argument("--objective", help="latency or throughput, instead of the workload's own")
    parser.add_argument("--max-transitions", type=int, help="per instance; any number if left out")
    parser.add_argument("--time-limit", type=float, default=30.0, help="seconds, 30 if left out")
    parser.add_argument("--target", help="name to write; the directory of the layer table if left out")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="also print where the time goes and, for haxconn and dynamic, solve for the alternatives",
    )
    parser.add_argument("--out", type=Path, required=True, help="the schedule file to write")
    return parser


def _run(options: argparse.Namespace) -> None:
    given = options.scheduler == "given"
    require_scheduler(options.scheduler, "given")
    if given != (options.schedule is not None):
        raise InputError("--schedule goes with --scheduler given, and only with it")
    if options.max_transitions is not None and options.max_transitions < 0:
        raise InputError(f"--max-transitions: found {options.max_transitions}, expected 0 or more")
    if not (math.isfinite(options.time_limit) and options.time_limit > 0):
        raise InputError(f"--time-limit: found {options.time_limit}, expected seconds above 0")
    # before the work, so that nothing is lost
    require_writable(options.out)
    workload = Workload.read(options.workload)
    if options.objective is not None:
        workload = workload.with_objective(options.objective)
    variant = _given_variant(options.contention, options.schedule) if given else None
    tables = (options.layers, options.transitions, options.emc, options.contention)
    problem = Problem.from_files(*tables, workload, variant)
    target = options.target or variant or options.layers.resolve().parent.name
    if given:
        schedule = evaluate_given(problem, options.schedule, options.max_transitions, target)
    elif options.scheduler == "dynamic":
        schedule = _dynamic(problem, target, options)
    else:
        schedule = solve(
            problem,
            options.scheduler,
            target=target,
            max_transitions=options.max_transitions,
            time_limit_s=options.time_limit,
        )
    schedule.write(options.out)
    unit = "ms" if schedule.objective == "latency" else "inferences/s"
    value = "no value" if schedule.value is None else f"{schedule.value:.6g} {unit}"
    bound = "" if schedule.bound is None else f", bound {schedule.bound:.6g}"
    print(
        f"{schedule.workload}: {schedule.scheduler} {value} ({schedule.status}{bound}) "
        f"in {schedule.solve_s:.2f} s -> {options.out}"
    )
    if options.explain:
        _explain(problem, schedule, options)


def _given_variant(contention: Path, schedule: Path) -> str | None:
    """The variant of joined tables that a given schedule is for; None where the tables join none."""
    variants = read_variants(contention)
    if not variants:
        return None
    placement = read_json(schedule).get("placement")
    listed = placement.values() if isinstance(placement, dict) else ()
    # anything else in it is looked at later
    used = [name for groups in listed if isinstance(groups, list) for name in groups if isinstance(name, str)]
    return variant_of(variants, used, f"{schedule}: placement")


def _dynamic(problem: Problem, target: str, options: argparse.Namespace) -> Schedule:
    """Search with the file at hand at all times: it holds the best schedule so far, for whatever runs meanwhile."""
    from multidnn.schedule.anytime import improve

    best: Schedule | None = None
    for found in improve(
        problem,
        scheduler="dynamic",
        target=target,
        max_transitions=options.max_transitions,
        time_limit_s=options.time_limit,
    ):
        best = found.schedule
        best.write(options.out)
    assert best is not None, "there is a schedule or an error"
    return best


def _explain(problem: Problem, schedule: Schedule, options: argparse.Namespace) -> None:
    """Print the explanation, and add the alternatives to the file that is already written."""
    assert schedule.extra is not None, "placed schedules are explained"
    print(
        f"\n{wording.table(schedule.extra['explanation'])}\n\n{wording.makespan_sentence(schedule.extra['explanation'])}"
    )
    if schedule.scheduler in SEARCHED:
        schedule = with_alternatives(problem, schedule, time_limit_s=options.time_limit)
        schedule.write(options.out)
        print("\n".join(wording.sentences(schedule.to_dict())))


def evaluate_given(problem: Problem, path: Path, max_transitions: int | None, target: str) -> Schedule:
    """Evaluate the placement and order in the schedule file `path`, which needs no other keys.

    Without `max_transitions`, the number in the file is the limit that its placement must keep.
    """
    content = read_json(path)
    for key in ("placement", "order"):
        if not isinstance(content.get(key), dict):
            raise InputError(f"{path}: {key}: found {content.get(key)!r}, expected an object")
    limit = content.get("max_transitions") if max_transitions is None else max_transitions
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise InputError(f"{path}: max_transitions: found {limit!r}, expected a whole number or null")
    placement, order = check(problem, content["placement"], content["order"], limit, str(path))
    try:
        timeline = simulate(problem, placement, order)
    except InputError as error:
        raise InputError(f"{path}: order: {error}") from None
    value = timeline.value(problem.workload.objective)
    schedule = Schedule(
        workload=problem.workload.name,
        target=target,
        scheduler="given",
        objective=problem.workload.objective,
        max_transitions=limit,
        status="feasible",
        value=value if math.isfinite(value) else None,
        bound=None,
        predicted=predicted(timeline),
        placement=named_placement(problem, placement),
        order=named_order(problem, order),
    )
    return explained(problem, schedule)


if __name__ == "__main__":
    main()
