"""Reads a board's memory controller while every group and the 25 convolutions run in a loop."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.jetson.emc import profile_emc_on_board
    from multidnn.measure.options import MeasureOptions
    from multidnn.targets.jetson.target import JetsonTarget

    with JetsonTarget(snakemake.wildcards.target, snakemake.params.spec) as target:
        profile_emc_on_board(
            target,
            [Path(file).parent for file in snakemake.input.networks],
            list(map(Path, snakemake.input.engines)),
            list(map(Path, snakemake.input.whole)),
            Path(snakemake.input.layers),
            MeasureOptions(**snakemake.params.sampling),
            Path(snakemake.output.csv),
            Path(snakemake.output.yaml),
        )
