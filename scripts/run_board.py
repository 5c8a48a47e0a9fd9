"""Runs every schedule of one workload on a board, interleaved in one call."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.runtime.jetson.job import run_on_board
    from multidnn.runtime.jobs import RunOptions
    from multidnn.schedule.workload import Workload
    from multidnn.targets.jetson.target import JetsonTarget

    networks = [Path(file).parent for file in snakemake.input.networks]
    models = list(map(Path, snakemake.input.models))
    with JetsonTarget(snakemake.wildcards.target, snakemake.params.spec) as target:
        run_on_board(
            target,
            Workload.from_dict(snakemake.params.workload, "config.yaml"),
            {directory.name: directory for directory in networks},
            {directory.name: directory for directory in models},
            list(map(Path, snakemake.input.schedules)),
            Path(snakemake.input.engines),
            RunOptions(**snakemake.params.running),
            Path(snakemake.output[0]),
        )
