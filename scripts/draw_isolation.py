"""Draws the latencies of a protected network under every condition, and puts them in a table."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.report.isolation import draw_isolation, write_isolation_table

    source = Path(snakemake.input[0])
    draw_isolation(source, Path(snakemake.output.figure))
    write_isolation_table(source, Path(snakemake.output.table))
