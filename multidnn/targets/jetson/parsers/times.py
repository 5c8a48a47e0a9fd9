"""trtexec's --exportTimes: when each inference was enqueued, copied in, computed and copied out."""

from dataclasses import dataclass, replace
from pathlib import Path

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers.text import json_items, member, read_log


@dataclass(frozen=True)
class Inference:
    """One inference, in ms since trtexec's zero; enqueue is host time, the others are GPU time.

    `latency_ms` is copying in + computing + copying out; `end_to_end_ms` is None from 8.4 on, which no longer writes it.
    """

    enqueue_start_ms: float
    enqueue_end_ms: float
    h2d_start_ms: float
    h2d_end_ms: float
    compute_start_ms: float
    compute_end_ms: float
    d2h_start_ms: float
    d2h_end_ms: float
    h2d_ms: float
    compute_ms: float
    d2h_ms: float
    latency_ms: float
    end_to_end_ms: float | None = None


# our fields in order <- the keys of 8.0 and later
_NEW = (
    "startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs",
    "h2dMs", "computeMs", "d2hMs", "latencyMs",
)  # fmt: skip
# 7.1 and 7.2 write the times of the copy under Enq and those of the enqueue under In
_OLD = (
    "startInMs", "endInMs", "startEnqMs", "endEnqMs", "startComputeMs", "endComputeMs", "startOutMs", "endOutMs",
    "inMs", "computeMs", "outMs", "latencyMs",
)  # fmt: skip


def read(path: Path) -> list[Inference]:
    """Return the inferences in the JSON file at `path`."""
    return parse(read_log(path), str(path))


def parse(text: str, place: str) -> list[Inference]:
    """Return the inferences in the JSON that --exportTimes wrote, 7.1 to 11.

    Raises:
        InputError: not such a file, truncated, a number missing, or an end before its start.
    """
    inferences: list[Inference] = []
    line = 1
    for line, item in json_items(text, place):
        at = f"{place}:{line}"
        if not isinstance(item, dict):
            raise InputError(f"{at}: found a JSON {type(item).__name__}, expected an object of --exportTimes")
        keys = _OLD if "startInMs" in item else _NEW
        values = [member(item, key, at) for key in keys]
        for start, end in zip(keys[:8:2], keys[1:8:2], strict=True):
            if item[end] < item[start]:
                raise InputError(f"{at}: {end!r} is {item[end]:g}, before {start!r}, {item[start]:g}")
        end_to_end = member(item, "endToEndMs", at) if "endToEndMs" in item else None
        inferences.append(replace(Inference(*values), end_to_end_ms=end_to_end))
    if not inferences:
        raise InputError(f"{place}:{line}: the list is empty, expected one object per inference")
    return inferences
