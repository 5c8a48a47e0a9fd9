"""Draws the memory demand of the convolutions and of every group, and the slowdown curves."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.report.contention import draw_contention
    from multidnn.report.emc import draw_demand, draw_heatmap

    draw_heatmap(Path(snakemake.input.emc), Path(snakemake.output.heatmap))
    draw_demand(Path(snakemake.input.emc), Path(snakemake.output.demand))
    draw_contention(Path(snakemake.input.contention), Path(snakemake.output.contention))
