"""TensorRT's log, kept as lines in trtexec's format: `[11/27/2026-10:40:56] [W] [TRT] text`."""

from __future__ import annotations

import time
from typing import Any

# of verbose lines, which can be hundreds of thousands, only those are kept that say where a layer went
_VERBOSE_KEPT = ("[DlaLayer]", "[GpuLayer]", "Layers Running on", "offloaded to DLA", "DLA node candidates")


class LogLines:
    """The lines of one log; `since` gives those after a mark."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, letter: str, text: str) -> None:
        """Keep `text` at severity `letter` (E, W, I or V); text of several lines becomes several."""
        if letter == "V" and not any(kept in text for kept in _VERBOSE_KEPT):
            return
        stamp = time.strftime("%m/%d/%Y-%H:%M:%S")
        self.lines.extend(f"[{stamp}] [{letter}] [TRT] {line}" for line in text.splitlines())

    def mark(self) -> int:
        """Return the present end."""
        return len(self.lines)

    def since(self, mark: int) -> list[str]:
        """Return the lines added after `mark`."""
        return self.lines[mark:]

    def errors(self, mark: int = 0) -> str:
        """Return the errors after `mark` as one line; says so if there are none."""
        found = [text_of(line) for line in self.since(mark) if "] [E] [TRT] " in line]
        return "; ".join(found[-3:]) if found else "TensorRT's log holds no error"


def text_of(line: str) -> str:
    """Return a line without its prefix."""
    return line.split(" [TRT] ", 1)[-1]


def make_logger(lines: LogLines) -> Any:
    """Return a tensorrt.ILogger that adds to `lines`."""
    import tensorrt as trt

    letters = {
        trt.ILogger.Severity.INTERNAL_ERROR: "E",
        trt.ILogger.Severity.ERROR: "E",
        trt.ILogger.Severity.WARNING: "W",
        trt.ILogger.Severity.INFO: "I",
        trt.ILogger.Severity.VERBOSE: "V",
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            # TensorRT's classes are not initialised by super() across their bindings
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            lines.add(letters[severity], msg)

    return Logger()
