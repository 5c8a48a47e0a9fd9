"""The cuda target itself: which accelerators a configuration makes of one NVIDIA GPU, and sessions on them."""

import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.cuda.precision import Precision, tolerance
from multidnn.targets.cuda.spec import CudaSpec

if TYPE_CHECKING:
    from multidnn.targets.cuda.device import Device
    from multidnn.targets.cuda.session import CudaSession

_CLOCKS = (
    "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "temperature.gpu", "power.draw", "power.limit",
    "pstate", "persistence_mode", "compute_mode", "ecc.mode.current", "mig.mode.current",
)  # fmt: skip


class CudaTarget:
    """Accelerators are disjoint partitions of one GPU's multiprocessors (SMs), which share L2 cache and memory.

    Nothing is imported and no GPU is touched before the first session, `facts` or `traffic_counter`.

    Several splits at once: ``splits: {name: partitions}`` beside or in place of ``partitions``. `accelerators` then
    lists the partitions of all of them, so names must differ across splits ("32", "100" and "64", "68", say). Their SMs
    may overlap: splits never run at the same time, as each schedule uses partitions of one of them. So profile each
    split by itself (`split(name)` returns a target of it alone: transitions and co-runs are only within a split), solve
    each on its own tables, and give all schedules to one `Runner` on the target with all splits, which interleaves
    them and refuses one that mixes splits. `Runner` names schedules by their scheduler, so schedules of one scheduler
    on two splits need two names.

    Args:
        name: key of the target in config.yaml.
        spec: its value: ``device``, ``batch``, ``partitions: {name: {sms, precision}}`` and ``splits``.

    Raises:
        InputError: the value is wrong. Whether it fits the device shows when that is opened.
    """

    kind = "cuda"
    capabilities = frozenset({"layer", "transition", "emc", "contention", "whole", "streams", "run", "isolation"})
    # the device's clock times a single run well, and a second one would find the weights in the L2 cache
    shortest_sample_ms = 0.0

    def __init__(self, name: str, spec: Mapping[str, Any] | CudaSpec) -> None:
        self.name = name
        self.spec = spec if isinstance(spec, CudaSpec) else CudaSpec.of(name, spec)
        self._device: Device | None = None

    @property
    def accelerators(self) -> tuple[str, ...]:
        """Names of the partitions of every split, in the order of the configuration."""
        return tuple(partition.name for partition in self.spec.partitions)

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """See `Target.splits`."""
        return {name: tuple(partition.name for partition in split) for name, split in self.spec.splits.items()}

    @property
    def chip_runtimes(self) -> tuple[str, ...]:
        """Ways to run a network on all SMs: torch in each precision that a partition has."""
        return tuple(Precision(name).runtime for name in self.spec.precisions)

    @property
    def output_tolerance(self) -> float:
        """How far outputs may differ between these accelerators by rounding, as a share of the largest output."""
        return tolerance(self.spec.precisions)

    @property
    def batch(self) -> int:
        """See `Target.batch`."""
        return self.spec.batch

    def value_bytes(self, accelerator: str) -> int:
        """See `Target.value_bytes`."""
        (precision,) = [partition.precision for partition in self.spec.partitions if partition.name == accelerator]
        return precision.bytes

    def split(self, name: str) -> "CudaTarget":
        """Return the target with one of its splits, named like this one."""
        return CudaTarget(self.name, self.spec.only(name))

    def opened(self) -> "Device":
        """Return the GPU, divided; it is opened when first asked for.

        Raises:
            InputError: PyTorch, cuda-bindings or the GPU is missing, or the partitions do not fit on it.
        """
        if self._device is None:
            from multidnn.targets.cuda.device import Device

            self._device = Device(self.name, self.spec)
        return self._device

    def facts(self) -> dict[str, Any]:
        """See `Target.facts`; multiprocessors are those that the driver really gave."""
        device = self.opened()
        import torch

        properties = torch.cuda.get_device_properties(self.spec.device)
        return {
            "target": self.name,
            "kind": self.kind,
            "accelerators": {
                name: {
                    "runtime": lane.precision.runtime,
                    "sms": lane.sms,
                    "precision": lane.precision.name,
                    "clusters_kept_together": device.clusters[name],
                }
                for name, lane in device.lanes.items()
            },
            "splits": {split: list(names) for split, names in self.splits.items()},
            "processor": properties.name,
            "sms": device.total_sms,
            "sm_granularity": device.granularity,
            "memory_bytes": properties.total_memory,
            "l2_bytes": properties.L2_cache_size,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "runtime_versions": {
                "torch": torch.__version__,
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),
                **self._query(("driver_version",)),
            },
            "precision": "/".join(self.spec.precisions),
            "batch": self.spec.batch,
        }

    def clocks(self) -> dict[str, Any]:
        """Return clocks, power and modes as nvidia-smi shows them now; empty where it is missing. Sets nothing."""
        return self._query(_CLOCKS)

    def _query(self, keys: tuple[str, ...]) -> dict[str, str]:
        command = ["nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader", f"--id={self.spec.device}"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return {}
        values = [value.strip() for value in answer.splitlines()[0].split(",")]
        return dict(zip(keys, values, strict=True)) if len(values) == len(keys) else {}

    def traffic_counter(self) -> tuple[str | None, str]:
        """See `Target.traffic_counter`: Nsight Compute's counters of the GPU's memory, where the spec asks for them."""
        if self.spec.demand == "graph":
            return None, "not asked for (`demand: graph`): partitions share the L2 cache too, which these do not see"
        from multidnn.targets.cuda.counting import MEANING, METHOD, counter_problem

        self.opened()
        problem = counter_problem(self.spec.device)
        return (METHOD, MEANING) if problem is None else (None, problem)

    def open_session(
        self, instances: Mapping[str, ExportedNetwork], *, chip: Mapping[str, str] | None = None, events: int = 0
    ) -> "CudaSession":
        """See `Target.open_session`; `events` are made as plans name them.

        Raises:
            InputError: PyTorch, cuda-bindings or the GPU is missing, or the partitions do not fit on it.
        """
        device = self.opened()
        from multidnn.targets.cuda.session import CudaSession

        return CudaSession(device, instances, chip or {})
