"""Placing the groups of several networks on accelerators: the model, its simulator and the schedulers.

The public names load lazily, so that importing the package costs nothing until a table is read or Z3 is asked.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multidnn.schedule.alternative import Alternatives, alternatives, with_alternatives
    from multidnn.schedule.anytime import Incumbent, improve
    from multidnn.schedule.artifact import artifact_schedule
    from multidnn.schedule.chip import streams, whole
    from multidnn.schedule.explanation import Explanation, explain
    from multidnn.schedule.problem import Infeasible, Problem
    from multidnn.schedule.schedule import Schedule, evaluate
    from multidnn.schedule.solving import SCHEDULERS, SEARCHED, solve
    from multidnn.schedule.timeline import Activity, Deadlock, SegmentInterval, Timeline
    from multidnn.schedule.workload import Instance, Workload

_HOME = {
    "Activity": "timeline",
    "Alternatives": "alternative",
    "Deadlock": "timeline",
    "Explanation": "explanation",
    "Incumbent": "anytime",
    "Infeasible": "problem",
    "Instance": "workload",
    "Problem": "problem",
    "SCHEDULERS": "solving",
    "SEARCHED": "solving",
    "Schedule": "schedule",
    "SegmentInterval": "timeline",
    "Timeline": "timeline",
    "Workload": "workload",
    "alternatives": "alternative",
    "artifact_schedule": "artifact",
    "evaluate": "schedule",
    "explain": "explanation",
    "improve": "anytime",
    "solve": "solving",
    "streams": "chip",
    "whole": "chip",
    "with_alternatives": "alternative",
}

__all__ = [
    "SCHEDULERS",
    "SEARCHED",
    "Activity",
    "Alternatives",
    "Deadlock",
    "Explanation",
    "Incumbent",
    "Infeasible",
    "Instance",
    "Problem",
    "Schedule",
    "SegmentInterval",
    "Timeline",
    "Workload",
    "alternatives",
    "artifact_schedule",
    "evaluate",
    "explain",
    "improve",
    "solve",
    "streams",
    "whole",
    "with_alternatives",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"multidnn.schedule.{_HOME[name]}"), name)
    raise AttributeError(f"module 'multidnn.schedule' has no attribute {name!r}")
