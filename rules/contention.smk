rule characterise:
    input:
        networks=target_network_files,
        models=target_network_models,
        convolutions="results/networks/convolution",
        emc="results/{target}/emc_results.csv",
    output:
        kept("results/{target}/contention.json"),
    log:
        "results/{target}/logs/contention.log",
    wildcard_constraints:
        target=PROFILED,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/contention.log"),
        convolutions=CONVOLUTIONS,
        spec=target_spec,
        sampling=SAMPLING,
        library=session_library("contention/*.py", "measure/*.py"),
    message:
        "Measuring how the accelerators of {wildcards.target} slow each other down"
    script:
        "../scripts/characterise.py"


rule characterise_board:
    input:
        networks=target_network_files,
        engines=target_group_engines,
        emc="results/{target}/emc_results.csv",
        board="results/{target}/board.json",
    output:
        kept("results/{target}/contention.json"),
    log:
        "results/{target}/logs/contention.log",
    wildcard_constraints:
        target=JETSON,
    conda:
        "../envs/host.yaml"
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/contention.log"),
        spec=board_spec("contention"),
        sampling=SAMPLING,
        library=package_hash(*BOARD_LIBRARY, "contention", "measure/jetson"),
    message:
        "Measuring how the accelerators of {wildcards.target} slow each other down"
    script:
        "../scripts/board_contention.py"
