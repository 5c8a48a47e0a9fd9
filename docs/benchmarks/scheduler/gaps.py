"""How far haxconn's value is from its own proved bound when the time limit ends a large problem.

    uv run python docs/benchmarks/scheduler/gaps.py --out docs/benchmarks/scheduler/gaps.json

The gap is 100 |value - bound| / value, in percent; the optimum lies between the two.
"""

import argparse
from collections.abc import Sequence

from trials import Sample, add_options, by_severity, measure, middle_and_worst, print_table, trials_of

from multidnn.errors import exit_on_input_error

HEADER = ("size", "severity", "problems", "proved", "without bound", "gap, median / worst %", "median / worst s")


def rows(samples: Sequence[Sample]) -> list[list[str]]:
    """Return the table of README.md, one row per size and severity; solves without a bound have no gap."""
    return [
        [
            size,
            severity,
            str(len(own)),
            str(sum(sample["status"] == "optimal" for sample in own)),
            str(sum(sample["gap_pct"] is None for sample in own)),
            middle_and_worst([sample["gap_pct"] for sample in own if sample["gap_pct"] is not None], ".2f"),
            middle_and_worst([sample["seconds"] for sample in own], ".1f"),
        ]
        for size, severity, own in by_severity(samples)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "4x20x3K3", count=20, time_limit=60)
    options = parser.parse_args()
    samples = measure(trials_of(options), options.jobs, options.out, time_limit_s=options.time_limit)
    print_table(HEADER, rows(samples))


if __name__ == "__main__":
    with exit_on_input_error():
        main()
