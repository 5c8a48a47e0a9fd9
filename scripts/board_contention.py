"""Measures how a board's accelerators slow each other down."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.contention.jetson import characterise_board
    from multidnn.measure.options import MeasureOptions
    from multidnn.targets.jetson.target import JetsonTarget

    with JetsonTarget(snakemake.wildcards.target, snakemake.params.spec) as target:
        characterise_board(
            target,
            [Path(file).parent for file in snakemake.input.networks],
            list(map(Path, snakemake.input.engines)),
            Path(snakemake.input.emc),
            MeasureOptions(**snakemake.params.sampling),
            Path(snakemake.output[0]),
        )
