"""Takes the candidates of one workload that are predicted best over the target's variants."""

from pathlib import Path

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.schedule.candidate_files import choose_candidates

    choose_candidates(
        # results/{variant}/candidates/{workload}.json
        {file.parents[1].name: file for file in map(Path, snakemake.input)},
        snakemake.wildcards.workload,
        snakemake.wildcards.target,
        Path(snakemake.output[0]),
        count=snakemake.params.candidates,
    )
