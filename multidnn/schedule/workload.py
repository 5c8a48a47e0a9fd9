"""A workload: the instances of networks that run together, what must finish before what, and the objective."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal, get_args

from multidnn.errors import InputError, suggestion
from multidnn.files import read_yaml

Objective = Literal["latency", "throughput"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)

# names become file names, CSV cells and figure labels
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Instance:
    """One run of `network`, called `name`; it starts after every instance named in `after` has finished."""

    name: str
    network: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Workload:
    """Instances that run together, in the order given, and the objective (docs/semantics.md, rules 1 and 7)."""

    name: str
    objective: Objective
    instances: tuple[Instance, ...]

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks used, each once, in order of first use."""
        return tuple(dict.fromkeys(instance.network for instance in self.instances))

    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """For each instance, the indices of the instances in its `after`."""
        index = {instance.name: i for i, instance in enumerate(self.instances)}
        return tuple(tuple(index[name] for name in instance.after) for instance in self.instances)

    def twins(self) -> tuple[int, ...]:
        """For each instance, the first one that it could trade places with unnoticed (itself if there is none before).

        Twins run the same network, wait for the same instances and are waited for by the same.
        """
        waits = self.predecessors()
        first: dict[tuple[str, frozenset[int], frozenset[int]], int] = {}
        return tuple(
            first.setdefault(
                (instance.network, frozenset(waits[i]), frozenset(j for j, others in enumerate(waits) if i in others)),
                i,
            )
            for i, instance in enumerate(self.instances)
        )

    def sequence(self) -> tuple[int, ...]:
        """Instance indices, one after another: the order listed, each moved behind the instances it waits for."""
        waits, done = self.predecessors(), list[int]()
        while len(done) < len(waits):
            done.append(next(i for i in range(len(waits)) if i not in done and set(waits[i]) <= set(done)))
        return tuple(done)

    def with_objective(self, objective: str) -> "Workload":
        """The same workload under another objective; an unknown one is an `InputError`."""
        return replace(self, objective=_objective(objective, "--objective"))

    @classmethod
    def read(cls, path: Path) -> "Workload":
        """Read W.yaml (docs/formats.md); `InputError` names the file and the key."""
        return cls.from_dict(read_yaml(path), str(path))

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], place: str) -> "Workload":
        """Build a workload from the list form ``{name, objective, instances: [{name, network, after}]}``.

        Args:
            mapping: the form of W.yaml; `objective` defaults to latency, `after` to none.
            place: where it came from, put in front of every message.

        Raises:
            InputError: an unknown or missing key, a bad or repeated name, an unknown name in `after`, or a cycle.
        """
        _closed(mapping, ("name", "objective", "instances"), ("name", "instances"), place)
        listed = mapping["instances"]
        if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
            raise InputError(f"{place}: instances: found {listed!r}, expected a list of at least one instance")
        instances = tuple(_instance(entry, f"{place}: instances[{i}]") for i, entry in enumerate(listed))
        names = [instance.name for instance in instances]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise InputError(f"{place}: instances[{i}].name: {name!r} is already the name of another instance")
        for i, instance in enumerate(instances):
            for other in instance.after:
                if other not in names:
                    raise InputError(
                        f"{place}: instances[{i}].after: found {other!r}, expected one of {', '.join(names)}"
                        + suggestion(other, names)
                    )
        try:
            TopologicalSorter({instance.name: instance.after for instance in instances}).prepare()
        except CycleError as error:
            cycle = " -> ".join(reversed(error.args[1]))
            raise InputError(f"{place}: instances wait for each other in a cycle through `after`: {cycle}") from None
        objective = _objective(mapping.get("objective", "latency"), f"{place}: objective")
        return cls(_name(mapping["name"], f"{place}: name"), objective, instances)

    def to_dict(self) -> dict[str, Any]:
        """The list form that `from_dict` reads."""
        return {
            "name": self.name,
            "objective": self.objective,
            "instances": [
                {"name": entry.name, "network": entry.network, "after": list(entry.after)} for entry in self.instances
            ],
        }


def _objective(found: Any, place: str) -> Objective:
    if found == "latency":
        return "latency"
    if found == "throughput":
        return "throughput"
    raise InputError(f"{place}: found {found!r}, expected one of {', '.join(OBJECTIVES)}")


def _name(found: Any, place: str) -> str:
    if isinstance(found, str) and _NAME.fullmatch(found):
        return found
    raise InputError(f"{place}: found {found!r}, expected letters, digits and . _ + - (a letter or digit first)")


def _closed(mapping: Any, allowed: Sequence[str], required: Sequence[str], place: str) -> None:
    if not isinstance(mapping, Mapping):
        raise InputError(f"{place}: found {mapping!r}, expected a mapping with the keys {', '.join(allowed)}")
    for key in mapping:
        if key not in allowed and key != "format":
            raise InputError(
                f"{place}: unknown key {key!r}, expected {', '.join(allowed)}" + suggestion(str(key), allowed)
            )
    for key in required:
        if key not in mapping:
            raise InputError(f"{place}: the key {key!r} is missing")


def _instance(entry: Any, place: str) -> Instance:
    _closed(entry, ("name", "network", "after"), ("name", "network"), place)
    after = entry.get("after")
    if after is None:
        after = []
    if isinstance(after, str) or not isinstance(after, Sequence) or not all(isinstance(name, str) for name in after):
        raise InputError(f"{place}.after: found {after!r}, expected a list of instance names")
    if len(set(after)) != len(after):
        raise InputError(f"{place}.after: found {list(after)!r}, a name is repeated")
    return Instance(_name(entry["name"], f"{place}.name"), _name(entry["network"], f"{place}.network"), tuple(after))
