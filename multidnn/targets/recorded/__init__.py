"""The `recorded` target: tables measured elsewhere, for schedules and predictions without the board."""

from multidnn.targets.recorded.tables import artifact_choice, write_tables

__all__ = ["artifact_choice", "write_tables"]
