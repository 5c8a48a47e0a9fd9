"""Draws predicted against measured makespans."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.report.error import draw_error

    draw_error(Path(snakemake.input[0]), Path(snakemake.output[0]))
