"""Writes, for each scheduler, the best of its schedules of one workload over the target's variants."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.schedule.variants import choose

    for out in map(Path, snakemake.output):
        # results/{variant}/schedules/{workload}/{scheduler}.json
        files = [file for file in map(Path, snakemake.input) if file.stem == out.stem]
        choose({file.parents[2].name: file for file in files}, snakemake.wildcards.target, out)
