"""Energy per iteration from the lines that a board's tools print."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from multidnn.errors import InputError
from multidnn.runtime.jetson.energy import energy_per_iteration

SECOND = 1_000_000_000


def answer(line: str, iterations: int = 100) -> dict[str, Any]:
    """Two schedulers of two seconds each, a line every tenth of a second."""
    lines = [[tenth * SECOND // 10, line] for tenth in range(50)]
    windows = {"serial": (0, 2 * SECOND), "haxconn": (3 * SECOND, 5 * SECOND)}
    return {
        "sampler_lines": lines,
        "energy": {
            name: {"begin_ns": begin, "end_ns": end, "iterations": iterations} for name, (begin, end) in windows.items()
        },
    }


TARGET = SimpleNamespace(spec={"emc": "tegrastats"})
AGX = (
    "RAM 2000/30536MB (lfb 1x4MB) CPU [1%@729] EMC_FREQ 16%@2133 GR3D_FREQ 67%@407 GPU 3000/2900 CPU 600/619 "
    "SOC 1500/1500 CV 400/400 VDDRQ 700/700 SYS5V 2300/2300"
)
AGX_ORIN = (
    "RAM 2000/30587MB (lfb 1x4MB) CPU [1%@729] GR3D_FREQ 67%@407 VDD_GPU_SOC 3972mW/3698mW VDD_CPU_CV 794mW/580mW "
    "VIN_SYS_5V0 5745mW/5325mW NC 0mW/0mW VDDQ_VDD2_1V8AO 1912mW/1478mW NC 0mW/0mW"
)
NX = "RAM 2000/15536MB (lfb 1x4MB) CPU [1%@729] GR3D_FREQ 0%@[305] VDD_IN 8000mW/7900mW VDD_CPU_GPU_CV 3000mW/2900mW"


def test_rails_are_added_up_where_the_board_does_not_measure_its_input() -> None:
    found = energy_per_iteration(TARGET, answer(AGX))
    assert found is not None
    assert found["total"] == ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]
    # 8.5 W for 20 ms
    assert found["schedulers"]["haxconn"]["mj"] == pytest.approx(8500 * 0.02)
    assert found["schedulers"]["haxconn"]["rails_mj"] == pytest.approx(
        {"GPU": 60, "CPU": 12, "SOC": 30, "CV": 8, "VDDRQ": 14, "SYS5V": 46}
    )


def test_memory_of_an_agx_orin_counts_once() -> None:
    found = energy_per_iteration(TARGET, answer(AGX_ORIN))
    assert found is not None
    assert found["total"] == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert found["schedulers"]["haxconn"]["mw"] == pytest.approx(3972 + 794 + 5745)
    # shown beside the others, all the same
    assert found["schedulers"]["haxconn"]["rails_mj"]["VDDQ_VDD2_1V8AO"] == pytest.approx(1912 * 0.02)


def test_the_board_s_input_has_everything_in_it() -> None:
    found = energy_per_iteration(TARGET, answer(NX, iterations=400))
    assert found is not None
    assert found["total"] == ["VDD_IN"]
    assert found["schedulers"]["serial"]["mj"] == pytest.approx(8000 * 0.005)


def test_jtop_gives_the_same() -> None:
    line = json.dumps({"t_ns": 1, "power_mw": {"VDD_IN": 8000}, "engines": {}, "gpu_load": {}})
    found = energy_per_iteration(SimpleNamespace(spec={"emc": "jtop"}), answer(line))
    assert found is not None
    assert found["schedulers"]["serial"]["mw"] == pytest.approx(8000)


def test_a_board_without_rails_has_no_energy_and_says_so() -> None:
    found = energy_per_iteration(TARGET, answer("RAM 2000/30536MB (lfb 1x4MB) GR3D_FREQ 0%@[305]"))
    assert found == {"by": "tegrastats", "missing": "this board shows no power rails", "schedulers": {}}
    assert energy_per_iteration(TARGET, {"energy": {}, "sampler_lines": []}) is None


def test_sensors_that_say_nothing_are_an_error() -> None:
    silent = answer(AGX) | {"sampler_lines": []}
    with pytest.raises(InputError, match=r"no reading of the board.s sensors within 2\.0 s"):
        energy_per_iteration(TARGET, silent)


def test_a_board_that_is_in_no_table_has_no_energy_and_says_so() -> None:
    found = energy_per_iteration(TARGET, answer("RAM 2000/30536MB (lfb 1x4MB) GR3D_FREQ 0%@[305] VDD_GPU 10mW/10mW"))
    assert found is not None
    assert found["missing"] == "nobody has said which of this board's power rails (VDD_GPU) add up to its power"
    assert found["schedulers"] == {}


def test_what_a_supply_agreed_to_deliver_is_no_power() -> None:
    power = {"VDD_GPU_SOC": 1000, "VDD_CPU_CV": 2000, "VIN_SYS_5V0": 3000, "2-00081": 45000}
    line = json.dumps({"t_ns": 1, "power_mw": power, "engines": {}, "gpu_load": {}})
    found = energy_per_iteration(SimpleNamespace(spec={"emc": "jtop"}), answer(line))
    assert found is not None
    assert found["schedulers"]["serial"]["mw"] == pytest.approx(6000)
    assert "2-00081" not in found["schedulers"]["serial"]["rails_mj"]
