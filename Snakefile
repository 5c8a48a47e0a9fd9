import sys
import time
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


report: "report/workflow.rst"


# one job at a time per chip and per device; registered here, so that no --resources on the command line drops it
for device in ("soc", "gpu", "dla"):
    workflow.register_resource(device, 1)


include: "rules/common.smk"


TARGET = config["target"]
STARTED = time.time()


wildcard_constraints:
    target=NAME,
    network=NAME,
    workload=NAME,
    scheduler=NAME,


include: "rules/networks.smk"
include: "rules/board.smk"
include: "rules/engines.smk"
include: "rules/profile.smk"
include: "rules/emc.smk"
include: "rules/contention.smk"
include: "rules/recorded.smk"
include: "rules/schedule.smk"
include: "rules/variants.smk"
include: "rules/run.smk"
include: "rules/dynamic.smk"
include: "rules/isolation.smk"
include: "rules/report.smk"


# what a user asks for by name, on the target that config.yaml selects


rule all:
    default_target: True
    input:
        results_of(TARGET),


rule networks:
    input:
        exported_networks(TARGET),


rule layer_results:
    input:
        table_of(TARGET, "layer_results"),


rule transition_results:
    input:
        table_of(TARGET, "transition_results"),


rule emc_results:
    input:
        table_of(TARGET, "emc_results"),


rule whole_results:
    input:
        measured(TARGET, "whole_results"),


rule contention:
    input:
        f"results/{TARGET}/contention.json",


rule schedules:
    input:
        schedules_of(TARGET),


rule runs:
    input:
        measured(TARGET, "runs"),


rule dynamic:
    input:
        asked_dynamic(TARGET),


rule isolation:
    input:
        asked_isolation(TARGET),


rule report:
    input:
        f"results/{TARGET}/report.html",


# Snakemake ends with its own account of the failed job; what a user has to mend comes last
onerror:
    for line in errors_since(Path("results"), STARTED):
        print(line, file=sys.stderr)
