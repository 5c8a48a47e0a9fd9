"""Makes the schedules of one workload by every scheduler; where one cannot exist, its file says why."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]) as log:
    from multidnn import schedule
    from multidnn.files import write_json

    workload = schedule.Workload.from_dict(snakemake.params.workload, "config.yaml")
    tables = (Path(snakemake.input[name]) for name in ("layers", "transitions", "emc", "contention"))
    problem = schedule.Problem.from_files(*tables, workload)
    target = snakemake.wildcards.target

    def make(name: str) -> schedule.Schedule:
        if name == "whole":
            return schedule.whole(workload, Path(snakemake.input.whole), target)
        if name == "streams":
            return schedule.streams(workload, target)
        if name == "artifact":
            return schedule.artifact_schedule(problem, target)
        limits = {key: snakemake.params[key] for key in ("max_transitions", "time_limit_s")}
        made = schedule.solve(problem, name, target=target, **limits)
        if not snakemake.params.explain or name not in schedule.SEARCHED:
            return made
        return schedule.with_alternatives(problem, made, time_limit_s=limits["time_limit_s"])

    for name, path in zip(snakemake.params.schedulers, map(Path, snakemake.output), strict=True):
        log.info("schedule: %s: %s", workload.name, name)
        try:
            make(name).write(path)
        except schedule.Infeasible as reason:
            log.info("schedule: %s: %s: absent: %s", workload.name, name, reason)
            entry = {"workload": workload.name, "target": target, "scheduler": name, "absent": str(reason)}
            write_json(path, entry)
