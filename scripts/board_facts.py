"""Asks a board what it is, so that models and engines can be made for it."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.files import write_json
    from multidnn.targets.jetson.target import JetsonTarget

    with JetsonTarget(snakemake.wildcards.target, snakemake.params.spec) as target:
        write_json(Path(snakemake.output[0]), target.state)
