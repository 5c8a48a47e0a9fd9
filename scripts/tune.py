"""Runs the candidates of one workload, interleaved in one job, and takes the fastest as the schedule of tuned."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.runtime.jobs import RunOptions
    from multidnn.runtime.tuning import tune_workload
    from multidnn.schedule.workload import Workload
    from multidnn.targets import open_target

    directories = [Path(file).parent for file in snakemake.input.networks]
    tune_workload(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        Workload.from_dict(snakemake.params.workload, "config.yaml"),
        {directory.name: directory for directory in directories},
        Path(snakemake.input.candidates),
        Path(snakemake.input.haxconn),
        list(map(Path, snakemake.input.baselines)),
        RunOptions(**snakemake.params.running),
        Path(snakemake.output[0]),
    )
