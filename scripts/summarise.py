"""Puts predicted and measured times of all workloads of a target into one table and one page."""

from pathlib import Path
from types import SimpleNamespace

from multidnn.logs import job_log

with job_log(snakemake.log[0]):
    from multidnn.measure.sidecar import environment
    from multidnn.report.page import write_page
    from multidnn.report.summary import summarise
    from multidnn.schedule.workload import Workload

    facts = {"name": snakemake.wildcards.target, **snakemake.params.spec}
    results = Path(snakemake.output.csv).parent
    summarise(
        [Workload.from_dict(form, "config.yaml") for form in snakemake.params.workloads],
        results / "schedules",
        results / "runs" if snakemake.input.get("runs") else None,
        Path(snakemake.output.csv),
        snakemake.params.schedulers,
        environment(SimpleNamespace(facts=lambda: facts, clocks=dict)),
    )
    write_page(Path(snakemake.output.csv), Path(snakemake.output.page), results / "schedules")
