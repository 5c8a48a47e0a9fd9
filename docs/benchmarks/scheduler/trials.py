"""Timed solves of random problems, with what every scheduler benchmark shares: options, processes, samples and rows."""

import argparse
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from instances import SEVERITIES, Size, random_problem

from multidnn.errors import InputError
from multidnn.files import write_json
from multidnn.schedule import solve
from multidnn.schedule.workload import OBJECTIVES

_T = TypeVar("_T")
Sample = dict[str, Any]

WARM_UP_SEED = 10**6
WARM_UP_LIMIT_S = 5.0


@dataclass(frozen=True)
class Trial:
    """One solve of one random problem by haxconn."""

    size: Size
    severity: float
    seed: int
    objective: str
    dependencies: bool
    time_limit_s: float


@cache
def warm_up(size: Size, objective: str) -> None:
    """Solve a problem of this size that is in no benchmark, once per process: it loads Z3 and the compiled code."""
    problem = random_problem(size, 1.3, WARM_UP_SEED, objective=objective)
    solve(problem, "haxconn", max_transitions=size.transitions, time_limit_s=WARM_UP_LIMIT_S)


def solve_trial(trial: Trial) -> Sample:
    """Return the sample of one trial: `seconds` is the solving time that the schedule file states."""
    size = trial.size
    warm_up(size, trial.objective)
    problem = random_problem(size, trial.severity, trial.seed, trial.dependencies, trial.objective)
    found = solve(problem, "haxconn", max_transitions=size.transitions, time_limit_s=trial.time_limit_s)
    assert found.value is not None, "haxconn always has a value"
    return {
        "size": str(size),
        "severity": trial.severity,
        "seed": trial.seed,
        "objective": trial.objective,
        "dependencies": trial.dependencies,
        "status": found.status,
        "seconds": round(found.solve_s, 6),
        "value": found.value,
        "bound": found.bound,
        "gap_pct": None if found.bound is None else 100 * abs(found.value - found.bound) / found.value,
        "first_incumbent_s": round(found.incumbents[0][0], 6),
        "incumbents": len(found.incumbents),
    }


def in_processes(work: Callable[[_T], Sample], items: Sequence[_T], jobs: int) -> Iterator[Sample]:
    """Yield `work` of each item in turn, up to `jobs` at a time; one job runs in this process."""
    if jobs == 1:
        yield from map(work, items)
        return
    # a forked child would inherit Z3 and the compiled code's threads in whatever state they are
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, items)


def measure(trials: Sequence[Trial], jobs: int, out: Path, **facts: Any) -> list[Sample]:
    """Run the trials, say how each ended, and keep `out` (samples, environment, `facts`) true after each of them."""
    samples: list[Sample] = []
    head = {**facts, "environment": environment(), "jobs": jobs}
    for sample in in_processes(solve_trial, trials, jobs):
        samples.append(sample)
        write_json(out, {**head, "samples": samples})
        gap = "no bound" if sample["gap_pct"] is None else f"gap {sample['gap_pct']:.2f} %"
        print(
            f"{len(samples)}/{len(trials)} {sample['size']} severity {sample['severity']:g} seed {sample['seed']}: "
            f"{sample['status']}, {gap}, {sample['seconds']:.3f} s",
            flush=True,
        )
    print()
    return samples


def environment() -> dict[str, Any]:
    """Return machine, versions and commit, at this moment."""
    model = "unknown"
    if (cpus := Path("/proc/cpuinfo")).is_file():
        names = [line.partition(":")[2].strip() for line in cpus.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": list(os.getloadavg()),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("multidnn", "numpy", "numba", "z3-solver", "highspy")},
        "git_commit": commit(),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str | None:
    """Return the commit of this checkout, with a + if code or pins differ from it; None outside a checkout."""
    answers = []
    # not the samples: the scripts themselves rewrite them
    code = (":/multidnn", ":/docs/benchmarks/scheduler/*.py", ":/pyproject.toml")
    for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", *code)):
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=False
        )
        if answer.returncode:
            return None
        answers.append(answer.stdout.strip())
    return answers[0] + ("+" if answers[1] else "")


def row(*cells: Any) -> str:
    """Return one line of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a Markdown table."""
    print(row(*header))
    print(row(*["---"] * len(header)))
    for cells in rows:
        print(row(*cells))


def middle_and_worst(values: Sequence[float], form: str) -> str:
    """Return "median / largest" in a number format, "-" without values."""
    return f"{median(values):{form}} / {max(values):{form}}" if values else "-"


def by_severity(samples: Sequence[Sample]) -> Iterator[tuple[str, str, list[Sample]]]:
    """Yield (size, severity, samples) for each size and severity present, and each size's "all" behind its own."""
    for size in dict.fromkeys(sample["size"] for sample in samples):
        own = [sample for sample in samples if sample["size"] == size]
        severities = sorted({sample["severity"] for sample in own})
        for severity in severities:
            yield size, f"{severity:g}", [sample for sample in own if sample["severity"] == severity]
        if len(severities) > 1:
            yield size, "all", own


def add_options(parser: argparse.ArgumentParser, sizes: str, count: int, time_limit: float) -> None:
    """Add the options of a benchmark over sizes and severities."""
    severities = ",".join(f"{severity:g}" for severity in SEVERITIES)
    parser.add_argument("--sizes", default=sizes, help=f"instances x groups x accelerators K transitions; {sizes}")
    parser.add_argument("--severities", default=severities, help=f"largest slowdowns; {severities}")
    parser.add_argument("--count", type=int, default=count, help=f"problems per size and severity; {count}")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first of them; 0")
    parser.add_argument("--objective", choices=OBJECTIVES, default="latency")
    parser.add_argument("--dependencies", action="store_true", help="let instances wait for each other")
    parser.add_argument("--time-limit", type=float, default=time_limit, help=f"seconds per problem; {time_limit:g}")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once; more than 1 disturbs the times; 1")
    parser.add_argument("--out", type=Path, required=True, help="the samples, JSON")


def trials_of(options: argparse.Namespace) -> list[Trial]:
    """Return the trials that the options of `add_options` ask for."""
    require_counts(options, "count", "jobs")
    return [
        Trial(size, severity, seed, options.objective, options.dependencies, options.time_limit)
        for size in map(Size.parse, options.sizes.split(","))
        for severity in severities_of(options.severities)
        for seed in range(options.first_seed, options.first_seed + options.count)
    ]


def require_counts(options: argparse.Namespace, *names: str) -> None:
    """Raise an `InputError` unless the options `names` are 1 or more."""
    for name in names:
        if getattr(options, name) < 1:
            raise InputError(f"--{name}: found {getattr(options, name)}, expected 1 or more")


def severities_of(text: str) -> list[float]:
    """Read "1.0,1.3"."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--severities: found {text!r}, expected numbers with commas between them") from None
