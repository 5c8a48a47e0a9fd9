"""One measurement at a time for a user of this machine, also across separate invocations."""

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
    """Hold the measurement lock of this user; while another process holds it, say so and wait.

    The lock lies in the directory for temporary files. Users do not share one: a kernel that protects regular files in
    such directories lets nobody open another user's.
    """
    lock = FileLock(path := Path(tempfile.gettempdir()) / f"multidnn-measurement-{os.getuid()}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("another measurement is running on this machine (lock %s); process %d waits", path, os.getpid())
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
