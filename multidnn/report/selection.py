"""Which networks of a table a figure shows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from multidnn.errors import InputError


def chosen_networks(path: Path, found: Iterable[str], wanted: Sequence[str] | None) -> list[str]:
    """Return `wanted`, or every network `found` in the table at `path`, each once, in the table's order.

    Raises:
        InputError: one of `wanted` is not there, or there is nothing to draw.
    """
    known = list(dict.fromkeys(found))
    chosen = known if wanted is None else list(wanted)
    if missing := [name for name in chosen if name not in known]:
        raise InputError(f"{path}: no rows for {', '.join(missing)}; found {', '.join(known) or 'none'}")
    if not chosen:
        raise InputError(f"{path}: no rows to draw")
    return chosen
