"""Asks a board what it is, so that models and engines can be made for it."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.files import write_json
    from multidnn.targets.jetson.target import JetsonTarget
    from multidnn.targets.jetson.tools import find_sampler

    spec = snakemake.params.spec
    with JetsonTarget(snakemake.wildcards.target, spec) as target:
        # what cannot be read would end the pipeline only after hours of building
        find_sampler(target.board, spec["emc"])
        target.memory_bus_bytes()
        write_json(Path(snakemake.output[0]), target.state)
