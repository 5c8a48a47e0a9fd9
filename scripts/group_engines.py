"""Builds an engine of each group of one network on a board."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.jetson.profiles import build_groups
    from multidnn.targets.jetson.target import JetsonTarget

    with JetsonTarget(snakemake.wildcards.target, snakemake.params.spec) as target:
        build_groups(
            target,
            Path(snakemake.input.models),
            Path(snakemake.log[0]).with_suffix(""),
            Path(snakemake.output[0]),
        )
