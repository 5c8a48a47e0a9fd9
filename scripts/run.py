"""Runs every schedule of one workload, interleaved in one job."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.whole import read_chip_runtimes
    from multidnn.runtime.jobs import RunOptions, run_workload
    from multidnn.schedule.workload import Workload
    from multidnn.targets import open_target

    directories = [Path(file).parent for file in snakemake.input.networks]
    run_workload(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        Workload.from_dict(snakemake.params.workload, "config.yaml"),
        {directory.name: directory for directory in directories},
        list(map(Path, snakemake.input.schedules)),
        read_chip_runtimes(Path(snakemake.input.whole)),
        RunOptions(**snakemake.params.running),
        Path(snakemake.output[0]),
    )
