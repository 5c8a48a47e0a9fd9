rule export_network:
    input:
        network_source,
    output:
        json=ensure("results/networks/{network}/network.json", non_empty=True),
        models=directory("results/networks/{network}/models"),
    log:
        "results/networks/logs/{network}.log",
    benchmark:
        "results/networks/benchmarks/{network}.jsonl"
    conda:
        "../envs/host.yaml"
    params:
        groups=network_groups,
        seed=config["seed"],
        library=package_hash("networks"),
    message:
        "Exporting network {wildcards.network} from {input}"
    script:
        "../scripts/export_network.py"


rule export_convolutions:
    input:
        expand("prototxt/convolution/{name}.prototxt", name=CONVOLUTIONS),
    output:
        directory("results/networks/convolution"),
    log:
        "results/networks/logs/convolution.log",
    benchmark:
        "results/networks/benchmarks/convolution.jsonl"
    conda:
        "../envs/host.yaml"
    params:
        seed=config["seed"],
        library=package_hash("networks"),
    message:
        "Exporting the {input[0]} ... {input[24]} characterisation layers"
    script:
        "../scripts/export_convolutions.py"
