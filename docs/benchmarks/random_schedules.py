"""Predicts and runs many random schedules of one workload, interleaved, and correlates the two.

    uv run python docs/benchmarks/random_schedules.py --workload googlenet+alexnet --count 100 --out FILE.json

The workload is one of config.yaml whose profiles are in results/{target} (`snakemake --cores 4 schedules` makes them).
"""

import argparse
import random
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from multidnn.config import settings
from multidnn.config.validation import validate
from multidnn.errors import InputError, exit_on_input_error
from multidnn.files import read_yaml, write_json
from multidnn.measure.lock import machine_lock
from multidnn.measure.sidecar import environment
from multidnn.measure.whole import read_chip_runtimes
from multidnn.runtime import Runner
from multidnn.runtime.runner import Values
from multidnn.schedule import Deadlock, Problem, Schedule, Workload, evaluate
from multidnn.targets import open_target


def random_schedule(problem: Problem, transitions: int, rng: random.Random) -> tuple[Any, Any, float]:
    """Return a random placement with at most `transitions` per instance, a random order that does not deadlock, and
    the predicted makespan in ms."""
    while True:
        placement: dict[str, list[str]] = {}
        segments: dict[str, list[list[Any]]] = {name: [] for name in problem.accelerators}
        for number, instance in enumerate(problem.instances):
            count = len(problem.costs(number).groups)
            cuts = sorted(rng.sample(range(1, count), rng.randint(0, transitions)))
            accelerator = rng.choice(problem.accelerators)
            placement[instance] = []
            for first, end in zip([0, *cuts], [*cuts, count], strict=True):
                placement[instance] += [accelerator] * (end - first)
                segments[accelerator].append([instance, first, end - 1])
                accelerator = rng.choice([name for name in problem.accelerators if name != accelerator])
        for turns in segments.values():
            rng.shuffle(turns)
        try:
            return placement, segments, evaluate(problem, placement, segments).makespan_ms
        except Deadlock:
            continue


def check_outputs(runner: Runner, reference: Values, scheduler: str) -> None:
    """Raise unless every output is that of the single accelerator, within the tolerance of the pipeline's runs."""
    for instance, outputs in runner.outputs().items():
        for name, value in outputs.items():
            expected = reference[instance][name]
            if not np.max(np.abs(value - expected)) <= runner.output_tolerance * np.max(np.abs(expected)):
                raise InputError(f"{scheduler}: output {name} of {instance} is not that of the single accelerator")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="host")
    parser.add_argument("--workload", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--transitions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="iterations of each schedule; the first is thrown away")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = validate(read_yaml(arguments.config), Path.cwd(), [arguments.config])
    workload = Workload.from_dict(settings.workload_dict(config, arguments.workload), str(arguments.config))
    target = open_target(arguments.target, settings.target_spec(config, arguments.target))
    results = Path("results") / arguments.target
    tables = (results / f"{name}_results.csv" for name in ("layer", "transition", "emc"))
    problem = Problem.from_files(*tables, results / "contention.json", workload)
    rng = random.Random(arguments.seed)
    predicted, schedules = [], []
    for number in range(arguments.count):
        placement, order, makespan = random_schedule(problem, arguments.transitions, rng)
        predicted.append(makespan)
        name = f"random{number}"
        what = {"makespan_ms": makespan}
        head = (workload.name, arguments.target, name, "latency", arguments.transitions, "feasible")
        schedules.append(Schedule(*head, makespan, None, what, placement, order))
    networks = {name: Path("results/networks") / name for name in workload.networks}
    measured: list[list[float]] = [[] for _ in schedules]
    begin = monotonic()
    with (
        machine_lock(),
        Runner(target, workload, networks, schedules, read_chip_runtimes(results / "whole_results.csv")) as runner,
    ):
        noise = np.random.default_rng(arguments.seed)
        runner.write_inputs(
            {
                instance: {name: noise.standard_normal(shape) for name, shape in network.inputs.items()}
                for instance, network in runner.networks.items()
            }
        )
        reference = {name: runner.run_alone(name, runner.single_accelerator(name)) for name in runner.networks}
        for round_number in range(arguments.rounds):
            for number in rng.sample(range(len(schedules)), len(schedules)):
                runner.clear_outputs()
                makespan = runner.run(schedules[number].scheduler).makespan_ms
                check_outputs(runner, reference, schedules[number].scheduler)
                if round_number:
                    measured[number].append(makespan)
            print(f"round {round_number + 1}/{arguments.rounds} after {monotonic() - begin:.0f} s", flush=True)
    medians = np.array([np.median(times) for times in measured])
    errors = 100 * np.abs(np.array(predicted) / medians - 1)
    result = {
        "workload": workload.name,
        "schedules": len(schedules),
        "spearman": float(spearmanr(predicted, medians).statistic),
        "median_error_pct": float(np.median(errors)),
        "p90_error_pct": float(np.percentile(errors, 90)),
        "predicted_ms": predicted,
        "measured_ms": measured,
        "placements": [s.placement for s in schedules],
        "orders": [s.order for s in schedules],
        "environment": environment(target),
    }
    write_json(arguments.out, result)
    print({key: result[key] for key in ("workload", "schedules", "spearman", "median_error_pct", "p90_error_pct")})


if __name__ == "__main__":
    with exit_on_input_error():
        main()
