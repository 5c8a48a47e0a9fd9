# TensorRT engines, built and kept on the board; the files here say what was built and where its layers went


rule profile_engines:
    input:
        models="results/{target}/models/{network}",
        network="results/networks/{network}/network.json",
        board="results/{target}/board.json",
    output:
        kept("results/{target}/profiles/{network}/{family}.json"),
    log:
        "results/{target}/logs/profiles/{network}/{family}.log",
    wildcard_constraints:
        target=JETSON,
        network=NETWORKS,
        family=_any_of(FAMILIES),
    conda:
        "../envs/host.yaml"
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/profiles/{network}/{family}.log"),
        spec=board_spec("profile"),
        sampling=SAMPLING,
        library=package_hash(*BOARD_LIBRARY, "measure/jetson/profiles.py"),
    message:
        "Building and profiling the engines {wildcards.family} of {wildcards.network} on {wildcards.target}"
    script:
        "../scripts/profile_engines.py"


rule group_engines:
    input:
        models="results/{target}/models/{network}",
        network="results/networks/{network}/network.json",
        board="results/{target}/board.json",
    output:
        kept("results/{target}/engines/{network}.json"),
    log:
        "results/{target}/logs/engines/{network}.log",
    wildcard_constraints:
        target=JETSON,
        network=NETWORKS,
    conda:
        "../envs/host.yaml"
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/engines/{network}.log"),
        spec=board_spec("engines"),
        library=package_hash(*BOARD_LIBRARY),
    message:
        "Building an engine of each group of {wildcards.network} on {wildcards.target}"
    script:
        "../scripts/group_engines.py"


rule convolution_engines:
    input:
        convolutions="results/networks/convolution",
        board="results/{target}/board.json",
    output:
        json=kept("results/{target}/engines/convolution.json"),
        models=directory("results/{target}/models/convolution"),
    log:
        "results/{target}/logs/engines/convolution.log",
    wildcard_constraints:
        target=JETSON,
    conda:
        "../envs/host.yaml"
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/engines/convolution.log"),
        convolutions=CONVOLUTIONS,
        spec=board_spec("engines"),
        sampling=SAMPLING,
        library=package_hash(*BOARD_LIBRARY, "networks"),
    message:
        "Building the engines of the 25 characterisation layers on {wildcards.target}"
    script:
        "../scripts/convolution_engines.py"


rule segment_engines:
    input:
        models=board_workload_models,
        networks=workload_network_files,
        schedules=expand(
            "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
            scheduler=PLACED_SCHEDULERS,
        ),
        board="results/{target}/board.json",
    output:
        kept("results/{target}/segments/{workload}.json"),
    log:
        "results/{target}/logs/segments/{workload}.log",
    wildcard_constraints:
        target=JETSON,
    conda:
        "../envs/host.yaml"
    threads: workflow.cores
    # no `benchmark:` here, see docs/architecture.md: its sampling disturbs what is measured
    resources:
        soc=1,
    params:
        attempt=attempt("results/{target}/logs/segments/{workload}.log"),
        workload=workload_form,
        spec=board_spec("segments"),
        library=package_hash(*BOARD_LIBRARY, "networks/segments.py", "runtime/jetson", "runtime/plan.py"),
    message:
        "Building the engines that the schedules of {wildcards.workload} need on {wildcards.target}"
    script:
        "../scripts/segment_engines.py"
