"""How long haxconn takes to find the optimum and prove it, by size and severity.

    uv run python docs/benchmarks/scheduler/proof.py --out docs/benchmarks/scheduler/proof.json

Prints the rows of README.md and writes every sample. A solve that the time limit ends counts with its time and is not
"proved".
"""

import argparse
from collections.abc import Sequence
from statistics import median

from trials import Sample, add_options, by_severity, measure, middle_and_worst, print_table, trials_of

from multidnn.errors import exit_on_input_error

SIZES = "2x10x2K2,2x20x2K3,3x10x3K2"
HEADER = (
    "size", "severity", "problems", "proved", "solving, median / worst s",
    "first incumbent, median / worst ms", "incumbents, median",
)  # fmt: skip


def rows(samples: Sequence[Sample]) -> list[list[str]]:
    """Return the table of README.md, one row per size and severity."""
    return [
        [
            size,
            severity,
            str(len(own)),
            str(sum(sample["status"] == "optimal" for sample in own)),
            middle_and_worst([sample["seconds"] for sample in own], ".3f"),
            middle_and_worst([1000 * sample["first_incumbent_s"] for sample in own], ".2f"),
            f"{median(sample['incumbents'] for sample in own):g}",
        ]
        for size, severity, own in by_severity(samples)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, SIZES, count=20, time_limit=60)
    options = parser.parse_args()
    samples = measure(trials_of(options), options.jobs, options.out, time_limit_s=options.time_limit)
    print_table(HEADER, rows(samples))


if __name__ == "__main__":
    with exit_on_input_error():
        main()
