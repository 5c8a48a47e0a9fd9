# a target with variants: each variant is profiled and scheduled by itself, then joined, and the best one is taken


rule join_variants:
    input:
        tables=variant_tables,
        contention=variant_models,
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
        "results/{target}/logs/join_variants.log",
    benchmark:
        "results/{target}/benchmarks/join_variants.jsonl"
    wildcard_constraints:
        target=CHOOSING,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/join_variants.log"),
        library=package_hash("measure/joining.py", "measure/emc.py", "contention/joining.py", "contention/model.py"),
    message:
        "Joining the tables of the variants of {wildcards.target}"
    script:
        "../scripts/join_variants.py"


use rule schedule_recorded as schedule_variant with:
    wildcard_constraints:
        target=VARIANTS,
    params:
        attempt=attempt("results/{target}/logs/schedules/{workload}.log"),
        workload=workload_form,
        schedulers=PLACED_SCHEDULERS,
        max_transitions=config["schedule"]["max_transitions"],
        time_limit_s=config["schedule"]["time_limit_s"],
        explain=config["schedule"]["explain"],
        library=package_hash("schedule"),


rule choose_variant:
    input:
        variant_schedules,
    output:
        kept(
            expand(
                "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
                scheduler=PLACED_SCHEDULERS,
            )
        ),
    log:
        "results/{target}/logs/schedules/{workload}.log",
    benchmark:
        "results/{target}/benchmarks/schedules/{workload}.jsonl"
    wildcard_constraints:
        target=CHOOSING,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/schedules/{workload}.log"),
        library=package_hash("schedule/variants.py", "schedule/schedule.py"),
    message:
        "Choosing the best variant of {wildcards.target} for {wildcards.workload}"
    script:
        "../scripts/choose_variant.py"


rule choose_candidates:
    input:
        variant_candidates,
    output:
        kept("results/{target}/candidates/{workload}.json"),
    log:
        "results/{target}/logs/candidates/{workload}.log",
    benchmark:
        "results/{target}/benchmarks/candidates/{workload}.jsonl"
    wildcard_constraints:
        target=CHOOSING,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/candidates/{workload}.log"),
        candidates=config["schedule"]["candidates"],
        library=package_hash("schedule"),
    message:
        "Taking the best candidates of the variants of {wildcards.target} for {wildcards.workload}"
    script:
        "../scripts/choose_candidates.py"


if CHIP_SCHEDULERS:

    rule schedule_chip:
        input:
            whole="results/{target}/whole_results.csv",
        output:
            kept(
                expand(
                    "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
                    scheduler=CHIP_SCHEDULERS,
                )
            ),
        log:
            "results/{target}/logs/schedules/{workload}-chip.log",
        benchmark:
            "results/{target}/benchmarks/schedules/{workload}-chip.jsonl"
        wildcard_constraints:
            target=f"{CHOOSING}|{VARIANTS}",
        conda:
            "../envs/host.yaml"
        params:
            attempt=attempt("results/{target}/logs/schedules/{workload}-chip.log"),
            workload=workload_form,
            library=package_hash("schedule"),
        message:
            "Scheduling {wildcards.workload} on the whole of {wildcards.target}"
        script:
            "../scripts/schedule_chip.py"
