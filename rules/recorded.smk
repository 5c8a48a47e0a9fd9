rule recorded_tables:
    output:
        layers=kept("results/{target}/layer_results.csv"),
        layers_json=kept("results/{target}/layer_results.json"),
        transitions=kept("results/{target}/transition_results.csv"),
        transitions_json=kept("results/{target}/transition_results.json"),
        emc=kept("results/{target}/emc_results.csv"),
        emc_json=kept("results/{target}/emc_results.json"),
        emc_yaml=kept("results/{target}/emc_results.yaml"),
        contention=kept("results/{target}/contention.json"),
    log:
        "results/{target}/logs/recorded_tables.log",
    benchmark:
        "results/{target}/benchmarks/recorded_tables.jsonl"
    wildcard_constraints:
        target=RECORDED,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/recorded_tables.log"),
        spec=target_spec,
        library=package_hash("targets/recorded"),
    message:
        "Writing the recorded tables of {wildcards.target}"
    script:
        "../scripts/recorded_tables.py"
