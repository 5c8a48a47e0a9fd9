rule schedule:
    input:
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
        whole="results/{target}/whole_results.csv",
    output:
        ensure(
            expand(
                "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
                scheduler=HOST_SCHEDULERS,
            ),
            non_empty=True,
        ),
    log:
        "results/{target}/logs/schedules/{workload}.log",
    benchmark:
        "results/{target}/benchmarks/schedules/{workload}.jsonl"
    wildcard_constraints:
        target=HOST,
    conda:
        "../envs/host.yaml"
    params:
        workload=workload_form,
        schedulers=HOST_SCHEDULERS,
        max_transitions=config["schedule"]["max_transitions"],
        time_limit_s=config["schedule"]["time_limit_s"],
        library=package_hash("schedule"),
    message:
        "Scheduling {wildcards.workload} on {wildcards.target}"
    script:
        "../scripts/schedule.py"


use rule schedule as schedule_recorded with:
    input:
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
    output:
        ensure(
            expand(
                "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
                scheduler=RECORDED_SCHEDULERS,
            ),
            non_empty=True,
        ),
    wildcard_constraints:
        target=RECORDED,
    params:
        workload=workload_form,
        schedulers=RECORDED_SCHEDULERS,
        max_transitions=config["schedule"]["max_transitions"],
        time_limit_s=config["schedule"]["time_limit_s"],
        library=package_hash("schedule", "targets/recorded"),
