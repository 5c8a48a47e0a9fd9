"""haxconn's solving time on the input of the paper's artifact, beside the artifact's own script on the same machine.

    git clone https://github.com/ismetdagli/HaX-CoNN
    uv run python docs/benchmarks/scheduler/artifact.py --artifact-script HaX-CoNN/src/z3_solver_multi_dnn.py \
        --out docs/benchmarks/scheduler/artifact.json

Both use the Z3 of this environment and run in turn; the first run of each is thrown away. The artifact's solving time is
that of its first `Optimize.check`, without importing Z3 or stating the constraints; its whole script asks the same again.
Ours is the schedule's `solve_s`, in a process that has solved the problem before and so has loaded the compiled code.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from trials import environment, middle_and_worst, print_table, require_counts

from multidnn.errors import InputError, exit_on_input_error
from multidnn.files import write_json
from multidnn.schedule import Problem, Schedule, Workload, artifact_schedule, solve
from multidnn.targets.recorded import artifact_choice, write_tables

NETWORKS = ("googlenet", "alexnet")
HEADER = (
    "schedule", "seconds, median / worst", "share of the first check", "share of the whole script",
    "ms by the artifact", "ms by our simulator", "proved",
)  # fmt: skip
LIMITS = {"one transition": 1, "any transitions": None}

TIMED = """
import json, runpy, sys
from time import perf_counter

import z3

check, seconds = z3.Optimize.check, []

def timed(self, *assumptions):
    begin = perf_counter()
    answer = check(self, *assumptions)
    seconds.append(perf_counter() - begin)
    return answer

z3.Optimize.check = timed
found = runpy.run_path(sys.argv[1], run_name="__main__")
model = found["m"]

def letters(decisions):
    return ["gpu" if z3.is_true(model[decision]) else "dla" for decision in decisions]

ends = [model.eval(found[name]) for name in ("last_nn1_layer_time", "last_nn2_layer_time")]
answer = {
    "seconds": seconds,
    "googlenet": letters(found["acc_decision_nn1"]),
    "alexnet": letters(found["acc_decision_nn2"]),
    "makespan_ms": max(float(end.as_fraction()) for end in ends),
}
sys.stderr.write(json.dumps(answer))
"""
"""Runs a script with every `Optimize.check` timed and reads its answer from the variables that it leaves."""


def run_artifact(script: Path) -> dict[str, Any]:
    """Run the artifact's script; return its answer, the seconds of its checks, and those of the whole process."""
    begin = perf_counter()
    done = subprocess.run([sys.executable, "-c", TIMED, str(script)], capture_output=True, text=True, check=False)
    whole = perf_counter() - begin
    if done.returncode:
        raise InputError(f"{script}: ended with {done.returncode}: {done.stderr[-500:]}")
    answer: dict[str, Any] = json.loads(done.stderr)
    recorded = artifact_choice(NETWORKS)
    assert recorded is not None, "the package holds the artifact's answer"
    for network in NETWORKS:
        if tuple(answer[network]) != recorded.placement[network]:
            raise InputError(
                f"{script}: answers {answer[network]} for {network}, but the recorded answer, which is evaluated "
                f"here, is {list(recorded.placement[network])}; is it the script of the artifact, unchanged?"
            )
    return answer | {"whole_s": whole}


def recorded_problem(facts: dict[str, Any]) -> Problem:
    """Return GoogleNet + AlexNet on the recorded target."""
    with TemporaryDirectory() as folder:
        write_tables(Path(folder), facts)
        instances = [{"name": network, "network": network} for network in NETWORKS]
        workload = Workload.from_dict({"name": "googlenet+alexnet", "instances": instances}, "artifact.py")
        layers, transitions, emc = (Path(folder) / f"{name}_results.csv" for name in ("layer", "transition", "emc"))
        return Problem.from_files(layers, transitions, emc, Path(folder) / "contention.json", workload)


def rows(theirs: list[dict[str, Any]], ours: dict[str, list[Schedule]], simulated: dict[str, float]) -> list[list[str]]:
    """Return the table of README.md: the artifact, haxconn within each limit, and serial for comparison."""
    checks = [answer["seconds"][0] for answer in theirs]
    runs = [answer["whole_s"] for answer in theirs]
    found = [
        ["artifact, first check", middle_and_worst(checks, ".3f"), "1", "", f"{theirs[0]['makespan_ms']:.3f}"],
        ["artifact, whole script", middle_and_worst(runs, ".3f"), "", "1", f"{theirs[0]['makespan_ms']:.3f}"],
    ]
    for own in found:
        own += [f"{simulated['artifact']:.3f}", ""]
    for name, schedules in ours.items():
        seconds = [schedule.solve_s for schedule in schedules]
        shares = [f"{median(seconds) / median(base):.3f}" for base in (checks, runs)]
        proved = sum(schedule.status == "optimal" for schedule in schedules)
        value = f"{schedules[0].value:.3f}"
        found.append(
            [f"haxconn, {name}", middle_and_worst(seconds, ".3f"), *shares, "", value, f"{proved} of {len(schedules)}"]
        )
    found.append(["serial", "", "", "", "", f"{simulated['serial']:.3f}", ""])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact-script", type=Path, required=True, help="src/z3_solver_multi_dnn.py of a clone")
    parser.add_argument("--runs", type=int, default=15, help="runs of each; 15")
    parser.add_argument("--time-limit", type=float, default=30, help="seconds for each of ours; 30")
    parser.add_argument("--out", type=Path, required=True, help="the samples, JSON")
    options = parser.parse_args()
    require_counts(options, "runs")
    if not options.artifact_script.is_file():
        raise InputError(f"{options.artifact_script}: no such file; README.md here says how to get it")
    facts = environment()
    problem = recorded_problem(facts)
    theirs: list[dict[str, Any]] = []
    ours: dict[str, list[Schedule]] = {name: [] for name in LIMITS}
    for number in range(options.runs + 1):
        answer = run_artifact(options.artifact_script)
        solved = {
            name: solve(problem, "haxconn", max_transitions=limit, time_limit_s=options.time_limit)
            for name, limit in LIMITS.items()
        }
        # the first of each loads what it needs, from disk or by compiling
        if number:
            theirs.append(answer)
            for name, schedule in solved.items():
                ours[name].append(schedule)
    simulated = {}
    for name, schedule in (("artifact", artifact_schedule(problem)), ("serial", solve(problem, "serial"))):
        assert schedule.value is not None, "both have predictions"
        simulated[name] = schedule.value
    haxconn = {
        name: [{"seconds": s.solve_s, "value": s.value, "bound": s.bound, "status": s.status} for s in schedules]
        for name, schedules in ours.items()
    }
    write_json(
        options.out,
        {"environment": facts, "artifact": theirs, "haxconn": haxconn, "simulated_ms": simulated},
    )
    print_table(HEADER, rows(theirs, ours, simulated))


if __name__ == "__main__":
    with exit_on_input_error():
        main()
