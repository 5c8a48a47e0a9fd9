"""Where the samples are: our own, and those recorded on boards, which not every checkout has beside it."""

from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent / "samples"
RECORDED = Path(__file__).parents[5] / "shared" / "fixtures"


def recorded(name: str) -> Path:
    """Return the recorded file `name`, or skip the test where recordings are not beside the repository."""
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"recorded file {name} is not here (expected ../shared/fixtures beside the repository)")
    return path
