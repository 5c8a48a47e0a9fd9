rule profile_emc:
    input:
        networks=target_network_files,
        models=target_network_models,
        convolutions="results/networks/convolution",
        layers="results/{target}/layer_results.csv",
    output:
        csv=ensure("results/{target}/emc_results.csv", non_empty=True),
        json=ensure("results/{target}/emc_results.json", non_empty=True),
        yaml=ensure("results/{target}/emc_results.yaml", non_empty=True),
    log:
        "results/{target}/logs/emc_results.log",
    benchmark:
        "results/{target}/benchmarks/emc_results.jsonl"
    wildcard_constraints:
        target=HOST,
    conda:
        "../envs/host.yaml"
    threads: workflow.cores
    resources:
        soc=1,
    params:
        convolutions=CONVOLUTIONS,
        spec=target_spec,
        sampling=SAMPLING,
        library=package_hash("measure", "targets/base.py", "targets/host", "networks/exported.py"),
    message:
        "Measuring memory demand on {wildcards.target}: 25 convolutions and every group"
    script:
        "../scripts/profile_emc.py"
