"""Which processor cores each accelerator of a host target owns."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multidnn.errors import InputError


def available_cores(topology: Path = Path("/sys/devices/system/cpu")) -> tuple[int, ...]:
    """Return the cores that this process may use, hardware threads of one physical core next to each other.

    Args:
        topology: where the kernel lists ``cpuN/topology``.
    """

    def position(core: int) -> tuple[int, int, int]:
        folder = topology / f"cpu{core}" / "topology"
        try:
            package, physical = (
                int((folder / name).read_text(encoding="ascii")) for name in ("physical_package_id", "core_id")
            )
        except (OSError, ValueError):
            # a kernel without topology: every core counts as a physical one
            return (0, core, core)
        return (package, physical, core)

    return tuple(sorted(os.sched_getaffinity(0), key=position))


def assign_cores(
    target: str, accelerators: Mapping[str, Mapping[str, Any]], available: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Return disjoint cores per accelerator.

    `cores` of an accelerator is a list of core numbers, a count, or ``auto``: what explicit lists and counts leave is
    dealt out evenly, neighbouring cores together because they often share a cache.

    Raises:
        InputError: a core that does not exist or is claimed twice, or fewer cores than accelerators.
    """
    place = f"target {target!r}"
    listing = ", ".join(map(str, available))
    owners: dict[int, str] = {}
    assigned: dict[str, tuple[int, ...]] = {}
    for name, spec in accelerators.items():
        if not isinstance(spec["cores"], list):
            continue
        for core in spec["cores"]:
            if core not in available:
                raise InputError(f"{place}: accelerator {name!r} wants core {core}; this process may use {listing}")
            if core in owners:
                raise InputError(f"{place}: core {core} is given to both {owners[core]!r} and {name!r}")
            owners[core] = name
        assigned[name] = tuple(spec["cores"])
    free = [core for core in available if core not in owners]
    open_specs = {name: spec["cores"] for name, spec in accelerators.items() if name not in assigned}
    counted = {name: count for name, count in open_specs.items() if count != "auto"}
    automatic = [name for name in open_specs if name not in counted]
    wanted = sum(counted.values()) + len(automatic)
    if wanted > len(free):
        raise InputError(
            f"{place}: {len(accelerators)} accelerators need at least {wanted + len(owners)} cores, "
            f"this process may use {len(available)} ({listing}); give it fewer accelerators or more cores"
        )
    spare = len(free) - sum(counted.values())
    for index, name in enumerate(automatic):
        counted[name] = spare // len(automatic) + (index < spare % len(automatic))
    for name in open_specs:
        assigned[name], free = tuple(free[: counted[name]]), free[counted[name] :]
    return {name: assigned[name] for name in accelerators}
