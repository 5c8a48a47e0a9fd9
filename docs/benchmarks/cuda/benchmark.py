"""Profiles, predicts and runs the workloads of workloads.yaml on one NVIDIA GPU, from the library alone.

    python docs/benchmarks/cuda/benchmark.py --out FOLDER [--batch N] [--only STAGE ...] [--workloads NAME ...]

Run it from the project's root on a machine that has the project and PyTorch; Snakemake is not needed. Stages are those of
the pipeline: `profile` every split, `solve` every workload on every split, `tune` on the fixed split and over all of them, `run`
all schedules of a workload in one job,
`sweep` all single-transition placements of some pairs on the fixed split, `isolation`. Each reads what earlier ones left in
FOLDER, so they can be run one by one; `dynamic` runs a workload while it is being solved. `tables.py` makes tables and figures of FOLDER.
"""

import argparse
import itertools
import logging
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from placements import single_transitions

from multidnn import networks, schedule
from multidnn.contention.characterise import characterise
from multidnn.errors import InputError, exit_on_input_error
from multidnn.files import read_json, read_yaml, write_json
from multidnn.measure.emc import profile_emc
from multidnn.measure.isolation.case import IsolationCase, IsolationOptions
from multidnn.measure.isolation.job import measure_isolation
from multidnn.measure.layers import profile_layers
from multidnn.measure.lock import machine_lock
from multidnn.measure.merge import merge_tables
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sidecar import environment
from multidnn.measure.transitions import profile_transitions
from multidnn.measure.whole import profile_whole, read_chip_runtimes
from multidnn.runtime import Runner
from multidnn.runtime.dynamic_job import DynamicOptions, run_dynamic
from multidnn.runtime.jobs import RunOptions, run_workload
from multidnn.runtime.runner import Values
from multidnn.runtime.tuning import tune_workload
from multidnn.schedule import Problem, Schedule, Workload
from multidnn.schedule.candidate_files import choose_candidates, make_candidates
from multidnn.schedule.variants import choose
from multidnn.tables import LAYERS
from multidnn.targets.cuda.target import CudaTarget

sys.path.append(str(Path(__file__).resolve().parents[1]))
from random_schedules import check_outputs, random_schedule

PLACED = ("serial", "naive", "mensa", "herald", "h2h", "haxconn")
OPTIONS = MeasureOptions(warmup=2, min_samples=10, max_samples=40, budget_s=0.5)
TRANSITIONS = 2
SOLVE_S = 20.0
TUNING = RunOptions(warmup=2, min_iterations=12, max_iterations=12, budget_s=0.0)
DYNAMIC = DynamicOptions(budget_s=5.0)
AUTO, TUNED = "auto", "tuned"
PLAN = Path(__file__).with_name("workloads.yaml")
# of a sweep: rounds of everything, then of the best predicted and the best measured, beside the schedulers
SWEEP_ROUNDS, FINAL_ROUNDS, FINALISTS, RANDOM = 4, 30, 15, 100


class Benchmark:
    """What the stages share: the plan, the networks, and where everything lies."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.plan = read_yaml(PLAN)
        self.out: Path = arguments.out
        self.batch: int = arguments.batch
        self.names: list[str] = arguments.workloads or list(self.plan["workloads"])
        self.splits: list[str] = arguments.splits or list(self.plan["splits"])
        self.large_clusters: bool = arguments.large_clusters
        self.workers: int = arguments.workers

    def workload(self, name: str) -> Workload:
        """Return a workload; an instance is called after its network, a second one of it with its number."""
        listed = self.plan["workloads"][name]
        instances = [
            {"name": network if listed.count(network) == 1 else f"{network}-{number}", "network": network}
            for number, network in enumerate(listed)
        ]
        return Workload.from_dict({"name": name, "instances": instances}, "workloads.yaml")

    def target(self, splits: list[str]) -> CudaTarget:
        """Return the GPU with some of the splits."""
        precision = self.plan["precision"]
        named = {
            split: {name: {"sms": sms, "precision": precision} for name, sms in self.plan["splits"][split].items()}
            for split in splits
        }
        spec = {"kind": "cuda", "batch": self.batch, "large_clusters": self.large_clusters, "splits": named}
        return CudaTarget("cuda", spec)

    @cached_property
    def directories(self) -> dict[str, Path]:
        """The exported networks of the workloads, made when they are missing."""
        found = {}
        for network in dict.fromkeys(n for name in self.names for n in self.plan["workloads"][name]):
            found[network] = self.out / "networks" / network
            if not (found[network] / "network.json").exists():
                model = networks.load(Path("prototxt") / f"{network}.prototxt", seed=self.plan["seed"], name=network)
                networks.export(model, networks.choose_groups(model), found[network])
        return found

    @cached_property
    def convolutions(self) -> list[Path]:
        """The exported characterisation layers."""
        found = []
        for path in sorted(Path("prototxt/convolution").glob("*.prototxt")):
            found.append(self.out / "networks" / "convolution" / path.stem)
            if not (found[-1] / "network.json").exists():
                model = networks.load(path, seed=self.plan["seed"])
                networks.export(model, networks.choose_groups(model, count=1), found[-1])
        return found

    def check(self, stages: Sequence[str]) -> None:
        """Raise InputError where a stage needs a network that is in none of the chosen workloads, or a split left out."""
        kept, joining = self.plan["isolation"].values(), self.plan["dynamic"]
        needed = {
            "isolation": {n for case in kept for n in (case["protected"], *itertools.chain(*case["beside"].values()))},
            "dynamic": {joining["joins"], *self.plan["workloads"][joining["workload"]]},
        }
        profiled = {network for name in self.names for network in self.plan["workloads"][name]}
        for stage in stages:
            if missing := sorted(needed.get(stage, set()) - profiled):
                raise InputError(f"--workloads: none of them has {', '.join(missing)}, which stage {stage} needs")
            if stage in ("tune", "run", "sweep", "isolation", "dynamic") and self.plan["fixed"] not in self.splits:
                raise InputError(f"--splits: stage {stage} needs {self.plan['fixed']}")

    def tables(self, split: str) -> tuple[Path, Path, Path, Path]:
        """The tables of a split, as `Problem.from_files` takes them."""
        folder = self.out / split
        layers, transitions, emc = (folder / f"{name}_results.csv" for name in ("layer", "transition", "emc"))
        return layers, transitions, emc, folder / "contention.json"

    @property
    def whole(self) -> Path:
        """The table of networks on the whole GPU."""
        return self.out / "whole_results.csv"

    def problem(self, name: str, split: str) -> Problem:
        """Return a workload on a split."""
        return Problem.from_files(*self.tables(split), self.workload(name))

    def schedule_file(self, name: str, split: str, scheduler: str) -> Path:
        """Return where the schedule of a workload on a split (or `auto`) lies."""
        return self.out / "schedules" / name / split / f"{scheduler}.json"

    def candidates_file(self, name: str, split: str) -> Path:
        """Return where the candidates of a workload on a split (or `auto`) lie."""
        return self.out / "candidates" / name / f"{split}.json"


def profile(benchmark: Benchmark) -> None:
    """Tables and slowdown models of every split, and the networks on the whole GPU."""
    directories = list(benchmark.directories.values())
    for split in benchmark.splits:
        target, folder = benchmark.target([split]), benchmark.out / split
        layers, transitions, emc, contention = benchmark.tables(split)
        parts = [folder / "layer" / f"{directory.name}.csv" for directory in directories]
        for directory, part in zip(directories, parts, strict=True):
            profile_layers(target, directory, OPTIONS, part)
        merge_tables(parts, LAYERS, layers)
        lap(f"{split}: layers")
        profile_transitions(target, directories, layers, OPTIONS, transitions)
        lap(f"{split}: transitions")
        profile_emc(target, directories, benchmark.convolutions, layers, OPTIONS, emc, folder / "emc_results.yaml")
        lap(f"{split}: emc")
        characterise(target, directories, benchmark.convolutions, emc, replace(OPTIONS, budget_s=4.0), contention)
        lap(f"{split}: contention, error on held-out pairs {read_json(contention)['fit']}")
    profile_whole(benchmark.target(benchmark.splits[:1]), directories, OPTIONS, benchmark.whole)
    lap("whole")


def solve(benchmark: Benchmark) -> None:
    """Every scheduler on every workload and split; nothing is measured meanwhile."""
    tasks = [(name, split) for name in benchmark.names for split in benchmark.splits]
    # what this process compiles the others find
    alone = len(tasks) if benchmark.workers == 1 else 1
    for task in tasks[:alone]:
        _solve_one(benchmark, *task)
    if tasks[alone:]:
        with ProcessPoolExecutor(benchmark.workers, get_context("spawn")) as pool:
            for future in [pool.submit(_solve_one, benchmark, *task) for task in tasks[alone:]]:
                future.result()
    for name in benchmark.names:
        for scheduler in PLACED:
            paths = {split: benchmark.schedule_file(name, split, scheduler) for split in benchmark.splits}
            choose(paths, "cuda", benchmark.schedule_file(name, AUTO, scheduler))
        listed = {split: benchmark.candidates_file(name, split) for split in benchmark.splits}
        choose_candidates(
            listed, name, "cuda", benchmark.candidates_file(name, AUTO), count=benchmark.plan["candidates"]
        )
    lap(f"solved {len(tasks)} problems")


def _solve_one(benchmark: Benchmark, name: str, split: str) -> None:
    problem = benchmark.problem(name, split)
    for scheduler in PLACED:
        path = benchmark.schedule_file(name, split, scheduler)
        try:
            made = schedule.solve(problem, scheduler, target=split, max_transitions=TRANSITIONS, time_limit_s=SOLVE_S)
        except schedule.Infeasible as reason:
            write_json(path, {"workload": name, "target": split, "scheduler": scheduler, "absent": str(reason)})
        else:
            made.write(path)
    haxconn, out = benchmark.schedule_file(name, split, "haxconn"), benchmark.candidates_file(name, split)
    make_candidates(problem, haxconn, split, out, count=benchmark.plan["candidates"], time_limit_s=SOLVE_S)


def tune(benchmark: Benchmark) -> None:
    """The candidates and the baselines of every workload beside each other, on the fixed split and over all splits."""
    for name in benchmark.names:
        for choice, splits in ((benchmark.plan["fixed"], [benchmark.plan["fixed"]]), (AUTO, benchmark.splits)):
            tune_workload(
                benchmark.target(splits), benchmark.workload(name), benchmark.directories,
                benchmark.candidates_file(name, choice), benchmark.schedule_file(name, choice, "haxconn"),
                [benchmark.schedule_file(name, choice, scheduler) for scheduler in PLACED if scheduler != "haxconn"],
                TUNING, benchmark.schedule_file(name, choice, TUNED),
            )  # fmt: skip
        lap(f"tuned {name}")


def run(benchmark: Benchmark) -> None:
    """All schedules of a workload in one job: every scheduler on every split, those of tuned, whole and streams."""
    target = benchmark.target(benchmark.splits)
    placed = [*itertools.product(PLACED, benchmark.splits), (TUNED, benchmark.plan["fixed"]), (TUNED, AUTO)]
    for name in benchmark.names:
        workload, folder = benchmark.workload(name), benchmark.out / "runs" / name
        paths = []
        for scheduler, split in placed:
            content = read_json(benchmark.schedule_file(name, split, scheduler))
            if "absent" not in content:
                named = replace(Schedule.from_dict(content, name), scheduler=f"{scheduler}@{split}")
                paths.append(folder / f"{named.scheduler}.json")
                named.write(paths[-1])
        for made in (schedule.whole(workload, benchmark.whole, "cuda"), schedule.streams(workload, "cuda")):
            paths.append(folder / f"{made.scheduler}.json")
            made.write(paths[-1])
        options = RunOptions(warmup=3, min_iterations=30, max_iterations=30, budget_s=0.0)
        run_workload(
            target, workload, benchmark.directories, paths, read_chip_runtimes(benchmark.whole), options,
            benchmark.out / "runs" / f"{name}.json",
        )  # fmt: skip
        lap(f"ran {name}, {len(paths)} schedules")


def sweep(benchmark: Benchmark) -> None:
    """All single-transition placements and some random ones on the fixed split, then the best of them once more."""
    split = benchmark.plan["fixed"]
    target = benchmark.target([split])
    for name in [name for name in benchmark.plan["sweeps"] if name in benchmark.names]:
        problem, rng = benchmark.problem(name, split), np.random.default_rng(benchmark.plan["seed"])
        swept = list(single_transitions(problem, split))
        drawn = random.Random(benchmark.plan["seed"])
        swept += [
            replace(swept[0], scheduler=f"random{number}", max_transitions=TRANSITIONS, value=makespan,
                    predicted={"makespan_ms": makespan}, placement=placement, order=order)
            for number in range(RANDOM)
            for placement, order, makespan in [random_schedule(problem, TRANSITIONS, drawn)]
        ]  # fmt: skip
        paths = [benchmark.schedule_file(name, split, scheduler) for scheduler in PLACED]
        contents = [read_json(path) for path in paths if path.exists()]
        solved = [Schedule.from_dict(content, name) for content in contents if "absent" not in content]
        everything = {made.scheduler: made for made in [*swept, *solved]}
        with (
            machine_lock(),
            Runner(target, problem.workload, benchmark.directories, list(everything.values())) as runner,
        ):
            runner.write_inputs(runner.random_inputs(rng))
            reference = {one: runner.run_alone(one, runner.single_accelerator(one)) for one in runner.networks}

            first = _rounds(runner, [made.scheduler for made in swept], SWEEP_ROUNDS, reference, rng)
            by_time = sorted(first, key=lambda one: float(np.median(first[one])))
            by_prediction = sorted(swept, key=lambda made: made.value or 0.0)
            apart = [made.scheduler for made in swept if made.scheduler.startswith("apart")]
            finalists = [*by_time[:FINALISTS], *(made.scheduler for made in by_prediction[:FINALISTS]), *apart]
            finalists += [made.scheduler for made in solved]
            final = _rounds(runner, list(dict.fromkeys(finalists)), FINAL_ROUNDS, reference, rng)
            facts = environment(target)
        rows = {
            one: {
                "predicted_ms": made.value,
                "order": made.order,
                "sweep_ms": first.get(one),
                "final_ms": final.get(one),
            }
            for one, made in everything.items()
        }
        content = {"workload": name, "split": split, "batch": benchmark.batch, "schedules": rows, "environment": facts}
        write_json(benchmark.out / "sweeps" / f"{name}.json", content)
        lap(f"swept {name}, {len(swept)} placements")


def _rounds(
    runner: Runner, chosen: list[str], count: int, reference: Values, rng: np.random.Generator
) -> dict[str, list[float]]:
    """Return the makespans in ms of `count` interleaved rounds, after one in which outputs are checked."""
    times: dict[str, list[float]] = {one: [] for one in chosen}
    for number in range(count + 1):
        for one in rng.permutation(np.array(chosen, dtype=object)):
            if number == 0:
                runner.clear_outputs()
            makespan = runner.run(one).makespan_ms
            if number == 0:
                check_outputs(runner, reference, one)
            else:
                times[one].append(makespan)
    return times


def isolation(benchmark: Benchmark) -> None:
    """One network's latency while others run."""
    for name, entry in benchmark.plan["isolation"].items():
        protected = {"network": entry["protected"], "accelerator": entry["partition"]}
        case = IsolationCase.of(name, protected, entry["beside"])
        target = benchmark.target([benchmark.plan["fixed"]])
        runtimes = read_chip_runtimes(benchmark.whole)
        out = benchmark.out / "isolation" / f"{name}.json"
        measure_isolation(target, case, benchmark.directories, runtimes, IsolationOptions(), out)
        lap(f"isolation {name}")


def dynamic(benchmark: Benchmark) -> None:
    """A workload that runs on the fixed split while it is solved; one more network joins and leaves."""
    plan, split = benchmark.plan["dynamic"], benchmark.plan["fixed"]
    own = benchmark.workload(plan["workload"])
    instances = [{"name": one.name, "network": one.network} for one in own.instances]
    instances.append({"name": "second", "network": plan["joins"]})
    workload = Workload.from_dict({"name": own.name, "instances": instances}, "workloads.yaml")
    problem = Problem.from_files(*benchmark.tables(split), workload)
    out = benchmark.out / "dynamic" / f"{own.name}.json"
    run_dynamic(benchmark.target([split]), problem, benchmark.directories, ["second"], TRANSITIONS, DYNAMIC, out)
    lap(f"dynamic {own.name}, solving costs a factor of {read_json(out)['cost_of_solving'].get('ratio')}")


STAGES: Mapping[str, Callable[[Benchmark], None]] = {
    "profile": profile,
    "solve": solve,
    "tune": tune,
    "run": run,
    "sweep": sweep,
    "isolation": isolation,
    "dynamic": dynamic,
}
_begun: dict[str, float] = {"at": monotonic()}


def lap(what: str) -> None:
    """Say what is done and how long it took."""
    print(f"{what}: {monotonic() - _begun['at']:.1f} s", flush=True)
    _begun["at"] = monotonic()


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(STAGES), default=list(STAGES))
    for named in ("workloads", "splits"):
        parser.add_argument(
            f"--{named}",
            nargs="+",
            choices=list(read_yaml(PLAN)[named]),
            metavar="NAME",
            help="all of workloads.yaml if left out",
        )
    parser.add_argument(
        "--large-clusters", action="store_true", help="keep 16 multiprocessors together: for large batches"
    )
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="processes that solve")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    benchmark = Benchmark(arguments)
    benchmark.check(arguments.only)
    facts: dict[str, Any] = {"clocks": [benchmark.target(benchmark.splits[:1]).clocks()]}
    for stage in arguments.only:
        STAGES[stage](benchmark)
        facts["clocks"].append(benchmark.target(benchmark.splits[:1]).clocks())
    write_json(benchmark.out / f"clocks-{'-'.join(arguments.only)}.json", facts)


if __name__ == "__main__":
    with exit_on_input_error():
        main()
