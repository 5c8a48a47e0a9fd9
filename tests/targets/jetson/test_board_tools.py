"""Tools are found on a board with their versions; what is missing is said with the command that mends it."""

import json
import os
import subprocess
import sys

import pytest

from multidnn.errors import InputError
from multidnn.targets.jetson import tools
from multidnn.targets.jetson.connection import Board
from multidnn.targets.jetson.tools import Tool, find_jtop, find_sampler, find_tegrastats, find_trtexec, sampler_command

BANNER = "&&&& RUNNING TensorRT.trtexec [TensorRT v{}] # trtexec --help"
AS_ROOT = "RAM 2722/15823MB (lfb 2x2MB) CPU [1%@1190] EMC_FREQ 0%@2133 GR3D_FREQ 0%@305 VDD_GPU_SOC 3972mW/3698mW"
NOT_ROOT = "RAM 2722/15823MB (lfb 2x2MB) CPU [1%@1190] GR3D_FREQ 0%@305 VDD_GPU_SOC 3972mW/3698mW"
JTOP = """
import time
__version__ = "4.3.2"
class jtop:
    memory = {memory}
    power = {{"rail": {{"VDD_GPU_SOC": {{"power": 3972}}}}}}
    engine, gpu, nvpmodel, jetson_clocks = {{}}, {{}}, None, False
    def __init__(self, interval): self.interval = interval
    def __enter__(self):
        {enter}
        return self
    def __exit__(self, *error): pass
    def ok(self):
        time.sleep(self.interval)
        return True
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that is first on this machine's PATH, and where its Python looks for packages."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def board(place, tmp_path):
    with Board.open({"board": {"host": None, "python": sys.executable, "directory": str(tmp_path / "d")}}) as opened:
        yield opened


def program(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("digits", "version"), [("8502", "8.5.2"), ("100300", "10.3.0"), ("110401", "11.4.1")])
def test_trtexec_is_found_on_the_path_with_its_version(board, place, digits, version):
    path = program(place / "trtexec", f"echo '{BANNER.format(digits)}'")
    assert find_trtexec(board, {"board": {"trtexec": None}}) == Tool("trtexec", str(path), version)


def test_trtexec_of_the_configuration_comes_first_and_jetpacks_last(board, place, tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "TRTEXEC", str(tmp_path / "jet pack" / "trtexec"))
    with pytest.raises(
        InputError, match=r"no trtexec on PATH nor at .*: sudo apt-get install libnvinfer-bin \(or give"
    ):
        find_trtexec(board, {})
    program(tmp_path / "jet pack" / "trtexec", f"echo '{BANNER.format(8401)}'")
    assert find_trtexec(board, {}).path == tools.TRTEXEC
    program(place / "trtexec", f"echo '{BANNER.format(8502)}'")
    assert find_trtexec(board, {}).version == "8.5.2"
    own = program(tmp_path / "own", f"echo '{BANNER.format(100300)}'")
    assert find_trtexec(board, {"board": {"trtexec": str(own)}}) == Tool("trtexec", str(own), "10.3.0")
    with pytest.raises(InputError, match=r"`board: trtexec:` of the target names '/none', which cannot be run there$"):
        find_trtexec(board, {"board": {"trtexec": "/none"}})


def test_a_trtexec_that_does_not_say_its_version_is_told(board, place):
    program(place / "trtexec", "echo 'error while loading shared libraries: libnvinfer.so.8' >&2; exit 127")
    with pytest.raises(
        InputError, match=r"does not say which TensorRT it is of.*exit code 127: error while loading sh"
    ):
        find_trtexec(board, {})


def test_tegrastats_must_show_the_memory_controller(board, place):
    path = program(place / "tegrastats", f"while echo '{AS_ROOT}'; do sleep 0.1; done")
    assert find_tegrastats(board) == Tool("tegrastats", str(path), "L4T of unknown release")
    assert sampler_command(board, "tegrastats", 250) == [str(path), "--interval", "250"]
    program(place / "tegrastats", f"while echo '{NOT_ROOT}'; do sleep 0.1; done")
    with pytest.raises(InputError, match=r"shows no EMC_FREQ, because it does not run as root; .*`emc: jtop`.*root@"):
        sampler_command(board, "tegrastats", 250)
    assert find_tegrastats(board, needs_emc=False).path == str(path)
    program(place / "tegrastats", "echo 'cannot open /proc/x' >&2; exit 1")
    with pytest.raises(InputError, match=r"prints no statistics: cannot open /proc/x$"):
        find_tegrastats(board)


@pytest.mark.skipif(os.path.exists("/usr/bin/tegrastats"), reason="this machine is a Jetson")
def test_a_board_without_tegrastats_is_told(board):
    with pytest.raises(
        InputError, match="tegrastats is not installed; on a Jetson: sudo apt-get install nvidia-l4t-tools"
    ):
        find_sampler(board, "tegrastats")


def test_jtop_must_answer_and_show_the_memory_controller(board, place):
    emc = "{'EMC': {'val': 7, 'cur': 2133000, 'max': 3199000, 'min': 204000}}"
    (place / "jtop.py").write_text(JTOP.format(memory=emc, enter="pass"))
    assert find_sampler(board, "jtop") == Tool("jtop", sys.executable, "4.3.2")
    command = sampler_command(board, "jtop", 100)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert [json.loads(process.stdout.readline())["emc"]["val"] for _ in range(2)] == [7, 7]
    process.communicate(timeout=60)
    (place / "jtop.py").write_text(JTOP.format(memory="{}", enter="pass"))
    with pytest.raises(InputError, match=r"jtop 4\.3\.2 shows no memory controller \(EMC\).*restart jtop\.service$"):
        find_jtop(board)
    raised = "raise FileNotFoundError('/run/jtop.sock')"
    (place / "jtop.py").write_text(JTOP.format(memory="{}", enter=raised))
    with pytest.raises(InputError, match=r"gives no sample: jtop\.service is not active; run: sudo systemctl restart"):
        find_jtop(board)
    assert find_jtop(board, needs_service=False).version == "4.3.2"
    (place / "jtop.py").write_text("raise ImportError('No module named smbus2')")
    with pytest.raises(InputError, match=r"cannot import jtop \(ImportError: No module named smbus2\); .*jetson-stats"):
        find_jtop(board)


def test_other_samplers_and_intervals_are_refused(board):
    with pytest.raises(InputError, match=r"found 'nvidia-smi', allowed: tegrastats, jtop"):
        sampler_command(board, "nvidia-smi", 100)
    with pytest.raises(InputError, match="interval of 0 ms"):
        sampler_command(board, "jtop", 0)
