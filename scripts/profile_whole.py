"""Times every network alone on the whole chip."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.options import MeasureOptions
    from multidnn.measure.whole import profile_whole
    from multidnn.targets import open_target

    profile_whole(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        [Path(file).parent for file in snakemake.input.networks],
        MeasureOptions(**snakemake.params.sampling),
        Path(snakemake.output.csv),
    )
