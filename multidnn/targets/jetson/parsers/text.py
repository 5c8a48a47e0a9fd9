"""Reading a log: refusing what is no text, trtexec's line prefix, and JSON values with the line that each began in."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multidnn.errors import InputError
from multidnn.files import read_text

# a time stamp (absent up to 7.x unless asked for; twice where threads collide) and the severity
_PREFIX = re.compile(r"(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] ?)*\[([IWVEF])\](?: |$)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf)"


@dataclass(frozen=True)
class LogLine:
    """One line of a log: its number from 1, its severity (I, W, V, E, F; empty where it has none) and the rest."""

    number: int
    severity: str
    message: str


def read_log(path: Path) -> str:
    """Return the text of the log at `path`; a missing, binary or empty file is an `InputError`."""
    text = read_text(path).removeprefix("\ufeff")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}:{line}: found a zero byte, expected the text of a log; this is a binary file")
    if not text.strip():
        raise InputError(f"{path}:1: the file is empty, expected the text of a log")
    return text


def log_lines(text: str) -> list[LogLine]:
    """Return the lines of `text` without colours and without trtexec's prefix (time stamp and severity)."""
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        plain = _COLOUR.sub("", line).rstrip()
        prefix = _PREFIX.match(plain)
        lines.append(LogLine(number, prefix[1], plain[prefix.end() :]) if prefix else LogLine(number, "", plain))
    return lines


def amount(text: str, place: str, what: str) -> float:
    """Return `text` as a finite number that is not negative; `what` names it in the error."""
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{place}: {what} is {text!r}, expected a number") from None
    if not math.isfinite(number) or number < 0:
        raise InputError(f"{place}: {what} is {text}, expected a finite number that is not negative")
    return number


def member(item: dict[str, Any], key: str, place: str) -> float:
    """Return the number under `key` of a JSON object: finite and not negative."""
    if key not in item:
        raise InputError(f"{place}: has no {key!r}; found {', '.join(map(repr, item)) or 'an empty object'}")
    value = item[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{place}: {key!r} is {json.dumps(value)}, expected a number")
    return amount(str(value), place, repr(key))


def json_items(text: str, place: str, start: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield the elements of the JSON list that begins at `start` in `text`, each with the line that it begins in.

    Element by element, because json.loads does not say where a value stood.
    """
    decoder = json.JSONDecoder()

    def skip(position: int) -> int:
        while position < len(text) and text[position].isspace():
            position += 1
        return position

    def line(position: int) -> int:
        return text.count("\n", 0, position) + 1

    def wrong(position: int, expected: str) -> InputError:
        if position >= len(text):
            return InputError(f"{place}:{line(position)}: the file ends here, expected {expected}; it is truncated")
        found = text[position : position + 20].split("\n")[0]
        return InputError(f"{place}:{line(position)}: found {found!r}, expected {expected}")

    position = skip(start)
    if text[position : position + 1] != "[":
        raise wrong(position, "'[', the beginning of a JSON list")
    position = skip(position + 1)
    if text[position : position + 1] == "]":
        return
    while True:
        try:
            value, end = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            # cut off inside a value, which the decoder reports at the end or where an open string began
            rest = text[error.pos :]
            why = "; it is truncated" if not rest.strip() or "Unterminated" in error.msg else ""
            raise InputError(f"{place}:{line(error.pos)}: not valid JSON ({error.msg}){why}") from None
        except (RecursionError, ValueError) as error:
            raise InputError(f"{place}:{line(position)}: JSON that no tool here writes ({error})") from None
        yield line(position), value
        position = skip(end)
        mark = text[position : position + 1]
        if mark == "]":
            return
        if mark != ",":
            raise wrong(position, "',' or ']' after a value of a JSON list")
        position = skip(position + 1)
