"""Works out what transitions cost on a board from the profiles of marked and moving engines."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.jetson.transitions import board_transitions

    board_transitions(
        [Path(file).parent for file in snakemake.input.networks],
        list(map(Path, snakemake.input.profiles)),
        Path(snakemake.input.layers),
        snakemake.params.spec["accelerators"],
        Path(snakemake.output.csv),
    )
