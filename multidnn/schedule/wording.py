"""Puts a schedule's explanation and alternatives into a table and plain sentences, for the terminal and the report."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

HEADINGS = (
    "segment", "on", "start", "waited", "idle before", "in", "alone", "contention", "out", "end", "slowed by",
    "started after",
)  # fmt: skip
"""Of the columns of `rows`; times in ms."""

MEANINGS = {
    "segment": "instance and groups; * marks the chain of segments that decides the makespan",
    "waited": "the segment was ready but its accelerator was not",
    "idle before": "the accelerator had nothing to do before it",
    "in, out": "transition from and to another accelerator",
    "alone": "its groups with nothing beside them",
    "contention, slowed by": "what running beside others added; at every moment shared among them by their demand",
    "started after": "what ended at that moment: the segment before it in its instance, an instance that it comes after, "
    "or the segment before it on its accelerator (its turn)",
}

_SUBJECTS = {
    "second": "Best other placement",
    "one_more": "One more transition per instance",
    "no_transitions": "No transition",
}

# value and bound agree to 1e-6 where a schedule is proved, so differences below are none
_NOTHING_PCT = 1e-4


def rows(explanation: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row of texts per segment, by start time, in the columns `HEADINGS`."""
    chain = [tuple(name) for name in explanation["critical_chain"]]
    return [
        (
            segment_name(segment["instance"], segment["first"], segment["last"])
            + (" *" if (segment["instance"], segment["first"], segment["last"]) in chain else ""),
            segment["accelerator"],
            *(
                _ms(segment[f"{part}_ms"])
                for part in ("start", "waited", "idle_before", "in", "standalone", "contention", "out", "end")
            ),
            ", ".join(f"{name} {_ms(ms)}" for name, ms in _largest(segment["caused_by"])),
            _started_after(segment["waits_for"]),
        )
        for segment in explanation["segments"]
    ]


def table(explanation: Mapping[str, Any]) -> str:
    """`rows` under `HEADINGS`, aligned with spaces, and a line per accelerator."""
    cells = [HEADINGS, *rows(explanation)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = range(2, 10)
    lines = [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([*lines, *(usage_line(*entry) for entry in explanation["accelerators"].items())])


def usage_line(accelerator: str, usage: Mapping[str, float]) -> str:
    """What one accelerator did until the makespan, in words."""
    return (
        f"{accelerator}: busy {_ms(usage['busy_ms'])} ms (groups alone {_ms(usage['standalone_ms'])}, transitions "
        f"{_ms(usage['transitions_ms'])}, contention {_ms(usage['contention_ms'])}), idle {_ms(usage['idle_ms'])} ms"
    )


def makespan_sum(explanation: Mapping[str, Any]) -> str:
    """The makespan as the sum of what its chain of segments spent, in ms."""
    chain = _chain(explanation)
    parts = [f"{_ms(total)} {text}" for text, total in _spent(chain)]
    return f"{_ms(chain[-1]['end_ms'])} ms = {' + '.join(parts) or '0'}"


def makespan_sentence(explanation: Mapping[str, Any]) -> str:
    """Which chain of segments decides the makespan, and what its time consists of."""
    chain = _chain(explanation)
    caused: dict[str, float] = {}
    for segment in chain:
        for name, ms in segment["caused_by"].items():
            caused[name] = caused.get(name, 0.0) + ms
    causes = ", ".join(f"{name} {_ms(ms)}" for name, ms in _largest(caused))
    path = ", ".join(f"{segment_name(s['instance'], s['first'], s['last'])} on {s['accelerator']}" for s in chain)
    parts = _listed(f"{_ms(total)} ms {text}" for text, total in _spent(chain))
    return f"The makespan of {_ms(chain[-1]['end_ms'])} ms is decided by {path}: {parts or 'no time at all'}" + (
        f" (caused by {causes})." if causes else "."
    )


def sentences(content: Mapping[str, Any]) -> list[str]:
    """What came second, and what one transition more and none would give; each says whether it is proved.

    Args:
        content: a schedule file's content that has the key ``alternatives``.
    """
    found = content["alternatives"]
    said = []
    for key, subject in _SUBJECTS.items():
        answer = found[key]
        if answer is None:
            continue
        if "absent" in answer:
            said.append(f"{subject}: none ({answer['absent']}).")
            continue
        text = _answer(content["objective"], content["value"], key, answer, found["time_limit_s"])
        if answer.get("target") not in (None, content.get("target")):
            text = f"on {answer['target']}, {text}"
        if key == "second":
            changed = {
                name: groups for name, groups in answer["placement"].items() if groups != content["placement"][name]
            }
            text += f" There: {placement_text(changed)}."
        said.append(f"{subject}: {text}")
    return said


def placement_text(placement: Mapping[str, Sequence[str]]) -> str:
    """A placement in one line: per instance its segments, such as ``p 0-3 on gpu, 4-9 on dla``."""
    texts = []
    for instance, groups in placement.items():
        runs = []
        for accelerator, members in groupby(enumerate(groups), key=lambda entry: entry[1]):
            indices = [group for group, _ in members]
            runs.append(f"{_span(indices[0], indices[-1])} on {accelerator}")
        texts.append(f"{instance} {', '.join(runs)}")
    return "; ".join(texts)


def segment_name(instance: str, first: int, last: int) -> str:
    """A segment in words: the instance and its groups."""
    return f"{instance} {_span(first, last)}"


def _chain(explanation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The segments of the critical chain; from time 0 to the makespan without a gap."""
    named = {(s["instance"], s["first"], s["last"]): s for s in explanation["segments"]}
    return [named[instance, first, last] for instance, first, last in explanation["critical_chain"]]


def _spent(segments: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """What the segments spent their time on, in ms, without what took none."""
    spent = {
        "groups alone": sum(s["standalone_ms"] for s in segments),
        "transitions": sum(s["in_ms"] + s["out_ms"] for s in segments),
        "contention": sum(s["contention_ms"] for s in segments),
    }
    return [(text, total) for text, total in spent.items() if total > 0]


def _answer(objective: str, chosen: float, key: str, answer: Mapping[str, Any], seconds: float) -> str:
    better, proved = answer["better_pct"], answer["status"] == "optimal"
    if better is None:
        return f"{_value(objective, answer['value'])}, where the chosen schedule takes no time."
    if key == "one_more" and abs(better) <= _NOTHING_PCT:
        text = "proved no gain" if proved else f"no gain found in {seconds:.3g} s"
    else:
        text = "just as good" if abs(better) <= _NOTHING_PCT else _value(objective, answer["value"])
        text += f", {_compared(objective, better)}" if abs(better) > _NOTHING_PCT else ""
        text += ", proved" if proved else f", the best found in {seconds:.3g} s"
    if not proved and answer["bound"] is None:
        text += "; nothing is proved"
    elif not proved:
        possible = 100 * (chosen - answer["bound"]) / chosen * (1 if objective == "latency" else -1)
        text += f"; one {_compared(objective, possible)} is not ruled out"
    if key != "one_more" and better > _NOTHING_PCT:
        text += ". The chosen schedule is not the best one: give the scheduler more time"
    return text + "."


def _compared(objective: str, better_pct: float) -> str:
    if abs(better_pct) <= _NOTHING_PCT:
        return "just as good"
    words = ("faster", "slower") if objective == "latency" else ("more", "less")
    return f"{_pct(better_pct)} {words[better_pct < 0]}"


def _started_after(wait: Mapping[str, Any] | None) -> str:
    if wait is None:
        return ""
    reason = {"instance": "", "after": " (after)", "turn": " (its turn)"}[wait["reason"]]
    return segment_name(*wait["segment"]) + reason


def _largest(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda entry: -entry[1])


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}-{last}"


def _ms(value: float) -> str:
    if 0 < value < 0.0005:
        return "<0.001"
    return f"{value:.3f}" if value else "0"


def _pct(value: float) -> str:
    return f"{abs(value):.2g} %" if abs(value) < 1 else f"{abs(value):.1f} %"


def _value(objective: str, value: float) -> str:
    return f"{value:.4g} ms" if objective == "latency" else f"{value:.4g} inferences/s"


def _listed(parts: Iterable[str]) -> str:
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last
