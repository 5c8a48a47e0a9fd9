"""The `recorded` target: tables measured elsewhere, for schedules and predictions without the board.

`write_tables` loads lazily, so that the artifact's answer can be asked for without reading or writing tables.
"""

from typing import TYPE_CHECKING, Any

from multidnn.targets.recorded.answer import artifact_answers, artifact_choice

if TYPE_CHECKING:
    from multidnn.targets.recorded.tables import write_tables

__all__ = ["artifact_answers", "artifact_choice", "write_tables"]


def __getattr__(name: str) -> Any:
    if name == "write_tables":
        from multidnn.targets.recorded.tables import write_tables

        return write_tables
    raise AttributeError(f"module 'multidnn.targets.recorded' has no attribute {name!r}")
