"""Makes the schedules of one workload that use the chip whole."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn import schedule

    workload = schedule.Workload.from_dict(snakemake.params.workload, "config.yaml")
    for out in map(Path, snakemake.output):
        if out.stem == "whole":
            made = schedule.whole(workload, Path(snakemake.input.whole), snakemake.wildcards.target)
        else:
            made = schedule.streams(workload, snakemake.wildcards.target)
        made.write(out)
