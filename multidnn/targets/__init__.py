"""Opening a target of config.yaml by its kind; nothing of another kind is imported."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multidnn.errors import InputError, suggestion

if TYPE_CHECKING:
    from multidnn.targets.base import Target

KINDS = ("host", "cuda", "recorded")


def open_target(name: str, spec: Mapping[str, Any]) -> "Target":
    """Return the target `name` that can be measured, from its value in `targets:`.

    Raises:
        InputError: the kind is unknown, has no machine behind it, or the machine does not fit the value.
    """
    kind = spec.get("kind")
    if kind == "host":
        from multidnn.targets.host.target import HostTarget

        return HostTarget(name, spec)
    if kind == "cuda":
        from multidnn.targets.cuda.target import CudaTarget

        return CudaTarget(name, spec)
    if kind == "recorded":
        raise InputError(
            f"target {name!r} holds tables recorded elsewhere: it has schedules and predictions, and nothing to "
            "measure or run"
        )
    raise InputError(f"target {name!r}: kind {kind!r} is unknown{suggestion(str(kind), KINDS)}; known: {KINDS}")
