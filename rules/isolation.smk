rule measure_isolation:
    input:
        networks=isolation_network_files,
        models=isolation_network_models,
        whole="results/{target}/whole_results.csv",
        chosen="results/{target}/whole_results.json",
    output:
        kept("results/{target}/isolation/{case}.json"),
    log:
        "results/{target}/logs/isolation/{case}.log",
    wildcard_constraints:
        target=SESSIONS,
        case=ISOLATION,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/isolation/{case}.log"),
        case=isolation_form,
        spec=target_spec,
        seed=config["seed"],
        library=session_library("measure/*.py", "measure/isolation"),
    message:
        "Measuring the latency of {wildcards.case} on {wildcards.target}, alone and beside others"
    script:
        "../scripts/measure_isolation.py"


rule draw_isolation:
    input:
        "results/{target}/isolation/{case}.json",
    output:
        figure=report(
            kept("results/{target}/figures/isolation/{case}.svg"),
            caption="../report/isolation.rst",
            category="9. Isolation",
            labels={"case": "{case}", "what": "latencies"},
        ),
        table=report(
            kept("results/{target}/isolation/{case}.html"),
            caption="../report/isolation.rst",
            category="9. Isolation",
            labels={"case": "{case}", "what": "table"},
        ),
    log:
        "results/{target}/logs/figures/isolation/{case}.log",
    benchmark:
        "results/{target}/benchmarks/figures/isolation/{case}.jsonl"
    wildcard_constraints:
        target=SESSIONS,
        case=ISOLATION,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/figures/isolation/{case}.log"),
        library=package_hash("report"),
    message:
        "Drawing the latencies of {wildcards.case} on {wildcards.target}"
    script:
        "../scripts/draw_isolation.py"
