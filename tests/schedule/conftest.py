"""What every test of the schedulers needs."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _compiled(compiled: None) -> None:
    """Here every test has use for it."""
