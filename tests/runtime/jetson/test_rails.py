"""Which rails add up, on lines that boards printed."""

from pathlib import Path

import pytest

from multidnn.runtime.jetson.rails import MODULES, module_of
from multidnn.targets.jetson.parsers import tegrastats

RECORDED = Path(__file__).parents[4] / "shared/fixtures/tegrastats/lines.tsv"
# by the name of the recorded line: the module, and what it drew in mW, added up by hand
EXPECTED = {
    "xavier_agx_l4t32_artifact": ("AGX Xavier", 0 + 619 + 1083 + 0 + 0 + 2294),
    "orin_agx_l4t35_artifact": ("AGX Orin", 3972 + 794 + 5745),
    "xavier_nx_datadog": ("Xavier NX, Orin NX, Orin Nano", 4067),
    "orin_agx_l4t36_datadog": ("AGX Orin", 3205 + 4405 + 4767),
    "orin_agx_dla_busy": ("AGX Orin", 3150 + 14312 + 4968),
}


@pytest.mark.skipif(not RECORDED.exists(), reason="needs the recorded lines of ../shared")
def test_recorded_lines_are_of_a_known_module() -> None:
    lines = dict(line.split("\t", 1) for line in RECORDED.read_text(encoding="utf-8").splitlines())
    assert set(lines) == set(EXPECTED)
    for name, line in lines.items():
        power = {rail: entry.instant_mw for rail, entry in tegrastats.parse_line(line, name).power.items()}
        module = module_of(power)
        assert module is not None
        assert (module.name, sum(power[rail] for rail in module.total)) == EXPECTED[name]
        # a part is never more than what it is part of
        if "VDDQ_VDD2_1V8AO" in power:
            assert power["VDDQ_VDD2_1V8AO"] <= power["VIN_SYS_5V0"]
        if "VDD_IN" in power:
            assert power["VDD_CPU_GPU_CV"] + power["VDD_SOC"] <= power["VDD_IN"]


def test_no_module_passes_for_another() -> None:
    for module in MODULES:
        assert module_of(module.total) is module
    assert module_of(["VDD_GPU_SOC", "VDD_CPU_CV"]) is None
    assert module_of([]) is None
