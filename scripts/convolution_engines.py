"""Writes the 25 characterisation layers in a board's form and builds their engines there."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.files import read_json
    from multidnn.measure.jetson.profiles import build_convolutions
    from multidnn.networks.board_models import write_board_models
    from multidnn.networks.calibration import write_calibration
    from multidnn.targets.jetson.engines import model_precision
    from multidnn.targets.jetson.target import JetsonTarget

    spec = snakemake.params.spec
    precision = model_precision(read_json(Path(snakemake.input.board))["tensorrt"], spec["precision"])
    models = {name: Path(snakemake.output.models) / name for name in snakemake.params.convolutions}
    for name, directory in models.items():
        write_board_models(Path(snakemake.input.convolutions) / name, directory, precision)
        if spec["precision"] == "int8":
            write_calibration(directory, None, snakemake.params.sampling["seed"])
    with JetsonTarget(snakemake.wildcards.target, spec) as target:
        build_convolutions(
            target,
            models,
            Path(snakemake.log[0]).with_suffix(""),
            Path(snakemake.output.json),
        )
