"""Times every group of one network alone on every accelerator."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.layers import profile_layers
    from multidnn.measure.options import MeasureOptions
    from multidnn.targets import open_target

    profile_layers(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        Path(snakemake.input.network).parent,
        MeasureOptions(**snakemake.params.sampling),
        Path(snakemake.output.csv),
    )
