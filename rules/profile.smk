rule profile_layers:
    input:
        network="results/networks/{network}/network.json",
        models="results/networks/{network}/models",
    output:
        csv=kept("results/{target}/layer/{network}.csv"),
        json=kept("results/{target}/layer/{network}.json"),
    log:
        "results/{target}/logs/layer/{network}.log",
    wildcard_constraints:
        target=PROFILED,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/layer/{network}.log"),
        spec=target_spec,
        sampling=SAMPLING,
        library=session_library("measure/*.py"),
    message:
        "Timing the groups of {wildcards.network} on {wildcards.target}"
    script:
        "../scripts/profile_layers.py"


rule merge_layers:
    input:
        tables=target_layer_tables,
        sidecars=target_layer_sidecars,
    output:
        csv=kept("results/{target}/layer_results.csv"),
        json=kept("results/{target}/layer_results.json"),
    log:
        "results/{target}/logs/layer_results.log",
    benchmark:
        "results/{target}/benchmarks/layer_results.jsonl"
    wildcard_constraints:
        target=f"{PROFILED}|{JETSON}",
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/layer_results.log"),
        library=package_hash("measure/merge.py"),
    message:
        "Joining the layer tables of {wildcards.target}"
    script:
        "../scripts/merge_layers.py"


rule profile_transitions:
    input:
        networks=target_network_files,
        models=target_network_models,
        layers="results/{target}/layer_results.csv",
    output:
        csv=kept("results/{target}/transition_results.csv"),
        json=kept("results/{target}/transition_results.json"),
    log:
        "results/{target}/logs/transition_results.log",
    wildcard_constraints:
        target=PROFILED,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/transition_results.log"),
        spec=target_spec,
        sampling=SAMPLING,
        library=session_library("measure/*.py"),
    message:
        "Measuring transitions between the accelerators of {wildcards.target}"
    script:
        "../scripts/profile_transitions.py"


rule profile_whole:
    input:
        networks=target_network_files,
        models=target_network_models,
    output:
        csv=kept("results/{target}/whole_results.csv"),
        json=kept("results/{target}/whole_results.json"),
    log:
        "results/{target}/logs/whole_results.log",
    wildcard_constraints:
        target=SESSIONS,
    conda:
        session_environment
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/whole_results.log"),
        spec=target_spec,
        sampling=SAMPLING,
        library=session_library("measure/*.py"),
    message:
        "Timing whole networks on the whole of {wildcards.target}"
    script:
        "../scripts/profile_whole.py"


rule board_layers:
    input:
        network="results/networks/{network}/network.json",
        models="results/{target}/models/{network}",
        profiles=board_profiles,
    output:
        csv=kept("results/{target}/layer/{network}.csv"),
        json=kept("results/{target}/layer/{network}.json"),
    log:
        "results/{target}/logs/layer/{network}.log",
    benchmark:
        "results/{target}/benchmarks/layer/{network}.jsonl"
    wildcard_constraints:
        target=JETSON,
        network=NETWORKS,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/layer/{network}.log"),
        spec=board_spec("profile"),
        sampling=SAMPLING,
        library=package_hash("measure/jetson", "targets/jetson/attribution.py", "targets/jetson/parsers"),
    message:
        "Working out the group times of {wildcards.network} on {wildcards.target} from its profiles"
    script:
        "../scripts/board_layers.py"


rule board_transitions:
    input:
        networks=target_network_files,
        layers="results/{target}/layer_results.csv",
        profiles=target_board_profiles,
    output:
        csv=kept("results/{target}/transition_results.csv"),
        json=kept("results/{target}/transition_results.json"),
    log:
        "results/{target}/logs/transition_results.log",
    benchmark:
        "results/{target}/benchmarks/transition_results.jsonl"
    wildcard_constraints:
        target=JETSON,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/transition_results.log"),
        spec=board_spec("profile"),
        sampling=SAMPLING,
        library=package_hash("measure/jetson", "targets/jetson/attribution.py", "targets/jetson/parsers"),
    message:
        "Working out the costs of transitions on {wildcards.target} from its profiles"
    script:
        "../scripts/board_transitions.py"
