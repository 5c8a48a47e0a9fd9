"""The JSON beside each measured table: raw samples and everything needed to judge or repeat them."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import multidnn
from multidnn.files import write_json
from multidnn.measure.options import MeasureOptions


class Described(Protocol):
    """What can say of itself what a reader of a result must know: any target."""

    def facts(self) -> dict[str, Any]:
        """See `Target.facts`."""
        ...

    def clocks(self) -> dict[str, Any]:
        """See `Target.clocks`."""
        ...


def environment(target: Described) -> dict[str, Any]:
    """Return facts about the target and the software, at this moment; `system` is where this process runs."""
    return {
        "target": target.facts(),
        "versions": {"multidnn": multidnn.__version__, "python": platform.python_version()},
        "system": {"kernel": platform.release(), "machine": platform.machine(), "cores": os.cpu_count()},
        "clocks": target.clocks(),
        "load_average": list(os.getloadavg()),
        "git_commit": _git_commit(),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_sidecar(table: Path, target: Described, options: MeasureOptions, content: Mapping[str, Any]) -> None:
    """Write the sidecar of `table` (same stem, .json): `content` beside the environment and the sampling options."""
    write_json(
        Path(table).with_suffix(".json"),
        {"statistic": "median", "sampling": asdict(options), "environment": environment(target), **content},
    )


def _git_commit() -> str | None:
    """Return the commit of the checkout that this package lies in, or None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
