"""Measures what every change of accelerator costs."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.options import MeasureOptions
    from multidnn.measure.transitions import profile_transitions
    from multidnn.targets import open_target

    profile_transitions(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        [Path(file).parent for file in snakemake.input.networks],
        Path(snakemake.input.layers),
        MeasureOptions(**snakemake.params.sampling),
        Path(snakemake.output.csv),
    )
