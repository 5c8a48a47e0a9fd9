"""trtexec's layer profile: the JSON of --exportProfile and the table of --dumpProfile, TensorRT 7.1 to 11."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers.names import Kind, split_name
from multidnn.targets.jetson.parsers.text import NUMBER, LogLine, amount, json_items, log_lines, member, read_log

HEADING = re.compile(r"=== Profile \((\d+) iterations\s*\) ===")
# 7.1 to 8.2 without the median; 8.4 and 8.5 with it; 8.6 and later in other words and with the name last
_COLUMNS = {
    "layer": "layer",
    "time(ms)": "total",
    "avg.time(ms)": "average",
    "avg.(ms)": "average",
    "mediantime(ms)": "median",
    "median(ms)": "median",
    "time%": "percentage",
    "time(%)": "percentage",
}


@dataclass(frozen=True)
class ProfileLayer:
    """One entry of a profile. `time_ms` is per iteration, `total_ms` over all, `median_ms` None before 8.4.

    `parts`, `kind` and `complete` are what `names.split_name` reads from the name.
    """

    name: str
    parts: tuple[str, ...]
    kind: Kind
    complete: bool
    time_ms: float
    median_ms: float | None
    total_ms: float
    line: int = field(compare=False, repr=False)


@dataclass(frozen=True)
class Profile:
    """A layer profile in execution order, averaged over `iterations`; `place` is the file, for messages."""

    iterations: int
    layers: tuple[ProfileLayer, ...]
    place: str = field(compare=False, repr=False)

    def at(self, layer: ProfileLayer) -> str:
        """Return where `layer` stands: FILE:LINE."""
        return f"{self.place}:{layer.line}"


def _layer(name: str, time_ms: float, median_ms: float | None, total_ms: float, line: int) -> ProfileLayer:
    said = split_name(name)
    return ProfileLayer(name, said.parts, said.kind, said.complete, time_ms, median_ms, total_ms, line)


def _decimals(text: str) -> int:
    mantissa, _, exponent = text.lower().partition("e")
    return len(mantissa.partition(".")[2]) - int(exponent or 0)


def read(path: Path) -> Profile:
    """Return the profile in the file at `path`, be it JSON or a log with the table."""
    return parse(read_log(path), str(path))


def parse(text: str, place: str) -> Profile:
    """Return the profile in `text`: the JSON of --exportProfile or a log that holds the table of --dumpProfile.

    Raises:
        InputError: it is neither, it is truncated, or a number is negative, not finite or missing.
    """
    if re.match(r"\s*\[\s*(?:[{\]]|$)", text):
        return _profile(json_items(text, place), place)
    lines = log_lines(text)
    profile = find_table(lines, place)
    if profile is None:
        found = next(line for line in lines if line.message.strip())
        raise InputError(
            f"{place}:{found.number}: found no profile; expected the JSON of --exportProfile or a log with the table of "
            "--dumpProfile ('=== Profile (N iterations ) ===')"
        )
    return profile


def from_entries(entries: Sequence[object], place: str) -> Profile:
    """Return the profile in a list as --exportProfile writes it, already read; `place` names it, entries count from 1."""
    return _profile(enumerate(entries, 1), place)


def _profile(items: Iterable[tuple[int, object]], place: str) -> Profile:
    iterations: int | None = None
    layers: list[ProfileLayer] = []
    line = 1
    for line, item in items:
        at = f"{place}:{line}"
        if not isinstance(item, dict):
            raise InputError(f"{at}: found a JSON {type(item).__name__}, expected an object of --exportProfile")
        if iterations is None:
            if "count" not in item:
                raise InputError(f"{at}: found no 'count', expected {{\"count\": N}} before the first layer")
            count = member(item, "count", at)
            if count < 1 or count != int(count):
                raise InputError(f"{at}: 'count' is {count:g}, expected the number of iterations, at least 1")
            iterations = int(count)
            continue
        name = item.get("name")
        if not isinstance(name, str) or not name:
            raise InputError(f"{at}: 'name' is {name!r}, expected the name of a layer")
        median = member(item, "medianMs", at) if "medianMs" in item else None
        layers.append(_layer(name, member(item, "averageMs", at), median, member(item, "timeMs", at), line))
    if iterations is None or not layers:
        raise InputError(f"{place}:{line}: the profile holds no layer; trtexec writes one object per layer")
    return Profile(iterations, tuple(layers), place)


def find_table(lines: Sequence[LogLine], place: str) -> Profile | None:
    """Return the profile whose table is among the lines of a log, None if there is none.

    A mean per iteration is the total over the number of iterations wherever that has more digits than the printed mean
    (7.1 prints two decimals).

    Raises:
        InputError: two tables, unknown columns, a row that does not fit, or no row 'Total' (the log is truncated).
    """
    heads = [(index, found) for index, line in enumerate(lines) if (found := HEADING.search(line.message))]
    if not heads:
        return None
    if len(heads) > 1:
        raise InputError(f"{place}:{lines[heads[1][0]].number}: a second profile; expected one per log")
    start, heading = heads[0]
    iterations = int(heading[1])
    if iterations < 1:
        raise InputError(f"{place}:{lines[start].number}: a profile of {iterations} iterations, expected at least 1")
    columns = _header(lines[start + 1] if start + 1 < len(lines) else None, lines[start], place)
    numbers = [column for column in columns if column != "layer"]
    cells = r"\s{2,}".join([f"({NUMBER})"] * len(numbers))
    name_last = columns[-1] == "layer"
    row = re.compile(rf"\s*{cells}\s{{2,}}(?P<name>\S.*)" if name_last else rf"\s*(?P<name>\S.*?)\s{{2,}}{cells}")
    layers: list[ProfileLayer] = []
    line = lines[start + 1]
    for line in lines[start + 2 :]:
        at = f"{place}:{line.number}"
        found = row.fullmatch(line.message)
        if not found:
            break
        texts = dict(zip(numbers, (found[i + (2 if not name_last else 1)] for i in range(len(numbers))), strict=True))
        values = {column: amount(text, at, f"the {column} of {found['name']!r}") for column, text in texts.items()}
        finer = _decimals(texts["total"]) + len(str(iterations)) - 1 >= _decimals(texts["average"])
        time_ms = values["total"] / iterations if finer else values["average"]
        layers.append(_layer(found["name"], time_ms, values.get("median"), values["total"], line.number))
    if layers and layers[-1].name == "Total":
        total = layers.pop()
        added = sum(layer.total_ms for layer in layers)
        if layers and abs(added - total.total_ms) <= 1e-4 * total.total_ms + 0.01 * (len(layers) + 1):
            return Profile(iterations, tuple(layers), place)
        raise InputError(
            f"{place}:{total.line}: the rows add up to {added:.2f} ms, the row Total says {total.total_ms:.2f}; "
            "rows are missing"
        )
    if line.message.strip():
        raise InputError(
            f"{place}:{line.number}: found {line.message.strip()[:60]!r}, expected a row of the profile: "
            f"{', '.join(columns)}, at least two spaces apart"
        )
    raise InputError(f"{place}:{line.number}: the profile ends without its row Total; the log is truncated")


def _header(line: LogLine | None, heading: LogLine, place: str) -> list[str]:
    if line is None:
        raise InputError(f"{place}:{heading.number}: the profile ends after its heading; the log is truncated")
    found = [cell for cell in re.split(r"\s{2,}", line.message.strip()) if cell]
    columns = [_COLUMNS.get(cell.replace(" ", "").lower(), "") for cell in found]
    wanted = {"layer", "total", "average", "percentage"}
    if "" in columns or not wanted <= set(columns) or "layer" not in (columns[0], columns[-1]):
        raise InputError(
            f"{place}:{line.number}: found the columns {', '.join(found) or 'none'}, expected 'Layer  Time (ms)  Avg. Time "
            "(ms)  [Median Time (ms)]  Time %' or 'Time(ms)  Avg.(ms)  Median(ms)  Time(%)  Layer'"
        )
    return columns
