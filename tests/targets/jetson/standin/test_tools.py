"""The stand-in's programs: their options and output by version, and what they do not do."""

import json
import subprocess

import pytest
import standin
from conftest import one_layer

from multidnn.runtime.jetson.rails import module_of
from multidnn.targets.jetson.parsers import layer_info, profile, tegrastats, times, trtexec_log
from multidnn.targets.jetson.stats import jtop_lines

BUILD = "open(sys.argv[2], 'wb').write(build(sys.argv[1], dla=sys.argv[3] == 'dla')); answer(0)"
QUICK = ("--iterations=5", "--duration=0", "--warmUp=0")


@pytest.mark.parametrize(
    ("version", "unknown"),
    [
        ("8.4.1", "--layerDeviceTypes=a:DLA"),
        ("8.6.2", "--buildOnly"),
        ("10.3.0", "--workspace=16"),
        ("11.4.1", "--fp16"),
    ],
)
def test_trtexec_refuses_options_of_other_versions(board, version, unknown):
    done = board(tensorrt=version).tool("trtexec", "--onnx=m.onnx", unknown, check=False)
    assert done.returncode == 1
    assert f"Unknown option: {unknown[2:].partition('=')[0]}" in done.stderr
    assert "--loadEngine" in done.stdout
    assert "&&&& FAILED TensorRT.trtexec [TensorRT v" in done.stdout
    assert trtexec_log.parse(done.stdout + done.stderr, "log").status == "failed"


@pytest.mark.parametrize("version", ["8.5.2", "8.6.2", "10.3.0", "10.7.0", "11.4.1"])
def test_trtexec_builds_profiles_and_exports(board, tmp_path, version):
    model = one_layer(tmp_path / "m.onnx", "Conv", half=version.startswith("11"))
    half = () if version.startswith("11") else ("--fp16",)
    command = [f"--onnx={model}", f"--saveEngine={tmp_path / 'e'}", *half, "--useDLACore=0", "--allowGPUFallback"]
    command += ["--profilingVerbosity=detailed", "--memPoolSize=dlaSRAM:1", "--verbose", *QUICK]
    command += ["--dumpProfile", "--separateProfileRun", f"--exportProfile={tmp_path / 'p'}"]
    command += [f"--exportTimes={tmp_path / 't'}", f"--exportLayerInfo={tmp_path / 'l'}"]
    done = board(tensorrt=version).tool("trtexec", *command)
    log = trtexec_log.parse(done.stdout + done.stderr, "log")
    assert (log.status, log.version) == ("passed", version)
    assert log.require_summary().gpu_compute.median_ms > 0
    assert "{ForeignNode[layer]}" in [entry.name for entry in log.require_profile().layers]
    assert "[DlaLayer] {ForeignNode[layer]}" in done.stdout
    assert len(times.read(tmp_path / "t")) == 5
    assert profile.read(tmp_path / "p").iterations == 5
    assert "DLA" in [layer.type for layer in layer_info.read(tmp_path / "l").layers]
    assert "STAND-IN" in done.stdout
    assert b"STAND-IN" in (tmp_path / "e").read_bytes()


def test_profiling_hides_the_summary_in_some_versions(board, tmp_path):
    model = one_layer(tmp_path / "m.onnx", "Conv")
    for version, shown in (("8.5.2", False), ("10.3.0", False), ("10.7.0", True)):
        done = board(tensorrt=version).tool("trtexec", f"--onnx={model}", *QUICK, "--dumpProfile")
        assert ("Performance summary" in done.stdout) == shown


def test_a_dla_engine_needs_its_core(board, tmp_path):
    the, plan = board(), tmp_path / "e"
    the.run(BUILD, one_layer(tmp_path / "m.onnx", "Conv"), plan, "dla")
    done = the.tool("trtexec", f"--loadEngine={plan}", *QUICK, check=False)
    assert done.returncode == 1
    assert trtexec_log.parse(done.stdout + done.stderr, "log").status == "failed"
    assert the.tool("trtexec", f"--loadEngine={plan}", "--useDLACore=1", *QUICK).returncode == 0


def test_without_fallback_trtexec_fails_where_the_dla_refuses(board, tmp_path):
    model = one_layer(tmp_path / "m.onnx", "Softmax", axis=1)
    done = board().tool("trtexec", f"--onnx={model}", "--fp16", "--useDLACore=0", *QUICK, check=False)
    assert done.returncode == 1
    assert "GPU fallback is not enabled" in done.stderr
    assert "Engine could not be created from network" in done.stderr


FORMS = {
    "xavier": ("8.5.2", "GR3D_FREQ 0%@1377", "EMC_FREQ 0%@2133"),
    "orin": ("10.3.0", "NVDLA0 off", "EMC_FREQ 0%@3199"),
    "orin-nano": ("10.3.0", "GR3D_FREQ 0%@[624,624]", "EMC_FREQ 0%@2133"),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("root", [True, False])
def test_tegrastats_shows_the_memory_to_root_only(board, name, root):
    version, form, emc = FORMS[name]
    the = board(tensorrt=version, board=name, root=root)
    with subprocess.Popen([the.bin / "tegrastats", "--interval", "50"], stdout=subprocess.PIPE, text=True) as process:
        text = process.stdout.readline() + process.stdout.readline()
        process.terminate()
    samples = tegrastats.parse(text, "log")
    assert len(samples) == 2
    assert form in text
    assert (emc in text) == root
    assert (samples[0].emc is not None) == root
    assert samples[0].power


def test_power_mode_and_clocks_are_shown_and_not_changed(board):
    the = board(power_mode=1, clocks_locked=False)
    assert the.tool("nvpmodel", "-q").stdout == "NV Power Mode: MODE_30W\n1\n"
    refused = the.tool("nvpmodel", "-m", "0", check=False)
    assert (refused.returncode, "root" in refused.stdout) == (1, True)
    assert "FreqOverride=0" in the.tool("jetson_clocks", "--show").stdout
    assert the.tool("jetson_clocks", check=False).returncode == 1
    assert board(root=False).tool("jetson_clocks", "--show", check=False).returncode == 1


@pytest.mark.parametrize(("version", "gpu"), [("4.3.2", "ga10b"), ("7.2.2", "gpu")])
def test_jtop(board, version, gpu):
    program = """
import jtop
try:
    jtop.jtop().memory
except jtop.JtopException:
    with jtop.jtop(interval=0.05) as j:
        assert j.ok()
        answer([jtop.__version__, sorted(j.memory), list(j.gpu), j.nvpmodel.name, bool(j.jetson_clocks), sorted(j.engine)])
"""
    expected = ["MAXN", True, ["APE", "DLA0", "DLA1"]]
    assert board(jtop=version).run(program) == [version, ["EMC", "RAM"], [gpu], *expected]
    assert board(jtop=version, root=False).run(program) == [version, ["RAM"], [gpu], *expected]


def test_an_unknown_setting_is_an_error(board):
    the = board()
    (the.bin / "standin.json").write_text(json.dumps({"tensort": "8.5.2"}))
    done = the.tool("nvpmodel", "-q", check=False)
    assert done.returncode == 1
    assert "unknown settings ['tensort']" in done.stderr


def test_settings_through_the_environment(tmp_path):
    environment = standin.environment(tmp_path / "state", tensorrt="10.7.0", board="orin-nano", root=False)
    program = "import tensorrt, pycuda.driver as c; c.init(); print(tensorrt.__version__, c.Device(0).name())"
    command = [standin.HERE / "bin" / "board-python", "-c", program]
    assert subprocess.check_output(command, env=environment, text=True, timeout=60) == "10.7.0 Orin (STAND-IN)\n"
    with subprocess.Popen(
        ["tegrastats", "--interval", "50"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        process.terminate()
    assert "/7620MB" in line
    assert "EMC_FREQ" not in line


@pytest.mark.parametrize(
    ("name", "rails", "total"),
    [
        ("xavier", ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"], None),
        ("orin", ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"], None),
        ("orin-nano", ["VDD_CPU_GPU_CV", "VDD_SOC"], "VDD_IN"),
    ],
)
def test_jtop_s_total_has_a_name_where_a_rail_is_the_total(board, name, rails, total):
    program = """
import jtop
with jtop.jtop(interval=0.05) as j:
    if j.ok():
        rail, tot = j.power["rail"], j.power["tot"]
        answer([list(rail), tot.get("name"), sum(state["power"] for state in rail.values()), tot["power"]])
"""
    found, named, added, power = board(board=name).run(program)
    assert (found, named) == (rails, total)
    # without a name it is the sum of everything, what is within something else too
    assert (added == power) == (total is None)
    # the module's power can be told from what our own program makes of it
    shown = {rail: {"power": 1} for rail in found}
    assert module_of(jtop_lines.rails({"rail": shown, "tot": {"power": power, "name": named} if named else {}}))
