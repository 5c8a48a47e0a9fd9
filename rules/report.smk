rule summarise:
    input:
        schedules=target_schedules,
        runs=target_runs,
    output:
        csv=kept("results/{target}/summary.csv"),
        json=kept("results/{target}/summary.json"),
        page=report(
            kept("results/{target}/summary.html"),
            caption="../report/summary.rst",
            category="1. Summary",
            labels={"what": "predicted and measured, all workloads"},
        ),
    log:
        "results/{target}/logs/summary.log",
    benchmark:
        "results/{target}/benchmarks/summary.jsonl"
    wildcard_constraints:
        target=RUNNING,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/summary.log"),
        spec=target_spec,
        workloads=target_workload_forms,
        schedulers=target_schedulers,
        library=package_hash("report", "schedule/workload.py", "schedule/wording.py"),
    message:
        "Summarising {wildcards.target}"
    script:
        "../scripts/summarise.py"


use rule summarise as summarise_recorded with:
    input:
        schedules=target_schedules,
    wildcard_constraints:
        target=RECORDED,
    params:
        attempt=attempt("results/{target}/logs/summary.log"),
        spec=target_spec,
        workloads=target_workload_forms,
        schedulers=target_schedulers,
        library=package_hash("report", "schedule/workload.py", "schedule/wording.py"),


rule draw_error:
    input:
        "results/{target}/summary.csv",
    output:
        report(
            kept("results/{target}/figures/error.svg"),
            caption="../report/error.rst",
            category="1. Summary",
            labels={"what": "prediction error"},
        ),
    log:
        "results/{target}/logs/figures/error.log",
    benchmark:
        "results/{target}/benchmarks/figures/error.jsonl"
    wildcard_constraints:
        target=RUNNING,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/figures/error.log"),
        library=package_hash("report"),
    message:
        "Drawing predicted against measured makespans of {wildcards.target}"
    script:
        "../scripts/draw_error.py"


rule draw_workload:
    input:
        schedules=expand(
            "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
            scheduler=SESSION_SCHEDULERS,
        ),
        run="results/{target}/runs/{workload}.json",
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
    output:
        timelines=report(
            kept("results/{target}/figures/timelines/{workload}.svg"),
            caption="../report/timeline.rst",
            category="2. Timelines",
            labels={"workload": "{workload}"},
        ),
        traces=[
            report(
                kept(f"results/{{target}}/traces/{{workload}}/{scheduler}.json"),
                caption="../report/trace.rst",
                category="7. Traces",
                labels={"workload": "{workload}", "scheduler": scheduler},
            )
            for scheduler in SESSION_SCHEDULERS
        ],
    log:
        "results/{target}/logs/figures/timelines/{workload}.log",
    benchmark:
        "results/{target}/benchmarks/figures/timelines/{workload}.jsonl"
    wildcard_constraints:
        target=SESSIONS,
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/figures/timelines/{workload}.log"),
        workload=workload_form,
        library=package_hash("report", "schedule"),
    message:
        "Drawing the timelines of {wildcards.workload} on {wildcards.target}"
    script:
        "../scripts/draw_workload.py"


use rule draw_workload as draw_workload_board with:
    input:
        schedules=expand(
            "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
            scheduler=PLACED_SCHEDULERS,
        ),
        run="results/{target}/runs/{workload}.json",
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
    output:
        timelines=report(
            kept("results/{target}/figures/timelines/{workload}.svg"),
            caption="../report/timeline.rst",
            category="2. Timelines",
            labels={"workload": "{workload}"},
        ),
        traces=[
            report(
                kept(f"results/{{target}}/traces/{{workload}}/{scheduler}.json"),
                caption="../report/trace.rst",
                category="7. Traces",
                labels={"workload": "{workload}", "scheduler": scheduler},
            )
            for scheduler in PLACED_SCHEDULERS
        ],
    wildcard_constraints:
        target=JETSON,


use rule draw_workload_board as draw_workload_recorded with:
    input:
        schedules=expand(
            "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
            scheduler=PLACED_SCHEDULERS,
        ),
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
    wildcard_constraints:
        target=RECORDED,
        workload=NOT_ARTIFACT,


use rule draw_workload as draw_workload_artifact with:
    input:
        schedules=expand(
            "results/{{target}}/schedules/{{workload}}/{scheduler}.json",
            scheduler=[*PLACED_SCHEDULERS, "artifact"],
        ),
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
    output:
        timelines=report(
            kept("results/{target}/figures/timelines/{workload}.svg"),
            caption="../report/timeline.rst",
            category="2. Timelines",
            labels={"workload": "{workload}"},
        ),
        traces=[
            report(
                kept(f"results/{{target}}/traces/{{workload}}/{scheduler}.json"),
                caption="../report/trace.rst",
                category="7. Traces",
                labels={"workload": "{workload}", "scheduler": scheduler},
            )
            for scheduler in [*PLACED_SCHEDULERS, "artifact"]
        ],
    wildcard_constraints:
        target=RECORDED,
        workload=ARTIFACT,


rule draw_network:
    input:
        layers="results/{target}/layer_results.csv",
        transitions="results/{target}/transition_results.csv",
    output:
        layers=report(
            kept("results/{target}/figures/layers/{network}.svg"),
            caption="../report/layers.rst",
            category="3. Layers",
            labels={"network": "{network}"},
        ),
        transitions=report(
            kept("results/{target}/figures/transitions/{network}.svg"),
            caption="../report/transitions.rst",
            category="4. Transitions",
            labels={"network": "{network}"},
        ),
    log:
        "results/{target}/logs/figures/{network}.log",
    benchmark:
        "results/{target}/benchmarks/figures/{network}.jsonl"
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/figures/{network}.log"),
        library=package_hash("report"),
    message:
        "Drawing the layers and transitions of {wildcards.network} on {wildcards.target}"
    script:
        "../scripts/draw_network.py"


rule draw_memory:
    input:
        emc="results/{target}/emc_results.csv",
        contention="results/{target}/contention.json",
    output:
        heatmap=report(
            kept("results/{target}/figures/heatmap.svg"),
            caption="../report/emc.rst",
            category="5. Memory demand",
            labels={"what": "25 convolutions"},
        ),
        demand=report(
            kept("results/{target}/figures/demand.svg"),
            caption="../report/emc.rst",
            category="5. Memory demand",
            labels={"what": "groups of networks"},
        ),
        contention=report(
            kept("results/{target}/figures/contention.svg"),
            caption="../report/contention.rst",
            category="6. Contention",
            labels={"what": "slowdown"},
        ),
    log:
        "results/{target}/logs/figures/memory.log",
    benchmark:
        "results/{target}/benchmarks/figures/memory.jsonl"
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/figures/memory.log"),
        library=package_hash("report"),
    message:
        "Drawing memory demand and contention of {wildcards.target}"
    script:
        "../scripts/draw_memory.py"


rule make_report:
    input:
        shown=target_report_items,
        captions=expand("report/{name}.rst", name=CAPTIONS),
    output:
        kept("results/{target}/report.html"),
    log:
        "results/{target}/logs/report.log",
    benchmark:
        "results/{target}/benchmarks/report.jsonl"
    conda:
        "../envs/host.yaml"
    params:
        attempt=attempt("results/{target}/logs/report.log"),
    message:
        "Making the report of {wildcards.target}"
    script:
        "../scripts/make_report.py"
