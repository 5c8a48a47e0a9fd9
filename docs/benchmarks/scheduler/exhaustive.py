"""Whether haxconn's optimum is that of the exhaustive reference, on many random problems; correctness, not time.

    uv run python docs/benchmarks/scheduler/exhaustive.py --jobs 2 --out docs/benchmarks/scheduler/exhaustive.jsonl

The reference is `exhaustive_all`: every placement and every order through the compiled simulator, nothing cut.
One JSON line per problem is appended to the output as soon as both are done. Started again with the same output, it goes
on with the problems that are missing or unfinished. Exit code 1 if any problem differs. A problem on which the time limit
ended either side is unfinished: it proves nothing.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from instances import Size, random_problem
from trials import Sample, commit, in_processes, print_table, require_counts, severities_of

from multidnn.errors import InputError, exit_on_input_error
from multidnn.schedule import solve
from multidnn.schedule.exhaustive import exhaustive_all
from multidnn.schedule.workload import OBJECTIVES

SIZES = "2x10x2K2,3x6x2K1,2x8x3K1,3x4x3K2"
TOLERANCE = 1e-6
HEADER = ("size", "objective", "dependencies", "problems", "equal", "different", "unfinished", "largest difference")
KEY = ("size", "severity", "seed", "objective", "dependencies")


@dataclass(frozen=True)
class Comparison:
    """One problem to solve both ways, and the seconds that each may take."""

    size: Size
    severity: float
    seed: int
    objective: str
    dependencies: bool
    time_limit_s: float

    @property
    def key(self) -> tuple[Any, ...]:
        """What names this problem in the output, in the order of `KEY`."""
        return str(self.size), self.severity, self.seed, self.objective, self.dependencies


def compare(comparison: Comparison) -> Sample:
    """Solve one problem both ways; `difference` is relative to the reference, None while either is unproved."""
    size = comparison.size
    problem = random_problem(size, comparison.severity, comparison.seed, comparison.dependencies, comparison.objective)
    sample: Sample = dict(zip(KEY, comparison.key, strict=True))
    found = solve(problem, "haxconn", max_transitions=size.transitions, time_limit_s=comparison.time_limit_s)
    assert found.value is not None, "haxconn always has a value"
    sample["haxconn"] = {"value": found.value, "status": found.status, "seconds": round(found.solve_s, 3)}
    began = monotonic()
    everything = exhaustive_all(problem, size.transitions, began + comparison.time_limit_s)
    value = everything.best[comparison.objective][0] if everything.best else None
    sample["exhaustive"] = {
        "value": value,
        "status": "optimal" if everything.complete else "feasible",
        "seconds": round(monotonic() - began, 3),
        "timelines": everything.timelines,
    }
    done = found.status == "optimal" and everything.complete
    # one that finds a schedule where the other finds none differs without measure
    sample["difference"] = None if not done else abs(found.value - value) / value if value else math.inf
    return sample


def verdict(sample: Sample) -> str:
    """Return "equal", "different" or "unfinished"."""
    if sample["difference"] is None:
        return "unfinished"
    return "equal" if sample["difference"] <= TOLERANCE else "different"


def read_samples(path: Path) -> list[Sample]:
    """Return the samples in the output of an earlier run, none if there is none."""
    if not path.exists():
        return []
    samples = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            samples.append(json.loads(line))
        except json.JSONDecodeError:
            raise InputError(
                f"{path}:{number}: not a whole JSON line; delete it and its problem is solved again"
            ) from None
    return samples


def rows(samples: Sequence[Sample]) -> list[list[str]]:
    """Return the table of README.md, one row per size, objective and with or without dependencies."""
    found = []
    for head in dict.fromkeys((sample["size"], sample["objective"], sample["dependencies"]) for sample in samples):
        own = [sample for sample in samples if (sample["size"], sample["objective"], sample["dependencies"]) == head]
        verdicts = [verdict(sample) for sample in own]
        known = [sample["difference"] for sample in own if sample["difference"] is not None]
        counts = [str(verdicts.count(name)) for name in ("equal", "different", "unfinished")]
        dependencies = "yes" if head[2] else "no"
        found.append([head[0], head[1], dependencies, str(len(own)), *counts, f"{max(known):.1e}" if known else "-"])
    return found


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help=f"instances x groups x accelerators K transitions; {SIZES}")
    parser.add_argument("--severities", default="1,1.3,2", help="largest slowdowns; 1,1.3,2")
    parser.add_argument(
        "--count", type=int, default=20, help="problems per size, severity, objective and either kind; 20"
    )
    parser.add_argument("--time-limit", type=float, default=3600, help="seconds for each side of a problem; 3600")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once; 1")
    parser.add_argument("--out", type=Path, required=True, help="the samples, one JSON line each")
    options = parser.parse_args()
    require_counts(options, "count", "jobs")
    wanted = [
        Comparison(size, severity, seed, objective, dependencies, options.time_limit)
        for size in map(Size.parse, options.sizes.split(","))
        for dependencies in (False, True)
        for objective in OBJECTIVES
        for severity in severities_of(options.severities)
        for seed in range(options.count)
    ]
    # of a problem solved twice, the later sample
    samples = {tuple(sample[name] for name in KEY): sample for sample in read_samples(options.out)}
    done = {key for key, sample in samples.items() if verdict(sample) != "unfinished"}
    missing = [comparison for comparison in wanted if comparison.key not in done]
    print(f"{len(wanted)} problems, {len(missing)} of them to solve")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    solver = commit()
    with options.out.open("a", encoding="utf-8") as file:
        for sample in in_processes(compare, missing, options.jobs):
            samples[tuple(sample[name] for name in KEY)] = sample | {"commit": solver}
            print(json.dumps(sample | {"commit": solver}), file=file, flush=True)
            print(*(f"{name} {sample[name]}" for name in KEY), verdict(sample), flush=True)
    print()
    print_table(HEADER, rows(list(samples.values())))
    print(f"\nsolved at: {', '.join(sorted({str(sample['commit']) for sample in samples.values()}))}")
    if wrong := [sample for sample in samples.values() if verdict(sample) == "different"]:
        raise SystemExit(f"{len(wrong)} problems differ, the first: {json.dumps(wrong[0])}")


if __name__ == "__main__":
    with exit_on_input_error():
        main()
