"""Measures how the accelerators slow each other down, fits the slowdown model and checks it."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.contention.characterise import characterise
    from multidnn.measure.options import MeasureOptions
    from multidnn.targets import open_target

    characterise(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        [Path(file).parent for file in snakemake.input.networks],
        [Path(snakemake.input.convolutions) / name for name in snakemake.params.convolutions],
        Path(snakemake.input.emc),
        MeasureOptions(**snakemake.params.sampling),
        Path(snakemake.output[0]),
    )
