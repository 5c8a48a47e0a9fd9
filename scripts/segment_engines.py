"""Builds the engines that the schedules of one workload need on a board."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.runtime.jetson.engines import build_engines
    from multidnn.schedule.workload import Workload
    from multidnn.targets.jetson.target import JetsonTarget

    networks = [Path(file).parent for file in snakemake.input.networks]
    models = list(map(Path, snakemake.input.models))
    with JetsonTarget(snakemake.wildcards.target, snakemake.params.spec) as target:
        build_engines(
            target,
            Workload.from_dict(snakemake.params.workload, "config.yaml"),
            {directory.name: directory for directory in networks},
            {directory.name: directory for directory in models},
            list(map(Path, snakemake.input.schedules)),
            Path(snakemake.log[0]).with_suffix(""),
            Path(snakemake.output[0]),
        )
