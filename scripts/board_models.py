"""Writes the models of one network in the form that a board's TensorRT takes."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.files import read_json
    from multidnn.networks.board_models import write_board_models
    from multidnn.targets.jetson.engines import model_precision

    tensorrt = read_json(Path(snakemake.input.board))["tensorrt"]
    write_board_models(
        Path(snakemake.input.network).parent,
        Path(snakemake.output[0]),
        model_precision(tensorrt, snakemake.params.spec["precision"]),
    )
