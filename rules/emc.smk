rule profile_emc:
    input:
        networks=target_network_files,
        models=target_network_models,
        convolutions="results/networks/convolution",
        layers="results/{target}/layer_results.csv",
    output:
        csv=kept("results/{target}/emc_results.csv"),
        json=kept("results/{target}/emc_results.json"),
        yaml=kept("results/{target}/emc_results.yaml"),
    log:
        "results/{target}/logs/emc_results.log",
    wildcard_constraints:
        target=PROFILED,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/emc_results.log"),
        convolutions=CONVOLUTIONS,
        spec=target_spec,
        sampling=SAMPLING,
        library=session_library("measure/*.py"),
    message:
        "Measuring memory demand on {wildcards.target}: 25 convolutions and every group"
    script:
        "../scripts/profile_emc.py"


rule profile_emc_board:
    input:
        networks=target_network_files,
        layers="results/{target}/layer_results.csv",
        engines=target_group_engines,
        whole=target_whole_profiles,
        board="results/{target}/board.json",
    output:
        csv=kept("results/{target}/emc_results.csv"),
        json=kept("results/{target}/emc_results.json"),
        yaml=kept("results/{target}/emc_results.yaml"),
    log:
        "results/{target}/logs/emc_results.log",
    wildcard_constraints:
        target=JETSON,
    conda:
        "../envs/host.yaml"
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/emc_results.log"),
        spec=board_spec("emc"),
        sampling=SAMPLING,
        library=package_hash(*BOARD_LIBRARY, "measure/jetson"),
    message:
        "Reading the memory controller of {wildcards.target} under 25 convolutions and every group"
    script:
        "../scripts/board_emc.py"
