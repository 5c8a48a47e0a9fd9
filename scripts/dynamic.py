"""Runs one workload while it is being solved, with instances that join and leave on the way."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.runtime.dynamic_job import DynamicOptions, run_dynamic
    from multidnn.schedule import Problem, Workload
    from multidnn.targets import open_target

    workload = Workload.from_dict(snakemake.params.workload, "config.yaml")
    tables = (Path(snakemake.input[name]) for name in ("layers", "transitions", "emc", "contention"))
    directories = [Path(file).parent for file in snakemake.input.networks]
    run_dynamic(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        Problem.from_files(*tables, workload),
        {directory.name: directory for directory in directories},
        snakemake.params.joining,
        snakemake.params.max_transitions,
        DynamicOptions(**snakemake.params.running),
        Path(snakemake.output[0]),
    )
