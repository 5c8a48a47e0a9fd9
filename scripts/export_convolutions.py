"""Writes the models of the characterisation layers, each a network of one group."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]) as log:
    from multidnn import networks

    for number, path in enumerate(map(Path, snakemake.input), start=1):
        log.info("convolution: %s (%d/%d)", path.stem, number, len(snakemake.input))
        network = networks.load(path, seed=snakemake.params.seed)
        groups = networks.choose_groups(network, count=1)
        networks.export(network, groups, Path(snakemake.output[0]) / path.stem)
