rule tune:
    input:
        networks=workload_network_files,
        models=workload_network_models,
        candidates="results/{target}/candidates/{workload}.json",
        haxconn="results/{target}/schedules/{workload}/haxconn.json",
        baselines=expand(
            "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
            scheduler=[name for name in PLACED_SCHEDULERS if name not in settings.EXACT],
        ),
    output:
        kept("results/{target}/schedules/{workload}/tuned.json"),
    log:
        "results/{target}/logs/tuning/{workload}.log",
    wildcard_constraints:
        target=SESSIONS,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/tuning/{workload}.log"),
        workload=workload_form,
        spec=target_spec,
        running=RUN_OPTIONS,
        library=session_library("runtime/*.py", "schedule", "measure/*.py"),
    message:
        "Running the candidates of {wildcards.workload} on {wildcards.target}, to choose the fastest"
    script:
        "../scripts/tune.py"


rule run:
    input:
        networks=workload_network_files,
        models=workload_network_models,
        schedules=expand(
            "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
            scheduler=SESSION_SCHEDULERS,
        ),
        whole="results/{target}/whole_results.csv",
        chosen="results/{target}/whole_results.json",
    output:
        kept("results/{target}/runs/{workload}.json"),
    log:
        "results/{target}/logs/runs/{workload}.log",
    wildcard_constraints:
        target=SESSIONS,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/runs/{workload}.log"),
        workload=workload_form,
        spec=target_spec,
        running=RUN_OPTIONS,
        library=session_library("runtime/*.py", "schedule", "measure/*.py"),
    message:
        "Running the schedules of {wildcards.workload} on {wildcards.target}, interleaved"
    script:
        "../scripts/run.py"


rule run_board:
    input:
        networks=workload_network_files,
        models=board_workload_models,
        schedules=expand(
            "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
            scheduler=PLACED_SCHEDULERS,
        ),
        engines="results/{target}/segments/{workload}.json",
    output:
        kept("results/{target}/runs/{workload}.json"),
    log:
        "results/{target}/logs/runs/{workload}.log",
    wildcard_constraints:
        target=JETSON,
    conda:
        "../envs/host.yaml"
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/runs/{workload}.log"),
        workload=workload_form,
        spec=board_spec("run"),
        running=RUN_OPTIONS,
        library=package_hash(*BOARD_LIBRARY, "runtime", "schedule"),
    message:
        "Running the schedules of {wildcards.workload} on {wildcards.target}, interleaved"
    script:
        "../scripts/run_board.py"
