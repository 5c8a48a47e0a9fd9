"""Writes the models of one network in the form that a board's TensorRT takes."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.files import read_json
    from multidnn.networks.board_models import write_board_models
    from multidnn.networks.calibration import write_calibration
    from multidnn.targets.jetson.engines import model_precision

    precision, out = snakemake.params.spec["precision"], Path(snakemake.output[0])
    tensorrt = read_json(Path(snakemake.input.board))["tensorrt"]
    write_board_models(Path(snakemake.input.network).parent, out, model_precision(tensorrt, precision))
    if precision == "int8":
        data = snakemake.input.calibration
        write_calibration(out, Path(data) if data else None, snakemake.params.seed)
