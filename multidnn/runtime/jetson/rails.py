"""Which power rails of a Jetson add up to what its module draws.

A rail may be inside another one, and boards do not say which: the table below does, by the names that tegrastats and jtop
give the rails. jtop's own total (``power["tot"]``) is not used where it is a sum: on an AGX Orin it counts memory twice and
adds what a USB-C supply agreed to deliver.
"""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Module:
    """A kind of module.

    Attributes:
        total: the rails that add up to the module's power; a module is known by having all of them.
        source: where that is from.
    """

    name: str
    total: tuple[str, ...]
    source: str


MODULES = (
    Module(
        "Xavier NX, Orin NX, Orin Nano",
        ("VDD_IN",),
        "NVIDIA's moderator, forums.developer.nvidia.com/t/200883 (VDD_IN is the total power of the module); Linux, "
        "tegra234-p3767.dtsi; jetson-stats, jtop/core/power.py",
    ),
    Module(
        "AGX Orin",
        # VDDQ_VDD2_1V8AO (memory) is fed from VIN_SYS_5V0 and is in it
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        "Jetson Linux Developer Guide, power monitors of AGX Orin (VDDQ_VDD2_1V8AO power is also included in VIN_SYS_5V0 "
        "power), as public programs quote it",
    ),
    Module(
        "AGX Xavier",
        # memory (VDDRQ) has an input of its own here
        ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
        "Jetson AGX Xavier Series Product Design Guide, DG-09840-001 v2.5, section 5.6.2 and figure 5-14 (five rails fed "
        "from SYS_VIN_HV, SYS5V from SYS_VIN_MV, neither from the other); jetson-stats, issue 51",
    ),
    Module(
        "AGX Thor", ("VIN",), "jetson-stats, pull request 900; forums.developer.nvidia.com/t/366461 (with the carrier)"
    ),
)


def module_of(rails: Collection[str]) -> Module | None:
    """Return the kind of module that shows these rails, None if it is none of the table."""
    return next((module for module in MODULES if set(module.total) <= set(rails)), None)


def is_supply(rail: str) -> bool:
    """Tell whether jtop lists a USB-C supply (such as 2-00081) under this name: what it agreed to deliver, not what flows."""
    return rail[:1].isdigit()
