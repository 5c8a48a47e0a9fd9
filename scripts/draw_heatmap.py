"""Draws the memory demand of the 25 convolutions."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.report.emc import draw_heatmap

    draw_heatmap(Path(snakemake.input[0]), Path(snakemake.output[0]))
