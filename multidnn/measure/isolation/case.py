"""What is measured: the network to protect, those beside it, and the conditions that they run under."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multidnn.targets.base import Service


@dataclass(frozen=True)
class IsolationOptions:
    """How much is measured (beside `protected` and `beside` in an entry of `isolation` in config.yaml).

    Attributes:
        requests: per condition.
        blocks: in how many parts, with the other conditions between them; no more than requests.
        warmup: requests before each block that are not counted.
        seed: of the inputs, and of the order of conditions in each round.
    """

    requests: int = 1000
    blocks: int = 10
    warmup: int = 5
    seed: int = 2024

    def sizes(self) -> list[int]:
        """Return how many requests each block has."""
        blocks = min(self.blocks, self.requests)
        return [self.requests // blocks + (number < self.requests % blocks) for number in range(blocks)]


@dataclass(frozen=True)
class Condition:
    """A way to run the protected network.

    Attributes:
        protected: it, and where.
        beside: what runs beside it over and over, and where.
        urgent: whether it goes ahead of them.
    """

    protected: Service
    beside: tuple[Service, ...] = ()
    urgent: bool = False


@dataclass(frozen=True)
class IsolationCase:
    """A network to protect and others beside it.

    Attributes:
        name: key in config.yaml.
        protected: instance of the network whose latency counts, and the accelerator that is its own.
        beside: the others, and the accelerators that they have where there are partitions.
        networks: instance to network.
    """

    name: str
    protected: Service
    beside: tuple[Service, ...]
    networks: Mapping[str, str]

    @classmethod
    def of(cls, name: str, protected: Mapping[str, str], beside: Mapping[str, list[str]]) -> "IsolationCase":
        """Return the case of an entry of config.yaml; instances are named after their networks, a second one `NAME-2`."""
        networks: dict[str, str] = {}

        def instance(network: str) -> str:
            chosen, number = network, 1
            while chosen in networks:
                number += 1
                chosen = f"{network}-{number}"
            networks[chosen] = network
            return chosen

        kept = Service(instance(protected["network"]), protected["accelerator"])
        others = [Service(instance(network), where) for where, listed in beside.items() for network in listed]
        return cls(name, kept, tuple(others), networks)

    def conditions(self) -> dict[str, Condition]:
        """Return the conditions to measure under; the first is what the others are compared with."""
        chip = Service(self.protected.instance)
        on_chip = tuple(Service(service.instance) for service in self.beside)
        return {
            "alone": Condition(chip),
            "alone_on_partition": Condition(self.protected),
            "streams": Condition(chip, on_chip),
            "priority": Condition(chip, on_chip, urgent=True),
            "partitions": Condition(self.protected, self.beside),
        }


def described(case: IsolationCase) -> dict[str, Any]:
    """Return what a result file says of a case."""
    beside: dict[str, list[str]] = {}
    for service in case.beside:
        beside.setdefault(str(service.accelerator), []).append(service.instance)
    return {
        "name": case.name,
        "protected": {"instance": case.protected.instance, "accelerator": case.protected.accelerator},
        "beside": beside,
        "networks": dict(case.networks),
    }
