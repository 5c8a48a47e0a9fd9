rule schedule:
    input:
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
        whole="results/{target}/whole_results.csv",
    output:
        kept(
            expand(
                "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
                scheduler=SOLVED_SCHEDULERS,
            )
        ),
    log:
        "results/{target}/logs/schedules/{workload}.log",
    benchmark:
        "results/{target}/benchmarks/schedules/{workload}.jsonl"
    wildcard_constraints:
        target=ALONE,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/schedules/{workload}.log"),
        workload=workload_form,
        schedulers=SOLVED_SCHEDULERS,
        max_transitions=config["schedule"]["max_transitions"],
        time_limit_s=config["schedule"]["time_limit_s"],
        explain=config["schedule"]["explain"],
        library=package_hash("schedule"),
    message:
        "Scheduling {wildcards.workload} on {wildcards.target}"
    script:
        "../scripts/schedule.py"


rule candidates:
    input:
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
        haxconn="results/{target}/schedules/{workload}/haxconn.json",
    output:
        kept("results/{target}/candidates/{workload}.json"),
    log:
        "results/{target}/logs/candidates/{workload}.log",
    benchmark:
        "results/{target}/benchmarks/candidates/{workload}.jsonl"
    wildcard_constraints:
        target=PROFILED,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/candidates/{workload}.log"),
        workload=workload_form,
        candidates=config["schedule"]["candidates"],
        time_limit_s=config["schedule"]["time_limit_s"],
        library=package_hash("schedule"),
    message:
        "Solving for the schedules of {wildcards.workload} to choose among on {wildcards.target}"
    script:
        "../scripts/candidates.py"


use rule schedule as schedule_recorded with:
    input:
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
    output:
        kept(
            expand(
                "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
                scheduler=PLACED_SCHEDULERS,
            )
        ),
    wildcard_constraints:
        target=RECORDED,
    params:
        attempt=attempt("results/{target}/logs/schedules/{workload}.log"),
        workload=workload_form,
        schedulers=PLACED_SCHEDULERS,
        max_transitions=config["schedule"]["max_transitions"],
        time_limit_s=config["schedule"]["time_limit_s"],
        explain=config["schedule"]["explain"],
        library=package_hash("schedule", "targets/recorded"),


use rule schedule_recorded as schedule_artifact with:
    output:
        kept("results/{target}/schedules/{workload}/artifact.json"),
    log:
        "results/{target}/logs/schedules/{workload}-artifact.log",
    benchmark:
        "results/{target}/benchmarks/schedules/{workload}-artifact.jsonl"
    wildcard_constraints:
        target=RECORDED,
        workload=ARTIFACT,
    params:
        attempt=attempt("results/{target}/logs/schedules/{workload}-artifact.log"),
        workload=workload_form,
        schedulers=["artifact"],
        max_transitions=config["schedule"]["max_transitions"],
        time_limit_s=config["schedule"]["time_limit_s"],
        explain=config["schedule"]["explain"],
        library=package_hash("schedule", "targets/recorded"),


use rule schedule_recorded as schedule_board with:
    wildcard_constraints:
        target=JETSON,
    params:
        attempt=attempt("results/{target}/logs/schedules/{workload}.log"),
        workload=workload_form,
        schedulers=PLACED_SCHEDULERS,
        max_transitions=config["schedule"]["max_transitions"],
        time_limit_s=config["schedule"]["time_limit_s"],
        explain=config["schedule"]["explain"],
        library=package_hash("schedule"),
