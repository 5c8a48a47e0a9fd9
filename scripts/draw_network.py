"""Draws the layer times and transition costs of one network."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.report.layers import draw_layers
    from multidnn.report.transitions import draw_transitions

    network = [snakemake.wildcards.network]
    draw_layers(Path(snakemake.input.layers), Path(snakemake.output.layers), network)
    draw_transitions(Path(snakemake.input.transitions), Path(snakemake.output.transitions), network)
