rule run_dynamic:
    input:
        networks=dynamic_network_files,
        models=dynamic_network_models,
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
    output:
        kept("results/{target}/dynamic/{workload}.json"),
    log:
        "results/{target}/logs/dynamic/{workload}.log",
    wildcard_constraints:
        target=PROFILED,
        workload=DYNAMIC,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/dynamic/{workload}.log"),
        workload=dynamic_form,
        joining=joining_instances,
        spec=target_spec,
        max_transitions=config["schedule"]["max_transitions"],
        running=RUNNING_DYNAMIC,
        library=session_library("runtime/*.py", "schedule", "measure/*.py"),
    message:
        "Running {wildcards.workload} on {wildcards.target} while it is being solved"
    script:
        "../scripts/dynamic.py"


rule draw_dynamic:
    input:
        "results/{target}/dynamic/{workload}.json",
    output:
        report(
            kept("results/{target}/figures/dynamic/{workload}.svg"),
            caption="../report/dynamic.rst",
            category="8. Solving while running",
            labels={"workload": "{workload}"},
        ),
    log:
        "results/{target}/logs/figures/dynamic/{workload}.log",
    benchmark:
        "results/{target}/benchmarks/figures/dynamic/{workload}.jsonl"
    wildcard_constraints:
        target=PROFILED,
        workload=DYNAMIC,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/figures/dynamic/{workload}.log"),
        library=package_hash("report"),
    message:
        "Drawing {wildcards.workload} on {wildcards.target} while it was solved"
    script:
        "../scripts/draw_dynamic.py"
