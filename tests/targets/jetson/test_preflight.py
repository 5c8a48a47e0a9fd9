"""A board is looked over: what is well, what must be mended and how, what is only advised."""

import json
import os
import sys

import pytest

from multidnn.targets.jetson import board_code, tools
from multidnn.targets.jetson.preflight import Check, failed, preflight, render

FACTS = {
    "format": 1,
    "dla_cores": 2,
    "model": "NVIDIA Jetson AGX Orin",
    "gpu": "Orin",
    "nvpmodel": {"id": 0, "name": "MAXN"},
    "power_modes": {"0": "MAXN", "1": "MODE_15W", "2": "MODE_30W"},
    "clocks_locked": True,
}
AS_ROOT = "RAM 2722/15823MB (lfb 2x2MB) EMC_FREQ 0%@2133 GR3D_FREQ 0%@305"


class Place:
    """This machine as a board: programs, packages and facts as a test wants them."""

    def __init__(self, folder, monkeypatch):
        self.bin = folder / "bin"
        self.bin.mkdir()
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", str(self.bin))
        monkeypatch.setattr(tools, "TRTEXEC", str(folder / "none"))
        package = folder / "package"
        self.facts = package / "board" / "__main__.py"
        self.facts.parent.mkdir(parents=True)
        (package / "stats").mkdir()
        monkeypatch.setattr(board_code, "PACKAGE", package)
        board = {"host": None, "python": sys.executable, "directory": str(folder / "d")}
        self.spec = {"accelerators": ["gpu", "dla0"], "board": board}
        self.package("tensorrt", "__version__ = '8.5.2'")
        self.package("pycuda", "VERSION_TEXT = '2022.2.2'")
        (self.bin / "pycuda" / "driver.py").write_text("")
        self.program("trtexec", "echo '&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help'")
        self.program("tegrastats", f"while echo '{AS_ROOT}'; do sleep 0.1; done")
        self.answer()

    def package(self, name, text):
        (self.bin / name).mkdir(exist_ok=True)
        (self.bin / name / "__init__.py").write_text(text)

    def program(self, name, script):
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def answer(self, **facts):
        self.facts.write_text(f"import sys\nopen(sys.argv[3], 'w').write({json.dumps({**FACTS, **facts})!r})")

    def checks(self, **spec):
        return {check.name: check for check in preflight({**self.spec, **spec}, needed_bytes=1000)}


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


def test_a_board_that_is_well(place):
    checks = place.checks()
    assert not failed(checks.values())
    assert {name for name, check in checks.items() if check.ok} == {
        *("connection", "python", "numpy", "tensorrt", "pycuda", "tensorrt version", "accelerators", "power mode"),
        *("clocks", "trtexec", "tegrastats", "disk", "memory bus"),
    }
    assert checks["accelerators"].found == "NVIDIA Jetson AGX Orin: gpu, dla0, dla1"
    assert checks["pycuda"].found == "2022.2.2"
    assert checks["tegrastats"].found.endswith("EMC readable")
    # not used by this target, so only a note
    assert checks["jtop"].ok is None
    assert checks["jtop"].found.endswith("(not used)")


def test_a_board_that_cannot_be_reached_is_one_check(place):
    place.program("ssh", "echo 'user@orin: Permission denied (publickey).' >&2; exit 255")
    checks = place.checks(board={"host": "user@orin"})
    assert list(checks) == ["connection"]
    assert failed(checks.values())
    assert checks["connection"].found == "board user@orin: it wants a password or another key"
    assert checks["connection"].mend == "give it yours once: ssh-copy-id user@orin"


@pytest.mark.parametrize(
    ("version", "ok", "found"),
    [
        ("8.4.1", True, "is one that this project is written for"),
        ("10.7.0", True, "is one that this project is written for"),
        ("11.4.1.2", True, "is one that this project is written for"),
        ("7.1.3", False, "7.1.3 is not supported"),
        ("11.1.0", False, "11.1.0 has no DLA: it left TensorRT after 10.7 and is back since 11.4"),
    ],
)
def test_versions_of_tensorrt(place, version, ok, found):
    place.package("tensorrt", f"__version__ = {version!r}")
    check = place.checks()["tensorrt version"]
    assert check.ok is ok
    assert found in check.found
    assert ok or "8.4 to 10.7" in check.mend


def test_packages_that_are_missing_are_named_and_nothing_more_is_asked(place):
    place.package("tensorrt", "raise ImportError('libnvinfer.so.8: cannot open shared object file')")
    (place.bin / "pycuda" / "driver.py").write_text("raise OSError('libcuda')")
    checks = place.checks()
    assert failed(checks.values())
    assert checks["tensorrt"].found == "ImportError: libnvinfer.so.8: cannot open shared object file"
    assert "python3-libnvinfer" in checks["tensorrt"].mend
    assert checks["pycuda"] == Check("pycuda", False, "OSError: libcuda", checks["pycuda"].mend)
    assert "accelerators" not in checks
    assert checks["trtexec"].ok
    assert checks["disk"].ok


def test_a_python_that_crashes_on_import_is_told(place):
    place.package("tensorrt", "import os; os._exit(9)")
    check = place.checks()["packages"]
    assert check.ok is False
    assert "ends with code 9 on importing TensorRT" in check.found


def test_accelerators_that_the_board_lacks(place):
    place.answer(dla_cores=0, model="NVIDIA Jetson Orin Nano")
    check = place.checks()["accelerators"]
    assert check.ok is False
    assert check.found.endswith("has gpu, and the configuration names dla0: Orin Nano and Thor have no DLA")
    assert check.mend == "set `accelerators: [gpu]` for this target"
    place.answer(dla_cores=1)
    assert (
        place.checks(accelerators=["gpu", "dla1"])["accelerators"].mend
        == "set `accelerators: [gpu, dla0]` for this target"
    )


def test_power_mode_and_clocks_are_advice_unless_configured(place):
    place.answer(nvpmodel={"id": 2, "name": "MODE_30W"}, clocks_locked=False)
    checks = place.checks()
    assert not failed(checks.values())
    assert (checks["power mode"].ok, checks["power mode"].mend) == (None, "sudo nvpmodel -m 0")
    assert (checks["clocks"].ok, checks["clocks"].mend) == (None, "sudo jetson_clocks")
    assert place.checks(power_mode=2)["power mode"].ok is True
    assert place.checks(power_mode=3)["power mode"] == Check(
        "power mode", False, "2 (MODE_30W), configured is 3", "sudo nvpmodel -m 3"
    )
    place.answer(nvpmodel=None, nvpmodel_error="nvpmodel: not found", clocks_locked=None)
    checks = place.checks()
    assert checks["power mode"].found == "not readable: nvpmodel: not found"
    assert checks["clocks"].found == "cannot be told from here"
    assert not failed(checks.values())


@pytest.mark.parametrize(
    ("modes", "ok", "mend"),
    [
        # Orin Nano from JetPack 6.2 on, where 0 is not the fastest; before, where there is no MAXN; a board that does not say
        ({"0": "15W", "1": "25W", "2": "MAXN_SUPER"}, None, "sudo nvpmodel -m 2"),
        ({"0": "15W", "1": "7W"}, True, ""),
        ({}, None, "sudo nvpmodel -p --verbose lists the modes"),
    ],
)
def test_the_fastest_power_mode_is_the_board_s_own(place, modes, ok, mend):
    place.answer(nvpmodel={"id": 0, "name": "15W"}, power_modes=modes)
    check = place.checks()["power mode"]
    assert (check.ok, check.mend) == (ok, mend)


@pytest.mark.parametrize(
    ("model", "width"),
    [
        ("Jetson-AGX", 32),
        ("NVIDIA Jetson Xavier NX Developer Kit", 16),
        ("Jetson AGX Orin Developer Kit", 32),
        ("NVIDIA Orin NX Developer Kit", 16),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", 16),
        ("NVIDIA Orin Jetson-Small Developer Kit", 16),
    ],
)
def test_the_memory_bus_is_known_by_the_model(place, model, width):
    place.answer(model=model)
    assert place.checks()["memory bus"] == Check("memory bus", True, f"{width} bytes wide, as {model} has it")


def test_a_memory_bus_that_is_not_known_is_asked_for(place):
    place.answer(model=None)
    check = place.checks()["memory bus"]
    assert check.ok is False
    assert check.mend.startswith("set `memory_bus_bytes:` of this target: 32 for AGX")
    assert place.checks(memory_bus_bytes=32)["memory bus"].ok is True


def test_an_error_of_the_board_is_a_check(place):
    place.facts.write_text("import sys\nprint('error: no CUDA device', file=sys.stderr)\nsys.exit(1)")
    assert place.checks()["facts"] == Check("facts", False, "this machine: no CUDA device", "")


def test_only_the_tools_in_use_must_be_there(place):
    (place.bin / "trtexec").unlink()
    place.program("tegrastats", "while echo 'RAM 1/2MB GR3D_FREQ 0%@305'; do sleep 0.1; done")
    checks = place.checks()
    assert [name for name, check in checks.items() if check.ok is False] == ["trtexec", "tegrastats"]
    assert "libnvinfer-bin" in checks["trtexec"].mend
    assert "`emc: jtop`" in checks["tegrastats"].mend
    checks = place.checks(profiler="python", emc="jtop")
    assert [name for name, check in checks.items() if check.ok is False] == ["jtop"]
    assert "jetson-stats" in checks["jtop"].mend


def test_too_little_room(place):
    (check,) = (check for check in preflight(place.spec, needed_bytes=10**18) if check.name == "disk")
    assert check.ok is False
    assert "GB needed" in check.found


def test_the_table():
    checks = [
        Check("python", True, "python3, Python 3.8.10"),
        Check("clocks", None, "not locked", "sudo jetson_clocks"),
        Check("tensorrt version", False, "11.1.0 has no DLA " + "x " * 40, "install another"),
    ]
    text = render(checks, columns=72)
    lines = text.splitlines()
    assert lines[0] == "ok    python            python3, Python 3.8.10"
    assert lines[1] == "note  clocks            not locked"
    assert lines[2] == "                        -> sudo jetson_clocks"
    assert lines[3].startswith("FAIL  tensorrt version  11.1.0 has no DLA x")
    assert lines[-1] == "                        -> install another"
    assert all(len(line) <= 72 for line in lines)
    assert failed(checks)
    assert not failed(checks[:2])
    assert render([]) == ""
