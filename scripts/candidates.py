"""Solves for the schedules of one workload that are predicted best, for measuring to choose among."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.schedule import Problem, Workload
    from multidnn.schedule.candidate_files import make_candidates

    workload = Workload.from_dict(snakemake.params.workload, "config.yaml")
    tables = (Path(snakemake.input[name]) for name in ("layers", "transitions", "emc", "contention"))
    make_candidates(
        Problem.from_files(*tables, workload),
        Path(snakemake.input.haxconn),
        snakemake.wildcards.target,
        Path(snakemake.output[0]),
        count=snakemake.params.candidates,
        time_limit_s=snakemake.params.time_limit_s,
    )
