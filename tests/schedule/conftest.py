"""What every test of the schedulers needs."""

import pytest

from multidnn.schedule.compiled.loading import load


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """Of processes that begin together one compiles for all."""
    load()
