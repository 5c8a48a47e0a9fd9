# what a Jetson board needs before anything is measured: a look at it, and models that its DLA can take


rule preflight:
    input:
        asked_preflight(TARGET),
    log:
        f"results/{TARGET}/logs/preflight.log",
    conda:
        "../envs/host.yaml"
    params:
        name=TARGET,
        spec=config["targets"][TARGET],
    message:
        f"Checking the board of {TARGET}"
    script:
        "../scripts/preflight.py"


rule board_facts:
    output:
        kept("results/{target}/board.json"),
    log:
        "results/{target}/logs/board.log",
    benchmark:
        "results/{target}/benchmarks/board.jsonl"
    wildcard_constraints:
        target=JETSON,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/board.log"),
        spec=board_spec("board"),
        library=package_hash("targets/jetson"),
    message:
        "Asking the board of {wildcards.target} what it is"
    script:
        "../scripts/board_facts.py"


rule board_models:
    input:
        network="results/networks/{network}/network.json",
        models="results/networks/{network}/models",
        board="results/{target}/board.json",
        calibration=calibration_data,
    output:
        directory("results/{target}/models/{network}"),
    log:
        "results/{target}/logs/models/{network}.log",
    benchmark:
        "results/{target}/benchmarks/models/{network}.jsonl"
    wildcard_constraints:
        target=JETSON,
        network=NETWORKS,
    conda:
        "../envs/host.yaml"
    params:
        spec=board_spec("models"),
        seed=config["seed"],
        library=package_hash("networks", "targets/jetson/board/versions.py"),
    message:
        "Writing the models of {wildcards.network} for the board of {wildcards.target}"
    script:
        "../scripts/board_models.py"
