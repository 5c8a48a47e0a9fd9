"""The host target itself: which accelerators a configuration makes of this machine, and sessions on them."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.host.bandwidth import find_counter
from multidnn.targets.host.cores import assign_cores, available_cores
from multidnn.targets.host.engines import RUNTIMES, runtime_versions
from multidnn.targets.host.session import HostSession

# the split of a target that has `accelerators` and no `splits`
ONLY_SPLIT = "accelerators"


class HostTarget:
    """Accelerators are inference runtimes on disjoint cores of this machine.

    Several splits of the cores at once: ``splits: {name: accelerators}`` in place of ``accelerators``. `accelerators`
    then lists those of all splits, and the cores of two splits may overlap: while a schedule runs on one split, the
    workers of the others sleep. What is measured of accelerators beside each other is measured on a target of one split.

    Args:
        name: key of the target in config.yaml.
        spec: its value: ``accelerators: {name: {runtime, cores}}`` or ``splits``.

    Raises:
        InputError: more accelerators than cores, a core claimed twice within a split, or a name used in two splits.
    """

    kind = "host"
    capabilities = frozenset({"layer", "transition", "emc", "contention", "whole", "streams", "run", "isolation"})
    batch = 1
    shortest_sample_ms = 0.2
    # fp32 sums in another order differ by about 1e-6 of the largest value per layer; a stale tensor differs by its whole
    output_tolerance = 1e-3

    def __init__(self, name: str, spec: Mapping[str, Any]) -> None:
        self.name = name
        split_specs: Mapping[str, Any] = spec.get("splits") or {ONLY_SPLIT: spec["accelerators"]}
        self.splits = {split: tuple(accelerators) for split, accelerators in split_specs.items()}
        self.cores: dict[str, tuple[int, ...]] = {}
        self.runtimes: dict[str, str] = {}
        for split, accelerators in split_specs.items():
            if twice := set(accelerators) & set(self.cores):
                raise InputError(f"target {name!r}: two splits have an accelerator {min(twice)!r}; names must differ")
            place = name if split == ONLY_SPLIT else f"{name}, {split}"
            self.cores |= assign_cores(place, accelerators, available_cores())
            self.runtimes |= {key: str(value["runtime"]) for key, value in accelerators.items()}

    @property
    def accelerators(self) -> tuple[str, ...]:
        """See `Target.accelerators`."""
        return tuple(self.cores)

    @property
    def all_cores(self) -> tuple[int, ...]:
        """The cores of all accelerators together: the chip used whole."""
        return tuple(sorted({core for cores in self.cores.values() for core in cores}))

    @property
    def chip_runtimes(self) -> tuple[str, ...]:
        """Runtimes that the chip used whole may choose from."""
        return tuple(RUNTIMES)

    def value_bytes(self, accelerator: str) -> int:
        """See `Target.value_bytes`: fp32 in every runtime."""
        return 4

    def facts(self) -> dict[str, Any]:
        """See `Target.facts`."""
        return {
            "target": self.name,
            "kind": self.kind,
            "accelerators": {
                name: {"runtime": self.runtimes[name], "cores": list(cores)} for name, cores in self.cores.items()
            },
            "splits": {split: list(names) for split, names in self.splits.items()},
            "runtime_versions": runtime_versions(),
            "processor": _processor(),
            "precision": "fp32",
            "batch": 1,
        }

    def clocks(self) -> dict[str, Any]:
        """Return governor and frequencies per core where the kernel shows them; empty on most virtual machines."""
        clocks: dict[str, Any] = {}
        for core in sorted(os.sched_getaffinity(0)):
            folder = Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq")
            values = {
                name: (folder / name).read_text(encoding="ascii").strip()
                for name in ("scaling_governor", "scaling_cur_freq", "scaling_max_freq")
                if (folder / name).is_file()
            }
            if values:
                clocks[f"cpu{core}"] = values
        return clocks

    def traffic_counter(self) -> tuple[str | None, str]:
        """Return the method of the kernel's memory-traffic counter and what it counts, or None and why there is none."""
        counter, found = find_counter(os.getpid())
        if counter is None:
            return None, found
        with counter:
            return counter.method, found

    def open_session(
        self,
        instances: Mapping[str, ExportedNetwork],
        *,
        chip: Mapping[str, str] | None = None,
        events: int = 0,
    ) -> HostSession:
        """Return a session with the groups of each instance's network loaded on every accelerator.

        Args:
            instances: instance name to network; instances of one network share its engines.
            chip: instance name to the runtime that runs it whole on all cores; None for no such workers.
            events: gate events to make for plans.
        """
        return HostSession(self, instances, chip or {}, events)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()
