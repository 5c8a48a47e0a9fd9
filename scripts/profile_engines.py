"""Builds one family of a network's engines on a board and profiles them."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.jetson.profiles import profile_family
    from multidnn.measure.options import MeasureOptions
    from multidnn.targets.jetson.target import JetsonTarget

    with JetsonTarget(snakemake.wildcards.target, snakemake.params.spec) as target:
        profile_family(
            target,
            Path(snakemake.input.models),
            snakemake.wildcards.family,
            MeasureOptions(**snakemake.params.sampling),
            Path(snakemake.log[0]).with_suffix(""),
            Path(snakemake.output[0]),
        )
