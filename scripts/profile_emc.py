"""Measures the memory demand of the 25 convolutions and of every group."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.emc import profile_emc
    from multidnn.measure.options import MeasureOptions
    from multidnn.targets import open_target

    profile_emc(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        [Path(file).parent for file in snakemake.input.networks],
        [Path(snakemake.input.convolutions) / name for name in snakemake.params.convolutions],
        Path(snakemake.input.layers),
        MeasureOptions(**snakemake.params.sampling),
        Path(snakemake.output.csv),
        Path(snakemake.output.yaml),
    )
