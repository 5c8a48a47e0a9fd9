rule recorded_tables:
    output:
        layers=ensure("results/{target}/layer_results.csv", non_empty=True),
        layers_json=ensure("results/{target}/layer_results.json", non_empty=True),
        transitions=ensure("results/{target}/transition_results.csv", non_empty=True),
        transitions_json=ensure("results/{target}/transition_results.json", non_empty=True),
        emc=ensure("results/{target}/emc_results.csv", non_empty=True),
        emc_json=ensure("results/{target}/emc_results.json", non_empty=True),
        emc_yaml=ensure("results/{target}/emc_results.yaml", non_empty=True),
        contention=ensure("results/{target}/contention.json", non_empty=True),
    log:
        "results/{target}/logs/recorded_tables.log",
    benchmark:
        "results/{target}/benchmarks/recorded_tables.jsonl"
    wildcard_constraints:
        target=RECORDED,
    conda:
        "../envs/host.yaml"
    params:
        spec=target_spec,
        library=package_hash("targets/recorded"),
    message:
        "Writing the recorded tables of {wildcards.target}"
    script:
        "../scripts/recorded_tables.py"
