"""Processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from typing import Any

# sys/prctl.h
_PR_SET_PDEATHSIG = 1
_prctl: Any = ctypes.CDLL(None, use_errno=True).prctl


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent, the process `parent`, ends, however that ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # it may have ended before the kernel was asked
    if os.getppid() != parent:
        os._exit(1)


def end_at_eof(descriptor: int) -> None:
    """End this process, and with it its workers, as soon as `descriptor` reaches its end (a lost connection, say)."""

    def watch() -> None:
        try:
            while os.read(descriptor, 4096):
                pass
        except OSError:
            pass
        sys.stderr.write("error: the connection to the caller was lost; everything was ended\n")
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
