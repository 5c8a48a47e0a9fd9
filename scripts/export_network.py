"""Reads one network, chooses its groups and writes its models."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn import networks

    network = networks.load(snakemake.input[0], seed=snakemake.params.seed, name=snakemake.wildcards.network)
    groups = networks.choose_groups(network, **snakemake.params.groups)
    networks.export(network, groups, Path(snakemake.output.json).parent)
