"""Writes the tables of a recorded target."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.targets.recorded import write_tables

    write_tables(Path(snakemake.output.layers).parent)
