"""Draws what a workload did while it was being solved."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.report.dynamic import draw_dynamic

    draw_dynamic(Path(snakemake.input[0]), Path(snakemake.output[0]))
