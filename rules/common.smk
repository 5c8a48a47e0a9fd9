"""The validated configuration, and the paths and parameters that rules take from it."""

import re
from pathlib import Path

from multidnn import variants
from multidnn.config import settings
from multidnn.config.validation import validate
from multidnn.errors import InputError, exit_on_input_error
from multidnn.hashing import package_hash
from multidnn.logs import errors_since, unfinished

NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
CAPTIONS = [
    "workflow",
    "summary",
    "error",
    "timeline",
    "layers",
    "transitions",
    "emc",
    "contention",
    "trace",
    "dynamic",
    "isolation",
]
CONVOLUTIONS = [f"conv{size}_kernel{kernel}" for size in range(1, 6) for kernel in range(1, 6)]


def _configuration_files():
    """Files that the configuration was merged from, the winning one first."""
    files = list(workflow.overwrite_configfiles or ())[::-1] + ["config.yaml"]
    return [Path(os.path.relpath(file)) for file in files if Path(file).is_file()]


# one line and exit code 1; an exception through Snakemake would bring lines of this file along
with exit_on_input_error():
    config.update(validate(config, Path(workflow.basedir), _configuration_files()))


def _any_of(names):
    """A pattern that matches exactly `names`, or nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


JETSON = _any_of(settings.targets_of_kind(config, "jetson"))
RUNNING = _any_of([name for kind in settings.RUNNING_KINDS for name in settings.targets_of_kind(config, kind)])
_SESSIONS = [name for kind in settings.SESSION_KINDS for name in settings.targets_of_kind(config, kind)]
_CHOOSING, _VARIANTS = variants.choosing_targets(config), variants.variant_targets(config)
SESSIONS = _any_of(_SESSIONS)
# sessions that choose among variants, the variants, those with accelerators of their own, and those that are neither
CHOOSING = _any_of(_CHOOSING)
VARIANTS = _any_of(_VARIANTS)
PROFILED = _any_of([name for name in _SESSIONS if name not in _CHOOSING])
ALONE = _any_of([name for name in _SESSIONS if name not in (*_CHOOSING, *_VARIANTS)])
RECORDED = _any_of(settings.targets_of_kind(config, "recorded"))
SAMPLING = {**config["measure"], "seed": config["seed"]}
RUN_OPTIONS = {**config["run"], "seed": config["seed"]}
RUNNING_DYNAMIC = {
    **{key: config["dynamic"][key] for key in ("min_iterations", "budget_s", "cost_iterations")},
    "seed": config["seed"],
}
SESSION_SCHEDULERS = settings.schedulers_of_kind(config, "host")
# what is solved for; the other one is chosen by measuring
SOLVED_SCHEDULERS = [name for name in SESSION_SCHEDULERS if name != settings.TUNED]
CHIP_SCHEDULERS = [name for name in SESSION_SCHEDULERS if name in settings.WHOLE_CHIP]
# where a chip cannot be used whole
PLACED_SCHEDULERS = settings.schedulers_of_kind(config, "recorded")
NETWORKS = _any_of(config["networks"])
# engines of a network that are profiled layer by layer: as a whole, moving at each cut, and marked at each cut
FAMILIES = ["whole", "gpu_transitions", "dla_transitions", "gpu_marks", "dla_marks"]
# what every job of a board is made of
BOARD_LIBRARY = ("targets/jetson", "networks/exported.py")
ARTIFACT = _any_of(settings.artifact_workloads(config))
DYNAMIC = _any_of(config["dynamic"]["workloads"])
ISOLATION = _any_of(
    dict.fromkeys(case for name in config["targets"] for case in settings.isolation_cases(config, name))
)
NOT_ARTIFACT = _any_of([load for load in config["workloads"] if load not in settings.artifact_workloads(config)])


def _kind(target):
    return config["targets"][target]["kind"]


def _runs(target):
    return _kind(target) in settings.RUNNING_KINDS


def _used_networks(workload):
    return list(dict.fromkeys(spec["network"] for spec in config["workloads"][workload]["instances"].values()))


def _drawn_networks(target):
    """Networks with figures of their own: those measured, or those that recorded tables are used for."""
    if _runs(target):
        return settings.target_networks(config, target)
    return list(
        dict.fromkeys(name for load in settings.target_workloads(config, target) for name in _used_networks(load))
    )


# outputs of rules


def kept(path):
    """Output that is never empty, and whose earlier version stays if the job fails; the rule needs `attempt` too."""
    return update(ensure(path, non_empty=True))


# parameters of rules, from their wildcards


def attempt(log):
    """What makes a job run again after it failed and its earlier results were put back."""
    return lambda wildcards: unfinished(log.format(**wildcards))


def target_spec(wildcards):
    return settings.target_spec(config, wildcards.target)


def session_library(*parts):
    """Parameter of the rules of targets with sessions: a hash of `parts`, and of what makes the target's kind of session."""
    return lambda wildcards: package_hash(
        *parts, "targets/base.py", f"targets/{_kind(wildcards.target)}", "networks/exported.py"
    )


def session_environment(wildcards):
    return f"../envs/{_kind(wildcards.target)}.yaml"


def board_spec(job):
    """Parameter of the rules of a board: what of its configuration changes the numbers of `job`."""
    return lambda wildcards: settings.board_spec(config, wildcards.target, job)


def network_groups(wildcards):
    return settings.group_options(config, wildcards.network)


def network_source(wildcards):
    return config["networks"].get(wildcards.network, f"networks.{wildcards.network} of config.yaml")


def workload_form(wildcards):
    return settings.workload_dict(config, wildcards.workload)


def dynamic_form(wildcards):
    return settings.dynamic_dict(config, wildcards.workload)


def joining_instances(wildcards):
    return list(config["dynamic"]["workloads"][wildcards.workload]["join"])


def target_workload_forms(wildcards):
    return [settings.workload_dict(config, name) for name in settings.target_workloads(config, wildcards.target)]


# inputs of rules, from their wildcards


def target_network_files(wildcards):
    return expand(
        "results/networks/{network}/network.json",
        network=settings.target_networks(config, wildcards.target),
    )


def target_network_models(wildcards):
    return expand(
        "results/networks/{network}/models",
        network=settings.target_networks(config, wildcards.target),
    )


def target_layer_tables(wildcards):
    names = settings.target_networks(config, wildcards.target)
    return expand(
        "results/{target}/layer/{network}.{form}",
        target=wildcards.target,
        network=names,
        form=["csv"],
    )


def target_layer_sidecars(wildcards):
    names = settings.target_networks(config, wildcards.target)
    return expand(
        "results/{target}/layer/{network}.{form}",
        target=wildcards.target,
        network=names,
        form=["json"],
    )


def variant_tables(wildcards):
    names = variants.variants_of(config, wildcards.target)
    stems = ["layer_results", "transition_results", "emc_results"]
    return [file for name in names for stem in stems for file in table_of(name, stem)]


def variant_models(wildcards):
    return expand("results/{variant}/contention.json", variant=variants.variants_of(config, wildcards.target))


def variant_schedules(wildcards):
    return expand(
        "results/{variant}/schedules/{workload}/{scheduler}.json",
        variant=variants.variants_of(config, wildcards.target),
        workload=[wildcards.workload],
        scheduler=PLACED_SCHEDULERS,
    )


def variant_candidates(wildcards):
    return expand(
        "results/{variant}/candidates/{workload}.json",
        variant=variants.variants_of(config, wildcards.target),
        workload=[wildcards.workload],
    )


def workload_network_files(wildcards):
    return expand(
        "results/networks/{network}/network.json",
        network=_used_networks(wildcards.workload),
    )


def workload_network_models(wildcards):
    return expand("results/networks/{network}/models", network=_used_networks(wildcards.workload))


def _dynamic_networks(workload):
    return list(dict.fromkeys(entry["network"] for entry in settings.dynamic_dict(config, workload)["instances"]))


def calibration_data(wildcards):
    """The user's data to calibrate an int8 network of a board on, if there are any."""
    return config["targets"][wildcards.target]["calibration"].get(wildcards.network, [])


def board_families(target):
    """Families of engines that `target` can have: without a DLA, or as the only accelerator, nothing moves."""
    accelerators = config["targets"][target]["accelerators"]
    return FAMILIES if len(accelerators) > 1 else ["whole"]


def board_profiles(wildcards):
    return expand(
        "results/{target}/profiles/{network}/{family}.json",
        target=wildcards.target,
        network=[wildcards.network],
        family=board_families(wildcards.target),
    )


def target_board_profiles(wildcards):
    return expand(
        "results/{target}/profiles/{network}/{family}.json",
        target=wildcards.target,
        network=settings.target_networks(config, wildcards.target),
        family=board_families(wildcards.target),
    )


def target_group_engines(wildcards):
    return expand(
        "results/{target}/engines/{network}.json",
        target=wildcards.target,
        network=[*settings.target_networks(config, wildcards.target), "convolution"],
    )


def target_whole_profiles(wildcards):
    return expand(
        "results/{target}/profiles/{network}/whole.json",
        target=wildcards.target,
        network=settings.target_networks(config, wildcards.target),
    )


def board_workload_models(wildcards):
    return expand(
        "results/{target}/models/{network}", target=wildcards.target, network=_used_networks(wildcards.workload)
    )


def dynamic_network_files(wildcards):
    return expand("results/networks/{network}/network.json", network=_dynamic_networks(wildcards.workload))


def dynamic_network_models(wildcards):
    return expand("results/networks/{network}/models", network=_dynamic_networks(wildcards.workload))


def isolation_form(wildcards):
    return settings.isolation_cases(config, wildcards.target)[wildcards.case]


def isolation_network_files(wildcards):
    return expand(
        "results/networks/{network}/network.json", network=settings.isolation_networks(isolation_form(wildcards))
    )


def isolation_network_models(wildcards):
    return expand("results/networks/{network}/models", network=settings.isolation_networks(isolation_form(wildcards)))


def target_schedules(wildcards):
    return schedules_of(wildcards.target)


def target_schedulers(wildcards):
    return schedulers_of(wildcards.target)


def target_runs(wildcards):
    return runs_of(wildcards.target)


def target_report_items(wildcards):
    return report_items_of(wildcards.target)


# what a target has to show


def exported_networks(target):
    return expand(
        [
            "results/networks/{network}/network.json",
            "results/networks/{network}/models",
        ],
        network=settings.target_networks(config, target),
    )


def table_of(target, stem):
    forms = ["csv", "json"] + (["yaml"] if stem == "emc_results" else [])
    return expand("results/{target}/{stem}.{form}", target=target, stem=stem, form=forms)


def schedulers_of(target):
    """Schedulers by workload."""
    return {
        load: settings.workload_schedulers(config, target, load) for load in settings.target_workloads(config, target)
    }


def per_schedule(pattern, target):
    """`pattern` with every workload and scheduler of `target` in it."""
    return [
        pattern.format(target=target, workload=load, scheduler=scheduler)
        for load, schedulers in schedulers_of(target).items()
        for scheduler in schedulers
    ]


def schedules_of(target):
    return per_schedule("results/{target}/schedules/{workload}/{scheduler}.json", target)


def runs_of(target):
    return expand(
        "results/{target}/runs/{workload}.json",
        target=target,
        workload=settings.target_workloads(config, target),
    )


def dynamic_of(target):
    """Files and figures of the workloads that run on `target` while they are being solved."""
    return expand(
        ["results/{target}/dynamic/{workload}.json", "results/{target}/figures/dynamic/{workload}.svg"],
        target=target,
        workload=settings.dynamic_workloads(config, target),
    )


def asked_dynamic(target):
    """`dynamic_of`; on a target that has a machine but no such workload, asking for it is a mistake as well."""
    if _kind(target) in settings.DYNAMIC_KINDS and not dynamic_of(target):

        def refuse(wildcards):
            with exit_on_input_error():
                if listed := variants.variants_of(config, target):
                    raise InputError(
                        f"dynamic: target {target!r} chooses among variants, and what runs cannot change from one to "
                        f"another; ask for it on one of them (--config target=NAME): {', '.join(listed)}"
                    )
                raise InputError(f"dynamic: target {target!r} has none of the workloads under dynamic.workloads")

        return refuse
    return measured(target, "dynamic")


def isolation_of(target):
    """Files, figures and tables of the networks that are kept at their latency on `target`."""
    return expand(
        [
            "results/{target}/isolation/{case}.json",
            "results/{target}/isolation/{case}.html",
            "results/{target}/figures/isolation/{case}.svg",
        ],
        target=target,
        case=settings.isolation_cases(config, target),
    )


def asked_isolation(target):
    """`isolation_of`; on a target that could but has nothing to measure, asking for it is a mistake as well."""
    if _kind(target) in settings.SESSION_KINDS and not isolation_of(target):

        def refuse(wildcards):
            with exit_on_input_error():
                raise InputError(f"isolation: target {target!r} has no entries under targets.{target}.isolation")

        return refuse
    return measured(target, "isolation")


MEASURED = {
    "preflight": (("jetson",), lambda target: []),
    "runs": (settings.RUNNING_KINDS, runs_of),
    "dynamic": (settings.DYNAMIC_KINDS, dynamic_of),
    "isolation": (settings.SESSION_KINDS, isolation_of),
    "whole_results": (settings.WHOLE_CHIP_KINDS, lambda target: table_of(target, "whole_results")),
}
LACKS = {
    "host": "it needs nothing but this machine",
    "cuda": "it needs a GPU of this machine, and its first measurement says what is missing",
    "recorded": "it has tables, schedules and predictions, and nothing to measure or run",
    "jetson": "its GPU and DLA cannot be joined, and its engines are built for the schedules that are run",
}


def measured(target, what):
    """Files that only some kinds of target have; asking another for them is a mistake."""
    kinds, files = MEASURED[what]
    if _kind(target) in kinds:
        return files(target)

    def refuse(wildcards):
        able = [name for kind in kinds for name in settings.targets_of_kind(config, kind)]
        if what == "dynamic":
            able = [name for name in able if name not in _CHOOSING]
        with exit_on_input_error():
            raise InputError(
                f"{what}: target {target!r} is of kind {_kind(target)}: {LACKS[_kind(target)]}; choose one of kind "
                f"{' or '.join(kinds)} (--config target=NAME): {', '.join(able) or 'none'}"
            )

    return refuse


def asked_preflight(target):
    return measured(target, "preflight")


def report_items_of(target):
    figures = f"results/{target}/figures"
    names = ["heatmap", "demand", "contention"] + (["error"] if _runs(target) else [])
    return [
        f"results/{target}/summary.csv",
        f"results/{target}/summary.html",
        *expand(f"{figures}/{{name}}.svg", name=names),
        *expand(
            f"{figures}/{{what}}/{{network}}.svg",
            what=["layers", "transitions"],
            network=_drawn_networks(target),
        ),
        *expand(
            f"{figures}/timelines/{{load}}.svg",
            load=settings.target_workloads(config, target),
        ),
        *expand(
            f"{figures}/dynamic/{{load}}.svg",
            load=settings.dynamic_workloads(config, target),
        ),
        *(file for file in isolation_of(target) if not file.endswith(".json")),
        *per_schedule("results/{target}/traces/{workload}/{scheduler}.json", target),
    ]


def results_of(target):
    tables = ["layer_results", "transition_results", "emc_results"]
    tables += ["whole_results"] if _kind(target) in settings.WHOLE_CHIP_KINDS else []
    return [
        *(file for stem in tables for file in table_of(target, stem)),
        f"results/{target}/contention.json",
        *schedules_of(target),
        *(runs_of(target) if _runs(target) else ()),
        *report_items_of(target),
        f"results/{target}/report.html",
    ]
