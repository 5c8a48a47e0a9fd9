"""trtexec's own output: how it was called, whether it passed, the performance summary and the layer profile."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers import profile as profiles
from multidnn.targets.jetson.parsers.profile import Profile
from multidnn.targets.jetson.parsers.text import NUMBER, LogLine, amount, log_lines, read_log

_BANNER = re.compile(
    r"&&&& (RUNNING|PASSED|FAILED) TensorRT\.trtexec(?: \[TensorRT v(\d+)\])?(?: \[b\d+\])?(?: # (.*))?$"
)
_VERSION = re.compile(r"TensorRT version: (\d+\.\d+\.\d+)")
# 7.x: a heading and one statistic per line
_HEADINGS = {"Host Latency": "latency", "Enqueue Time": "enqueue", "GPU Compute": "gpu_compute"}
_OLD_STATISTIC = re.compile(
    rf"(min|max|mean|median|percentile): ({NUMBER}) ms(?: at ({NUMBER})%)?(?: \(end to end ({NUMBER}) ms(?: at {NUMBER}%)?\))?"
)
_OLD_VALUE = re.compile(rf"(throughput|walltime|total compute time): ({NUMBER}) (qps|s)")
# 8.0 and later: one line each
_LABELS = {
    "Latency": "latency",
    "End-to-End Host Latency": "end_to_end",
    "Enqueue Time": "enqueue",
    "H2D Latency": "h2d",
    "GPU Compute Time": "gpu_compute",
    "D2H Latency": "d2h",
}
_VALUES = {
    "Throughput": ("throughput_qps", "qps"),
    "Total Host Walltime": ("walltime_s", "s"),
    "Total GPU Compute Time": ("gpu_compute_total_s", "s"),
}
_NEW_LINE = re.compile(rf"({'|'.join([*_LABELS, *_VALUES])}): (.*)")
_NEW_STATISTIC = re.compile(rf"(min|max|mean|median|percentile\(({NUMBER})%\)) = ({NUMBER}) ms")


@dataclass(frozen=True)
class Statistics:
    """Times of all inferences in ms; `percentiles` from the percentage as text ("99") to ms; None: not printed."""

    min_ms: float | None = None
    max_ms: float | None = None
    mean_ms: float | None = None
    median_ms: float | None = None
    percentiles: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """The performance summary. `latency` is copying in, computing and copying out; None: this version prints none.

    `throughput_qps` is None where 7.x prints 0, which it does for any explicit batch.
    """

    throughput_qps: float | None = None
    latency: Statistics | None = None
    end_to_end: Statistics | None = None
    enqueue: Statistics | None = None
    h2d: Statistics | None = None
    gpu_compute: Statistics | None = None
    d2h: Statistics | None = None
    walltime_s: float | None = None
    gpu_compute_total_s: float | None = None


@dataclass(frozen=True)
class TrtexecLog:
    """One run of trtexec. `status` None: the text is an excerpt without the last banner; `errors`: its lines of level E."""

    status: str | None
    version: str | None
    command: str | None
    summary: Summary | None
    profile: Profile | None
    errors: tuple[str, ...]
    place: str = field(compare=False, repr=False)
    last_line: int = field(compare=False, repr=False)

    def require_passed(self) -> None:
        """Raise an `InputError` with the log's own error lines if trtexec failed."""
        if self.status == "failed":
            why = " | ".join(self.errors) or "the log does not say why"
            raise InputError(f"{self.place}:{self.last_line}: trtexec failed: {why}")

    def require_summary(self) -> Summary:
        """Return the performance summary, or raise an `InputError` that says why there is none."""
        self.require_passed()
        if self.summary is None:
            raise InputError(
                f"{self.place}:{self.last_line}: found no performance summary; from 8.4 to 10.3 trtexec prints none when it "
                "profiles layers (--dumpProfile, --exportProfile) without --separateProfileRun: add that option"
            )
        return self.summary

    def require_profile(self) -> Profile:
        """Return the layer profile, or raise an `InputError` that says how to get one."""
        self.require_passed()
        if self.profile is None:
            raise InputError(f"{self.place}:{self.last_line}: found no layer profile; run trtexec with --dumpProfile")
        return self.profile


def read(path: Path) -> TrtexecLog:
    """Return the run in the log at `path`."""
    return parse(read_log(path), str(path))


def version_of(digits: str, at: str = "") -> str:
    """Return the version in a banner's digits: "8502" is 8.5.2, "100300" is 10.3.0."""
    number = int(digits)
    if len(digits) == 4:
        return f"{number // 1000}.{number // 100 % 10}.{number % 100}"
    if len(digits) == 6:
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    raise InputError(f"{at}found version v{digits}, expected four digits (v8502 is 8.5.2) or six (v100300 is 10.3.0)")


def parse(text: str, place: str) -> TrtexecLog:
    """Return what one log of trtexec says, 7.1 to 11; an excerpt that holds any part of one will do.

    Raises:
        InputError: nothing of trtexec's is in it; two runs; a run without an end (truncated, or still going on); a line
            of the summary or the profile that does not fit its form.
    """
    lines = log_lines(text)
    banners = [(line, found) for line in lines if (found := _BANNER.search(line.message))]
    starts = [line.number for line, found in banners if found[1] == "RUNNING"]
    ends = [(line.number, found[1]) for line, found in banners if found[1] != "RUNNING"]
    last = max(line.number for line in lines if line.message.strip())
    if len(starts) > 1 or len(ends) > 1:
        second = starts[1] if len(starts) > 1 else ends[1][0]
        raise InputError(f"{place}:{second}: a second run of trtexec; expected one per log")
    status = ends[0][1].lower() if ends else None
    versions = [version_of(found[2], f"{place}:{line.number}: ") for line, found in banners if found[2]]
    versions += [found[1] for line in lines if (found := _VERSION.match(line.message))]
    command = next((found[3] for _, found in banners if found[3]), None)
    errors = [line.message for line in lines if line.severity in ("E", "F") and line.message]
    if starts and not ends:
        why = f"; its last error: {errors[-1]}" if errors else ""
        raise InputError(
            f"{place}:{last}: the log ends without trtexec's line PASSED or FAILED; it is truncated, or trtexec was ended{why}"
        )
    if status == "failed" and not errors:
        before = [line.message.strip() for line in lines if line.number < ends[0][0] and line.message.strip()]
        errors = [message for message in before[-1:] if not _BANNER.search(message)]
    summary = _summary(lines, place)
    # a run that failed may have been stopped anywhere
    profile = None if status == "failed" else profiles.find_table(lines, place)
    if status is None and summary is None and profile is None and not errors:
        first = next(line.number for line in lines if line.message.strip())
        raise InputError(
            f"{place}:{first}: found nothing of trtexec's; expected its banner ('&&&& RUNNING TensorRT.trtexec'), a "
            "performance summary or a layer profile"
        )
    return TrtexecLog(status, versions[0] if versions else None, command, summary, profile, tuple(errors), place, last)


def _summary(lines: Sequence[LogLine], place: str) -> Summary | None:
    times: dict[str, Statistics] = {}
    values: dict[str, float] = {}
    for index, line in enumerate(lines):
        at = f"{place}:{line.number}"
        if line.message in _HEADINGS:
            _old_block(lines[index + 1 :], place, _HEADINGS[line.message], times, values)
        elif found := _NEW_LINE.fullmatch(line.message):
            label, rest = found[1], found[2]
            if label not in _VALUES and not (rest.startswith("min = ") or "min = ".startswith(rest)):
                continue  # --verbose explains every one of these in words
            if label in _VALUES and rest[:1].isalpha() and not re.match(NUMBER, rest):
                continue
            if label in _VALUES:
                key, unit = _VALUES[label]
                number = re.fullmatch(rf"({NUMBER}) {unit}", rest)
                if not number:
                    raise InputError(f"{at}: {label} is {rest!r}, expected a number and {unit}")
                values[key] = amount(number[1], at, label)
            elif _LABELS[label] in times:
                raise InputError(f"{at}: a second line {label!r}; expected one performance summary per log")
            else:
                times[_LABELS[label]] = _new_statistics(rest, at, label)
    if not times and not values:
        return None
    if values.get("throughput_qps") == 0:
        del values["throughput_qps"]
    return Summary(**times, **values)  # type: ignore[arg-type]  # the keys of the two tables above are its fields


def _new_statistics(text: str, at: str, label: str) -> Statistics:
    numbers: dict[str, float] = {}
    percentiles: dict[str, float] = {}
    for part in text.split(", "):
        found = _NEW_STATISTIC.fullmatch(part)
        if not found:
            raise InputError(
                f"{at}: {label}: found {part!r}, expected 'min = X ms', max, mean, median or percentile(P%); "
                "a truncated log ends like this"
            )
        value = amount(found[3], at, f"{label}, {found[1]}")
        if found[2]:
            percentiles[f"{float(found[2]):g}"] = value
        else:
            numbers[f"{found[1]}_ms"] = value
    if missing := {"min_ms", "max_ms", "mean_ms", "median_ms"} - set(numbers):
        raise InputError(f"{at}: {label} has no {', '.join(sorted(missing))}; the line is truncated")
    return Statistics(**numbers, percentiles=percentiles)


def _old_block(
    lines: Sequence[LogLine], place: str, key: str, times: dict[str, Statistics], values: dict[str, float]
) -> None:
    """Read the lines after a heading of 7.x into `times` and `values`, up to the first that is no statistic."""
    blocks: dict[str, dict[str, float]] = {key: {}, "end_to_end": {}}
    percentiles: dict[str, dict[str, float]] = {key: {}, "end_to_end": {}}
    for line in lines:
        at = f"{place}:{line.number}"
        if found := _OLD_STATISTIC.fullmatch(line.message):
            for name, text in ((key, found[2]), ("end_to_end", found[4])):
                if text is None:
                    continue
                if found[1] == "percentile":
                    percentiles[name][f"{float(found[3]):g}" if found[3] else "99"] = amount(text, at, found[1])
                else:
                    blocks[name][f"{found[1]}_ms"] = amount(text, at, found[1])
        elif value := _OLD_VALUE.fullmatch(line.message):
            names = {
                "throughput": "throughput_qps",
                "walltime": "walltime_s",
                "total compute time": "gpu_compute_total_s",
            }
            values[names[value[1]]] = amount(value[2], at, value[1])
        else:
            break
    # 7.x prints no mean for the enqueue time
    wanted = {"min_ms", "max_ms", "median_ms"} | (set() if key == "enqueue" else {"mean_ms"})
    if missing := wanted - set(blocks[key]):
        number = lines[0].number - 1 if lines else 0
        heading = next(text for text, name in _HEADINGS.items() if name == key)
        raise InputError(f"{place}:{number}: {heading!r} has no {', '.join(sorted(missing))}; the log is truncated")
    for name, numbers in blocks.items():
        if numbers:
            if name in times:
                raise InputError(f"{place}:{lines[0].number - 1}: a second summary; expected one per log")
            times[name] = Statistics(**numbers, percentiles=percentiles[name])
