"""Works out the group times of one network on a board from the profiles of its engines."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.jetson.layers import board_layers

    board_layers(
        Path(snakemake.input.models),
        list(map(Path, snakemake.input.profiles)),
        snakemake.params.spec["accelerators"],
        snakemake.params.spec["gpu_only"],
        Path(snakemake.output.csv),
    )
