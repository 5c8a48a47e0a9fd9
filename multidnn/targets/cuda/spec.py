"""What a configuration says about a cuda target: device, batch, and one or several splits of its multiprocessors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.cuda.precision import PRECISIONS, Precision

SMALLEST_PARTITION = 8
MOST_PARTITIONS = 4
DEMANDS = ("graph", "counters")
# the size of a partition that takes what the others of its split leave
REST = "rest"
# the split of a target whose value has `partitions` and no `splits`
ONLY_SPLIT = "partitions"


Size = int | Fraction | None
"""How many multiprocessors (SMs) a partition asks for: a count, a share of the GPU, or None for all that are left."""


def share_of(sms: object) -> Fraction | None:
    """Return the share of the GPU that ``25%`` and the like ask for, None for anything else."""
    if not (isinstance(sms, str) and sms.endswith("%") and sms[:-1].isdecimal()):
        return None
    return Fraction(int(sms[:-1]), 100)


@dataclass(frozen=True)
class Partition:
    """One accelerator: its size, and how it computes."""

    name: str
    sms: Size
    precision: Precision


@dataclass(frozen=True)
class CudaSpec:
    """A checked value of `targets:`; `splits` maps the name of a split to its partitions, which are disjoint; `demand`
    is one of `DEMANDS`; `large_clusters` keeps more SMs together."""

    device: int
    batch: int
    splits: Mapping[str, tuple[Partition, ...]]
    demand: str = "graph"
    large_clusters: bool = False

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The partitions of every split, in the order of the configuration."""
        return tuple(partition for partitions in self.splits.values() for partition in partitions)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The different precisions, in the order of the configuration."""
        return tuple(dict.fromkeys(partition.precision.name for partition in self.partitions))

    @classmethod
    def of(cls, target: str, value: Mapping[str, Any]) -> "CudaSpec":
        """Return the spec in `value` of the target named `target`.

        Raises:
            InputError: a key has a wrong value, there is no split, or two splits give a partition the same name.
        """
        place = f"target {target!r}"
        splits: dict[str, Mapping[str, Any]] = {}
        if value.get("partitions"):
            splits[ONLY_SPLIT] = value["partitions"]
        splits |= value.get("splits") or {}
        if not splits:
            raise InputError(f"{place}: there are no partitions; give `partitions` or `splits`")
        checked = {split: _partitions(f"{place}, {split}", listed) for split, listed in splits.items()}
        names = [partition.name for partitions in checked.values() for partition in partitions]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{place}: two splits have a partition {name!r}; names must differ across splits")
        demand = value.get("demand", "graph")
        if demand not in DEMANDS:
            raise InputError(f"{place}: demand is {demand!r}, expected one of {', '.join(DEMANDS)}")
        return cls(
            _natural(place, value, "device", 0, 0),
            _natural(place, value, "batch", 1, 1),
            checked,
            demand,
            bool(value.get("large_clusters", False)),
        )

    def only(self, split: str) -> "CudaSpec":
        """Return the spec with one of its splits."""
        return replace(self, splits={split: self.splits[split]})


def _natural(place: str, value: Mapping[str, Any], key: str, default: int, least: int) -> int:
    found = value.get(key, default)
    if not isinstance(found, int) or isinstance(found, bool) or found < least:
        raise InputError(f"{place}: {key} is {found!r}, expected a whole number of at least {least}")
    return found


def _partitions(place: str, listed: Mapping[str, Any]) -> tuple[Partition, ...]:
    if not 1 <= len(listed) <= MOST_PARTITIONS:
        raise InputError(f"{place}: {len(listed)} partitions, expected 1 to {MOST_PARTITIONS}")
    partitions = []
    for name, entry in listed.items():
        share = share_of(entry.get("sms"))
        if entry.get("sms") == REST:
            sms: Size = None
        elif share is not None and 0 < share < 1:
            sms = share
        else:
            sms = _natural(f"{place}.{name}", entry, "sms", 0, SMALLEST_PARTITION)
        precision = entry.get("precision", "fp32")
        if precision not in PRECISIONS:
            raise InputError(f"{place}.{name}: precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
        partitions.append(Partition(str(name), sms, Precision(precision)))
    if sum(partition.sms is None for partition in partitions) > 1:
        raise InputError(f"{place}: two partitions take the {REST}; only one can")
    return tuple(partitions)
