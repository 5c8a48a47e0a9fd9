"""Draws the timelines of one workload and writes a trace of each of its schedules."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]) as log:
    from multidnn.report.timeline import draw_timelines
    from multidnn.report.traces import write_trace
    from multidnn.schedule import Problem, Workload

    workload = Workload.from_dict(snakemake.params.workload, "config.yaml")
    tables = (Path(snakemake.input[name]) for name in ("layers", "transitions", "emc", "contention"))
    problems = Problem.by_target(*tables, workload, snakemake.wildcards.target)
    schedules = list(map(Path, snakemake.input.schedules))
    run = Path(snakemake.input.run) if snakemake.input.get("run") else None  # recorded targets have none
    log.info("timelines: %s: %d schedules", workload.name, len(schedules))
    draw_timelines(problems, schedules, run, Path(snakemake.output.timelines))
    for schedule, trace in zip(schedules, map(Path, snakemake.output.traces), strict=True):
        write_trace(problems, schedule, run, trace)
