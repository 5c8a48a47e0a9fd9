"""Joins the tables of a target's variants into its own."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.contention.joining import join_models
    from multidnn.measure.joining import join_tables

    models = {Path(file).parent.name: Path(file) for file in snakemake.input.contention}
    directories = {name: file.parent for name, file in models.items()}
    accelerators = join_tables(directories, Path(snakemake.output.layers).parent)
    join_models(models, accelerators, Path(snakemake.output.contention))
