"""Writes the tables of a recorded target."""

from pathlib import Path
from types import SimpleNamespace

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.sidecar import environment
    from multidnn.targets.recorded import write_tables

    facts = {"name": snakemake.wildcards.target, **snakemake.params.spec}
    target = SimpleNamespace(facts=lambda: facts, clocks=dict)
    write_tables(Path(snakemake.output.layers).parent, environment(target))
