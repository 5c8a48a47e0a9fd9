"""What Snakemake plans, refuses and guarantees, asked of the real workflow."""

import itertools
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
import yaml

from multidnn.config import settings
from multidnn.config.validation import validate
from tests.conftest import export_tiny
from tests.workflow.conftest import ROOT, Project, default_config

MEASURING = {
    "profile_layers",
    "profile_transitions",
    "profile_whole",
    "profile_emc",
    "characterise",
    "run",
    "run_dynamic",
    "measure_isolation",
}
# what only `tuned` in the list of schedulers asks for
TUNING = {"tune"}
# nothing else may run on a board either while an engine is built: the builder times kernels
ON_BOARD = {
    "profile_engines",
    "group_engines",
    "convolution_engines",
    "segment_engines",
    "profile_emc_board",
    "characterise_board",
    "run_board",
}


def test_default_target_on_the_host(project: Project) -> None:
    jobs = project.jobs("--cores", "3", "--", "all")
    config = default_config()
    assert jobs["export_network"] == jobs["profile_layers"] == len(config["networks"])
    assert jobs["schedule"] == jobs["run"] == len(config["workloads"])
    assert set(jobs) >= MEASURING
    assert not ({"recorded_tables", "board_facts"} | ON_BOARD) & set(jobs)


def test_a_gpu_lists_everything_on_any_machine(project: Project) -> None:
    jobs = project.jobs("--config", "target=cuda", "--", "all")
    config = default_config()
    assert set(jobs) >= MEASURING
    assert jobs["export_network"] == jobs["profile_layers"] == len(config["networks"])
    assert jobs["schedule"] == jobs["run"] == len(config["workloads"])
    assert not ({"recorded_tables", "board_facts"} | ON_BOARD) & set(jobs)


def test_board_lists_everything_on_any_machine(project: Project) -> None:
    jobs = project.jobs("--config", "target=orin", "--", "all")
    config = default_config()
    networks = len(config["networks"])
    assert set(jobs) >= ON_BOARD
    # whole, and from both devices: moving at every cut, marked at every cut
    assert jobs["profile_engines"] == 5 * networks
    assert jobs["board_models"] == jobs["group_engines"] == jobs["board_layers"] == networks
    assert jobs["schedule_board"] == jobs["segment_engines"] == jobs["run_board"] == len(config["workloads"])
    assert not MEASURING & set(jobs)


def test_sessions_depend_on_the_code_of_their_own_kind() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("rules/*.smk"))
    assert not re.search(r'package_hash\([^)]*"targets/(host|cuda)"', text)
    assert (
        text.count("library=session_library(") == text.count("        session_environment\n") == len(MEASURING | TUNING)
    )


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("host", {"candidates": 9, "tune": 9, "run": 9}),
        ("cuda", {"candidates": 9, "tune": 9, "run": 9}),
        # each of three splits has candidates of its own
        ("cuda-auto", {"candidates": 27, "choose_candidates": 9, "tune": 9, "run": 9}),
        ("cuda-auto.half", {"candidates": 9, "tune": 9, "run": 9}),
        ("recorded", {}),
        ("orin", {"run_board": 9}),
    ],
)
def test_candidates_are_measured_where_tuned_is_asked_for(
    project: Project, target: str, expected: dict[str, int]
) -> None:
    config = default_config()
    config["schedule"]["schedulers"].append("tuned")
    project.configure(config)
    jobs = project.jobs("--config", f"target={target}", "--", "all")
    watched = ("candidates", "choose_candidates", "tune", "run", "run_board")
    assert {rule: count for rule, count in jobs.items() if rule in watched} == expected


def test_a_gpu_that_is_missing_is_one_line(project: Project) -> None:
    networks = project.directory / "results" / "networks"
    networks.mkdir(parents=True)
    export_tiny(networks)
    (project.directory / "alpha.prototxt").symlink_to("results/networks/alpha.prototxt")
    # found before an installed one
    (project.directory / "torch.py").write_text("raise ImportError('no torch here')\n", encoding="utf-8")
    project.configure(
        {
            "target": "gpu",
            "networks": {"alpha": "alpha.prototxt"},
            "targets": {"gpu": {"kind": "cuda", "partitions": {"small": {"sms": 32}, "large": {"sms": "rest"}}}},
            "workloads": {"one": {"instances": {"alpha": {"network": "alpha"}}}},
        }
    )
    answer = project.snakemake("--cores", "1", "--allowed-rules", "profile_layers", "--", "results/gpu/layer/alpha.csv")
    said = answer.stdout + answer.stderr
    assert answer.returncode == 1
    assert "Traceback" not in said
    lines = {line for line in said.splitlines() if line.startswith("error: ")}
    assert lines == {
        "error: the cuda target needs PyTorch and cuda-bindings (no torch here); install them with: "
        "uv sync --extra cuda"
    }


def test_board_without_a_dla_has_nothing_that_moves(project: Project) -> None:
    config = default_config()
    config["targets"]["orin"]["accelerators"] = ["gpu"]
    project.configure(config)
    jobs = project.jobs("--config", "target=orin", "--", "all")
    assert jobs["profile_engines"] == len(config["networks"])


def test_what_a_job_does_not_use_does_not_make_it_again() -> None:
    checked = validate(default_config(), ROOT)
    spec = checked["targets"]["orin"]
    for job, keys in settings.BOARD_KEYS.items():
        assert set(keys) <= set(spec), job
    # how runs are repeated, or what reads the sensors, changes no engine and no profile
    assert not {"mode", "energy_s", "emc", "emc_settle_s"} & {
        *settings.BOARD_KEYS["profile"],
        *settings.BOARD_KEYS["engines"],
    }


def test_measuring_rules_own_the_chip_and_no_other_does() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("rules/*.smk")))
    rules = dict(re.findall(r"^rule (\w+):\n((?:(?:    .*)?\n)+)", text, re.MULTILINE))
    measuring = MEASURING | ON_BOARD | TUNING
    assert set(rules) >= measuring
    for name, body in rules.items():
        assert ("soc=1" in body) == ("threads: workflow.cores" in body) == (name in measuring), name
        assert all(f"\n    {word}:" in body for word in ("log", "conda")), name
        # Snakemake's benchmark thread walks the memory of every process of the job and slows what it looks at
        # and a rule that makes nothing (preflight) would have nothing but its benchmark to make
        assert ("\n    benchmark:" in body) == (name not in measuring and "    output:" in body), name


def test_results_that_are_kept_are_made_again_after_a_failure() -> None:
    for path in ROOT.glob("rules/*.smk"):
        for rule in re.split(r"^(?=(?:use )?rule )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            derived = rule.startswith("use")
            if ("kept(" in rule and not derived) or (derived and "\n    params:" in rule):
                assert "attempt=attempt(" in rule, rule.splitlines()[0]


def test_report_follows_its_captions() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in [*ROOT.glob("rules/*.smk"), ROOT / "Snakefile"])
    used = set(re.findall(r'report/(\w+)\.rst"', text))
    (listed,) = re.findall(r"CAPTIONS = \[(.*?)\]", (ROOT / "rules" / "common.smk").read_text(), re.DOTALL)
    assert set(re.findall(r'"(\w+)"', listed)) == used == {path.stem for path in ROOT.glob("report/*.rst")}


def test_recorded_target_measures_nothing(project: Project) -> None:
    jobs = project.jobs("--config", "target=recorded", "--", "all")
    assert jobs["recorded_tables"] == 1
    assert jobs["schedule_recorded"] == 3
    assert jobs["schedule_artifact"] == jobs["draw_workload_artifact"] == 1
    assert jobs["draw_workload_recorded"] == 2
    assert not MEASURING & set(jobs)
    assert not {"export_network", "export_convolutions"} & set(jobs)


def test_one_line_makes_an_onnx_file_a_network(project: Project) -> None:
    config = default_config()
    config["networks"]["mine"] = "mine.onnx"
    (project.directory / "mine.onnx").write_bytes(b"")
    project.configure(config)
    jobs = project.jobs("--", "layer_results")
    assert jobs["export_network"] == jobs["profile_layers"] == len(config["networks"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("-n", "--config", "target=recorded", "--", "runs"),
            r"runs: target 'recorded' is of kind recorded: .*choose one of kind host or cuda or jetson .*: host, cuda, cuda-auto, .*, orin$",
        ),
        (
            ("-n", "--config", "target=recorded", "--", "dynamic"),
            r"dynamic: target 'recorded' is of kind recorded: .*: host, cuda, cuda-auto.quarter, .*half, .*thirds$",
        ),
        (
            ("-n", "--config", "target=orin", "--", "whole_results"),
            r"whole_results: target 'orin' is of kind jetson: its GPU and DLA cannot be joined.*: host, cuda, cuda-auto, .*thirds$",
        ),
        (("-n", "--", "preflight"), r"preflight: target 'host' is of kind host: .*choose one of kind jetson .*: orin$"),
        (("-n", "--config", "target=hosts"), r"--config: target: 'hosts' is not in `targets`.*did you mean 'host'"),
        (("-n", "--configfile", "over.yaml"), r"over.yaml:2: run.budget: unknown key, .*did you mean 'budget_s'"),
    ],
)
def test_refusal(project: Project, refused: Callable[..., str], arguments: tuple[str, ...], expected: str) -> None:
    (project.directory / "over.yaml").write_text("run:\n  budget: 3\n", encoding="utf-8")
    assert re.match(expected, refused(*arguments))
    assert not (project.directory / "results").exists()


def test_cycle_is_refused_with_its_line(project: Project, refused: Callable[..., str]) -> None:
    head, name, tail = (ROOT / "config.yaml").read_text(encoding="utf-8").partition("  googlenet-then-alexnet:\n")
    project.configure(head + name + tail.replace("{network: googlenet}", "{network: googlenet, after: [alexnet]}", 1))
    assert re.match(
        r"config.yaml:\d+: workloads.googlenet-then-alexnet: .*cycle.*(googlenet -> alexnet|alexnet -> googlenet)",
        refused("-n"),
    )


PROBES = """
include: "Snakefile"

rule probes:
    input:
        expand("{kind}/{i}", kind=["soc", "free"], i=range(4)),

rule soc_probe:
    output: "soc/{i}"
    resources: soc=1
    shell: "date +%s.%N > {output}; sleep 0.4; date +%s.%N >> {output}"

rule free_probe:
    output: "free/{i}"
    shell: "date +%s.%N > {output}; sleep 1.5; date +%s.%N >> {output}"
"""


def test_jobs_that_need_the_chip_never_overlap(project: Project) -> None:
    (project.directory / "Probes").write_text(PROBES, encoding="utf-8")
    answer = project.snakemake("-s", "Probes", "--cores", "8", "--resources", "mem_mb=9000", "gpu=4", "--", "probes")
    assert answer.returncode == 0, answer.stderr

    def intervals(kind: str) -> list[tuple[float, float]]:
        lines = [(project.directory / kind / str(i)).read_text().split() for i in range(4)]
        return sorted((float(start), float(end)) for start, end in lines)

    def overlap(kind: str) -> bool:
        spans = intervals(kind)
        return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))

    assert not overlap("soc")
    assert overlap("free"), "without the resource jobs run side by side, or this test proves nothing"


def test_lint_finds_nothing(project: Project) -> None:
    answer = project.snakemake("--lint")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_slurm_profile_names_the_measuring_rules() -> None:
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "profile.yaml").read_text(encoding="utf-8"))
    assert set(profile["set-resources"]) == MEASURING | TUNING
    assert all("--exclusive" in needs["slurm_extra"] for needs in profile["set-resources"].values())


def test_every_rule_has_one_short_script() -> None:
    used = {
        name for path in ROOT.glob("rules/*.smk") for name in re.findall(r"\.\./scripts/(\w+\.py)", path.read_text())
    }
    assert used == {path.name for path in ROOT.glob("scripts/*.py")}
    assert all(len(path.read_text().splitlines()) <= 40 for path in ROOT.glob("scripts/*.py"))


def test_parsing_imports_nothing_heavy(project: Project) -> None:
    watch = (
        "import sys; import runpy; sys.argv = ['snakemake', '-n', '-q']\n"
        "try:\n    runpy.run_module('snakemake', run_name='__main__')\n"
        "finally:\n    heavy = {'onnx', 'onnxruntime', 'openvino', 'z3', 'matplotlib', 'scipy', 'pandas'} & set(sys.modules)\n"
        "    print('HEAVY', sorted(heavy))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", watch], cwd=project.directory, capture_output=True, text=True, check=False, timeout=100
    )
    assert "HEAVY []" in answer.stdout, answer.stdout + answer.stderr
