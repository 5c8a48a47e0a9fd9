"""The script on the board, with jtops of our own that behave as 4.3 and 7.2 do."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from multidnn.targets.jetson.parsers import jtop
from multidnn.targets.jetson.parsers.emc import Emc
from multidnn.targets.jetson.stats import jtop_lines

HEAD = """
import time
class JtopException(Exception):
    pass
class Clocks:
    def __bool__(self):
        return True
class Model:
    id, name = 0, "MAXN"
class jtop:
    power = {"rail": {"CV": {"power": 464, "avg": 400, "online": True}}, "tot": {"power": 464, "avg": 400}}
    engine = {"DLA0": {"DLA0_CORE": {"online": True, "cur": 1395200, "max": 1395200}}, "APE": {"APE": {"cur": 150000}}}
    gpu = {"gv11b": {"type": "integrated", "status": {"load": 45.3}}}
    memory = {"RAM": {}, "EMC": {"online": True, "val": 12, "cur": 2133000, "max": 2133000, "min": 204000}}
    jetson_clocks, nvpmodel = Clocks(), Model()
    def __init__(self, interval=1.0):
        self.interval = interval
    def __enter__(self):
        START
        return self
    def __exit__(self, *error):
        return not error[0]
    def ok(self):
        time.sleep(self.interval)
        return OK
"""
BARE = """
jtop.power, jtop.engine, jtop.memory = {}, {}, {}
jtop.gpu = {"gpu": {"status": {"load": None}}}
jtop.jetson_clocks = jtop.nvpmodel = None
"""


def start(
    folder: Path, enter: str = "pass", ok: str = "True", more: str = "", interval: str = "0.02"
) -> subprocess.Popen[str]:
    (folder / "jtop.py").write_text(HEAD.replace("START", enter).replace("OK", ok) + more)
    return subprocess.Popen(
        [sys.executable, jtop_lines.__file__, "--interval", interval],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_of(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout
    return [process.stdout.readline() for _ in range(count)]


def test_samples_until_standard_input_closes(tmp_path: Path) -> None:
    process = start(tmp_path)
    text = "".join(lines_of(process, 3))
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    samples = jtop.parse(text + rest, "x")
    assert len(samples) >= 3
    assert samples[0].emc == Emc(12, 2133)
    assert (samples[0].power_mw, samples[0].gpu_load) == ({"CV": 464}, {"gv11b": 45.3})
    assert samples[0].engines["DLA0"]["DLA0_CORE"] == jtop.Engine(True, 1395.2)
    assert (samples[0].nvpmodel_name, samples[0].jetson_clocks) == ("MAXN", True)
    assert samples[1].time_s - samples[0].time_s > 0.01


def test_sigterm_ends_it_after_a_whole_line(tmp_path: Path) -> None:
    process = start(tmp_path)
    text = "".join(lines_of(process, 2))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert process.stdout
    assert all(json.loads(line) for line in (text + process.stdout.read()).splitlines())
    process.communicate()


def test_a_board_that_shows_little(tmp_path: Path) -> None:
    process = start(tmp_path, more=BARE)
    line = lines_of(process, 1)[0]
    process.communicate(timeout=60)
    sample = jtop.parse_line(line, "x:1")
    assert (sample.emc, sample.power_mw, sample.nvpmodel_id, sample.jetson_clocks) == (None, {}, None, None)
    assert sample.gpu_load == {"gpu": None}


def test_a_service_that_hangs_while_connecting_does_not_hold_it(tmp_path: Path) -> None:
    process = start(tmp_path, enter="print('connecting', flush=True); time.sleep(1000)")
    assert lines_of(process, 1) == ["connecting\n"]
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    process = start(tmp_path)
    lines_of(process, 1)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    assert process.stdin
    process.stdin.close()
    process.stderr.close()


@pytest.mark.parametrize(
    ("enter", "ok", "expected"),
    [
        (
            'raise JtopException("Mismatch version jtop service: [4.2.1] and client: [4.3.2]. Please run:\\n\\nsudo systemctl restart x")',
            "True",
            "error: Mismatch version jtop service: [4.2.1] and client: [4.3.2]; run: sudo pip3 install -U jetson-stats && sudo "
            "systemctl restart jtop.service",
        ),
        ('raise JtopException("The jtop.service is not active. Please run:\\nsudo systemctl restart jtop.service")', "True",
         "error: jtop.service is not active; run: sudo systemctl restart jtop.service"),
        ('raise JtopException("The jtop.service is not active. Please run:\\nsudo jtop --install-service")', "True",
         "error: jtop.service is not active; run: sudo systemctl restart jtop.service (if there is no such unit: sudo jtop "
         "--install-service)"),
        ('raise JtopException("I can\'t access jtop.service.\\nPlease logout or reboot this board.")', "True",
         "error: no permission to talk to jtop.service; run: sudo usermod -aG jtop $USER and log in again"),
        ('raise PermissionError(13, "denied")', "True",
         "error: no permission to talk to jtop.service; run: sudo usermod -aG jtop $USER and log in again"),
        ('raise JtopException("Lost connection\\nwith jtop server")', "True",
         "error: Lost connection with jtop server; run: sudo systemctl restart jtop.service"),
        ("pass", "False", "error: jtop.service has fallen silent; run: sudo systemctl restart jtop.service"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_the_command_that_mends_it(
    tmp_path: Path, enter: str, ok: str, expected: str
) -> None:
    process = start(tmp_path, enter=enter, ok=ok)
    # before standard input closes, which would end it well
    assert process.wait(timeout=60) == 1
    out, errors = process.communicate()
    assert (out, errors) == ("", expected + "\n")


def test_without_jtop() -> None:
    process = subprocess.Popen(
        [sys.executable, "-S", jtop_lines.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.wait(timeout=60) == 1
    _, errors = process.communicate()
    assert errors.count("\n") == 1
    assert "jtop is not installed" in errors
    assert "sudo pip3 install -U jetson-stats" in errors


def test_interval() -> None:
    done = subprocess.run(
        [sys.executable, jtop_lines.__file__, "--interval", "0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--interval is 0, expected seconds above 0" in done.stderr


def test_the_rail_of_the_whole_input_is_kept() -> None:
    """jtop/core/power.py takes VDD_IN out of the rails; where a board has none, its total is a sum without a name."""
    shown = {"VDD_CPU_GPU_CV": {"power": 900, "avg": 800}, "VDD_SOC": {"power": 1500, "avg": 1500}}
    named = {"rail": shown, "tot": {"power": 5000, "avg": 4900, "name": "VDD_IN"}}
    assert jtop_lines.rails(named) == {"VDD_CPU_GPU_CV": 900, "VDD_SOC": 1500, "VDD_IN": 5000}
    assert jtop_lines.rails({"rail": shown, "tot": {"power": 2400, "avg": 2300}}) == {
        "VDD_CPU_GPU_CV": 900,
        "VDD_SOC": 1500,
    }
    assert jtop_lines.rails({}) == {}


def test_a_memory_controller_without_a_reading_is_left_out() -> None:
    board = SimpleNamespace(power={}, engine={}, gpu={}, jetson_clocks=None, nvpmodel=None, memory={"EMC": {}})
    assert "emc" not in jtop_lines.sample(board)
    board.memory = {"EMC": {"val": 7, "cur": 3199000, "online": True}}
    assert jtop_lines.sample(board)["emc"] == {"val": 7, "cur": 3199000}
