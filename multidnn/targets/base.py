"""What every target is to the rest of the pipeline: a name, a kind, accelerators, facts, and what it can do."""

from typing import Any, Protocol

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork, GroupModel


class Target(Protocol):
    """One machine under one configuration (a key of `targets:` in config.yaml)."""

    name: str
    kind: str
    capabilities: frozenset[str]

    @property
    def accelerators(self) -> tuple[str, ...]:
        """Names of the processing units, in the order of the configuration."""
        ...

    def facts(self) -> dict[str, Any]:
        """What a reader of a result must know about the machine: per accelerator its runtime, cores, versions."""
        ...

    def unsupported(self, network: ExportedNetwork, group: GroupModel, accelerator: str) -> str | None:
        """Return why `accelerator` cannot run `group`, or None if it can."""
        ...


def require(target: Target, capability: str) -> None:
    """Raise `InputError` unless `target` has `capability`."""
    if capability not in target.capabilities:
        raise InputError(
            f"target {target.name!r} (kind {target.kind}) cannot do {capability!r}; "
            f"it can do: {', '.join(sorted(target.capabilities))}"
        )
