"""Measures the latency of one network alone and beside others, under every condition, interleaved in one job."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.isolation.case import IsolationCase, IsolationOptions
    from multidnn.measure.isolation.job import measure_isolation
    from multidnn.measure.whole import read_chip_runtimes
    from multidnn.targets import open_target

    case = dict(snakemake.params.case)
    directories = [Path(file).parent for file in snakemake.input.networks]
    measure_isolation(
        open_target(snakemake.wildcards.target, snakemake.params.spec),
        IsolationCase.of(snakemake.wildcards.case, case.pop("protected"), case.pop("beside")),
        {directory.name: directory for directory in directories},
        read_chip_runtimes(Path(snakemake.input.whole)),
        IsolationOptions(**case, seed=snakemake.params.seed),
        Path(snakemake.output[0]),
    )
