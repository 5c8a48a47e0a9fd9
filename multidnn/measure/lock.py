"""One measurement at a time on this machine, also across separate invocations."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_log = logging.getLogger(__name__)


@contextmanager
def machine_lock() -> Iterator[None]:
    """Hold the machine's measurement lock; while another process holds it, say so and wait."""
    path = Path(tempfile.gettempdir()) / "multidnn-measurement.lock"
    # every user of the machine must be able to take the same lock
    lock = FileLock(path, mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("another measurement is running on this machine (lock %s); process %d waits", path, os.getpid())
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
