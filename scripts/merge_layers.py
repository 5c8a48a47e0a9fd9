"""Joins the layer tables of all networks into layer_results.csv."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn import tables
    from multidnn.measure.merge import merge_tables

    merge_tables(list(map(Path, snakemake.input.tables)), tables.LAYERS, Path(snakemake.output.csv))
