"""How long the whole command takes on a problem of two instances of ten groups, and where its start-up goes.

    uv run python docs/benchmarks/scheduler/startup.py --out docs/benchmarks/scheduler/startup.json

Runs `python -m multidnn.schedule` as a user does: once with an empty cache of compiled code, which compiles everything,
and then again and again with the cache that this left. Then, in fresh processes: which packages the imports spend their
time in (python -X importtime), and how the rest divides into reading, loading compiled code and solving.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from instances import Size, random_problem, write_files
from trials import environment, middle_and_worst, print_table, require_counts

from multidnn.errors import InputError, exit_on_input_error
from multidnn.files import write_json

SIZE = Size(2, 10, 2, 2)
SEVERITY = 1.3
LARGEST_PACKAGES = 10
_STANDARD = {name.lstrip("_") for name in sys.stdlib_module_names} | {"frozen_importlib", "zipimport"}

PHASES = """
import json, sys
from pathlib import Path
from time import perf_counter

marks = [perf_counter()]
import multidnn.schedule.__main__
from multidnn.schedule import Problem, Workload, solve

marks.append(perf_counter())
*tables, workload = map(Path, sys.argv[2:])
problem = Problem.from_files(*tables, Workload.read(workload))
marks.append(perf_counter())
for _ in range(2):
    solve(problem, "haxconn", max_transitions=int(sys.argv[1]))
    marks.append(perf_counter())
print(json.dumps([after - before for before, after in zip(marks, marks[1:])]))
"""
"""Prints the seconds of: imports, reading, the first solve, the same solve again."""


def run(arguments: list[str], cache: Path | None) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Run this interpreter, with numba's cache in `cache` if given; return the seconds to its exit, and what it said."""
    begin = perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ({} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}),
    )
    seconds = perf_counter() - begin
    if done.returncode:
        raise InputError(f"python {' '.join(arguments[:2])} ended with {done.returncode}: {done.stderr[-500:]}")
    return seconds, done


def import_times(text: str) -> dict[str, float]:
    """Return the ms that each top package's own modules took, most first, from the output of -X importtime."""
    spent: Counter[str] = Counter()
    for microseconds, name in re.findall(r"^import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)$", text, re.MULTILINE):
        package = name.partition(".")[0]
        spent["standard library" if package.lstrip("_") in _STANDARD else package] += int(microseconds)
    return {name: total / 1000 for name, total in spent.most_common()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="runs of each kind with the cache; 15")
    parser.add_argument("--seed", type=int, default=0, help="of the problem; 0")
    parser.add_argument("--no-first", action="store_true", help="compile nothing: take the cache that is there")
    parser.add_argument("--out", type=Path, required=True, help="the samples, JSON")
    options = parser.parse_args()
    require_counts(options, "runs")
    head = {"size": str(SIZE), "severity": SEVERITY, "seed": options.seed, "environment": environment()}
    with TemporaryDirectory() as name:
        folder = Path(name)
        cache = None if options.no_first else folder / "cache"
        paths = write_files(random_problem(SIZE, SEVERITY, options.seed), folder)
        command = ["-m", "multidnn.schedule", "--scheduler", "haxconn", "--max-transitions", str(SIZE.transitions)]
        command += [part for option, path in paths.items() for part in (f"--{option}", str(path))]
        command += ["--out", str(folder / "haxconn.json")]
        first_s = None if cache is None else run(command, cache)[0]
        whole, bare, phases = [], [], []
        for _ in range(options.runs):
            whole.append(run(command, cache)[0])
            bare.append(run(["-c", "pass"], cache)[0])
            _, done = run(["-c", PHASES, str(SIZE.transitions), *map(str, paths.values())], cache)
            phases.append([float(seconds) for seconds in json.loads(done.stdout)])
        _, done = run(["-X", "importtime", *command], cache)
    imported = import_times(done.stderr)
    imports, reading, solving, again = (list(column) for column in zip(*phases, strict=True))
    parts: dict[str, list[float]] = {
        "the whole command": whole,
        "starting Python": bare,
        "importing the command": imports,
        "reading the five files": reading,
        "solving, the first time in a process": solving,
        "solving the same again": again,
        "hence loading Z3 and compiled code": [max(0.0, a - b) for a, b in zip(solving, again, strict=True)],
    }
    samples: dict[str, Any] = {"first_s": first_s, "seconds": parts, "import_ms": imported}
    write_json(options.out, {**head, **samples})
    print_table(
        ("part", "runs", "median / worst s"),
        [
            *([] if first_s is None else [("the whole command, nothing compiled yet", 1, f"{first_s:.3f}")]),
            *((part, len(values), middle_and_worst(values, ".3f")) for part, values in parts.items()),
        ],
    )
    print()
    largest = list(imported.items())[:LARGEST_PACKAGES]
    largest.append(("everything else", sum(imported.values()) - sum(ms for _, ms in largest)))
    print_table(("package", "ms in its own modules"), [(package, f"{ms:.0f}") for package, ms in largest])


if __name__ == "__main__":
    with exit_on_input_error():
        main()
