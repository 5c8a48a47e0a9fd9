"""Draws how long requests to a protected network took under each condition, and puts it in a table with its price."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from jsonschema import Draft202012Validator
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from multidnn.errors import InputError
from multidnn.files import read_json, write_text
from multidnn.report import style
from multidnn.report.records import check

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# in words, and whether others run
WORDS = {
    "alone": "alone on the whole chip",
    "alone_on_partition": "alone on its partition",
    "streams": "beside others, streams",
    "priority": "beside others, priority",
    "partitions": "beside others, partitions",
}
MEANINGS = {
    "alone": "nothing else runs and the whole chip is there for it; the others are compared with this",
    "alone_on_partition": "nothing else runs, but it has only its own accelerator: what giving up the rest costs by itself",
    "streams": "all networks at once on the whole chip, left to the driver or the operating system",
    "priority": "the same, with this network ahead of the others wherever both wait",
    "partitions": "each on its accelerator; they share nothing but the memory and what leads to it",
}
_TAIL_TICKS = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
# latencies further apart than this factor are drawn on a logarithmic axis
_LOGARITHMIC_FROM = 8

_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_INTERVAL = {"type": "array", "items": _POSITIVE, "minItems": 2, "maxItems": 2}
_QUANTILE = {
    "type": "object",
    "required": ["ms", "ms_interval", "ratio", "ratio_interval"],
    "properties": {"ms": _POSITIVE, "ms_interval": _INTERVAL, "ratio": _POSITIVE, "ratio_interval": _INTERVAL},
}
_FILE = Draft202012Validator(
    {
        "type": "object",
        "required": ["name", "target", "protected", "beside", "networks", "conditions", "outputs", "samples"],
        "properties": {
            "protected": {"type": "object", "required": ["instance", "accelerator"]},
            "networks": {"type": "object", "additionalProperties": {"type": "string"}},
            "conditions": {
                "type": "object",
                "required": list(WORDS),
                "propertyNames": {"enum": list(WORDS)},
                "additionalProperties": {
                    "type": "object",
                    "required": ["requests", "p50", "p99", "p99_supported", "beside_per_s"],
                    "properties": {
                        "requests": {"type": "integer", "minimum": 1},
                        "p50": _QUANTILE,
                        "p99": {"anyOf": [{"type": "null"}, _QUANTILE]},
                        "p99_supported": {"type": "boolean"},
                        "beside_per_s": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
                    },
                },
            },
            "outputs": {"type": "object", "additionalProperties": {"type": "object", "required": ["ok"]}},
            "samples": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["condition", "latency_ms"],
                    "properties": {
                        "condition": {"enum": list(WORDS)},
                        "latency_ms": {"type": "array", "items": _POSITIVE, "minItems": 1},
                    },
                },
            },
        },
    }
)


def draw_isolation(path: Path, out: Path) -> None:
    """Draw isolation/{case}.json: latencies on the left, what the others did meanwhile on the right.

    On the left one curve per condition: the share of requests that were answered within so many ms, on an axis that
    gives every further nine the same room. Dots are the median and the 99th percentile (hollow where too few requests
    support it), bars their 95 % intervals. On the right the executions per second of each other network.

    Args:
        out: .svg, .pdf or .png.

    Raises:
        InputError: the file is missing or broken.
    """
    content = _read(path)
    colours = dict(zip(WORDS, style.PALETTE, strict=False))
    title = f"{content['protected']['instance']} kept at its latency"
    with style.canvas(out, 3.6, title) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
        for name in WORDS:
            _curve(left, content, name, colours[name])
        _tail_axis(left, content)
        _throughput(right, content, colours)
        handles = [
            Line2D([], [], color=colours[name], linestyle=_line(name), label=words) for name, words in WORDS.items()
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=3)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    check(path, content, _FILE)
    measured = {sample["condition"] for sample in content["samples"]}
    others = set(content["networks"]) - {content["protected"]["instance"]}
    for name, found in content["conditions"].items():
        if name not in measured:
            raise InputError(f"{path}: samples: there are none of condition {name!r}; delete the file to make it again")
        expected = set() if name.startswith("alone") else others
        if set(found["beside_per_s"]) != expected:
            raise InputError(
                f"{path}: conditions.{name}.beside_per_s: found {', '.join(found['beside_per_s']) or 'nothing'}, expected "
                f"{', '.join(sorted(expected)) or 'nothing'}; delete the file to make it again"
            )
    return content


def _line(condition: str) -> Literal["-", "--"]:
    return "--" if condition.startswith("alone") else "-"


def _nines(share: Any) -> Any:
    """Return where a share of requests is drawn: 0.9 at 1, 0.99 at 2, 0.999 at 3."""
    return -np.log10(1 - np.asarray(share, dtype=float))


def _curve(axes: "Axes", content: Mapping[str, Any], condition: str, colour: str) -> None:
    pooled = np.sort(
        [ms for sample in content["samples"] if sample["condition"] == condition for ms in sample["latency_ms"]]
    )
    shares = (np.arange(len(pooled)) + 0.5) / len(pooled)
    axes.plot(pooled, _nines(shares), color=colour, linestyle=_line(condition), linewidth=1.3)
    found = content["conditions"][condition]
    for share, key, solid in ((0.5, "p50", True), (0.99, "p99", found["p99_supported"])):
        if found[key] is not None:
            low, high = found[key]["ms_interval"]
            height = float(_nines(share))
            axes.plot([low, high], [height, height], color=colour, linewidth=3, alpha=0.35, solid_capstyle="butt")
            face = colour if solid else "white"
            axes.plot([found[key]["ms"]], [height], "o", color=colour, markerfacecolor=face, markersize=4)


def _tail_axis(axes: "Axes", content: Mapping[str, Any]) -> None:
    every = np.concatenate([sample["latency_ms"] for sample in content["samples"]])
    most = max(found["requests"] for found in content["conditions"].values())
    top = float(_nines(1 - 0.5 / most)) + 0.1
    ticks = [share for share in _TAIL_TICKS if float(_nines(share)) <= top]
    axes.set_yticks([float(_nines(share)) for share in ticks], [f"{100 * share:g} %" for share in ticks])
    axes.set_ylim(0, top)
    axes.set_ylabel("requests answered within")
    protected = content["protected"]["instance"]
    if every.max() > _LOGARITHMIC_FROM * every.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"latency of {protected} (ms, logarithmic)")
    else:
        axes.set_xlim(left=0)
        axes.set_xlabel(f"latency of {protected} (ms)")
    style.grid(axes, "both")


def _throughput(axes: "Axes", content: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    conditions = [name for name in WORDS if content["conditions"][name]["beside_per_s"]]
    instances = [name for name in content["networks"] if name != content["protected"]["instance"]]
    height = min(0.8 / len(conditions), 0.2 * len(instances))
    widest = max(max(content["conditions"][name]["beside_per_s"].values()) for name in conditions)
    for row, instance in enumerate(instances):
        for number, name in enumerate(conditions):
            value = content["conditions"][name]["beside_per_s"][instance]
            place = row + (number - (len(conditions) - 1) / 2) * height
            axes.barh(place, value, height=0.9 * height, color=colours[name])
            axes.text(value + 0.02 * widest, place, f"{value:.3g}", va="center", fontsize=7)
    axes.set_yticks(range(len(instances)), instances)
    axes.set_ylim(len(instances) - 0.45, -0.55)
    axes.set_xlim(0, 1.2 * widest if widest else 1)
    axes.set_xlabel("executions per second\nof the others meanwhile")
    style.grid(axes, "x")


def write_isolation_table(path: Path, out: Path) -> None:
    """Write isolation/{case}.json as a page: median and 99th percentile per condition, ratio to alone, the others' pace.

    Raises:
        InputError: the file is missing or broken.
    """
    content = _read(path)
    environment = Environment(
        loader=PackageLoader("multidnn.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    others = [name for name in content["networks"] if name != content["protected"]["instance"]]
    rows = []
    for name, words in WORDS.items():
        found = content["conditions"][name]
        pace = found["beside_per_s"]
        rows.append(
            {
                "words": words,
                "meaning": MEANINGS[name],
                "p50": _cells(found["p50"]),
                "p99": _cells(found["p99"]),
                "shaky": found["p99"] is not None and not found["p99_supported"],
                "pace": [f"{pace[other]:.3g}" if other in pace else "–" for other in others],
            }
        )
    page = environment.get_template("isolation.html").render(
        case=content["name"],
        target=content["target"],
        protected=content["protected"],
        beside=content["beside"],
        others=others,
        rows=rows,
        requests=max(found["requests"] for found in content["conditions"].values()),
        wrong=[name for name, entry in content["outputs"].items() if not entry["ok"]],
    )
    write_text(out, page)


def _cells(quantile: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return the texts of a percentile: its value and its ratio, each with its interval."""
    if quantile is None:
        return None
    return {
        "ms": f"{quantile['ms']:.4g}",
        "ms_interval": " to ".join(f"{value:.4g}" for value in quantile["ms_interval"]),
        "ratio": f"{quantile['ratio']:.2f}",
        "ratio_interval": " to ".join(f"{value:.2f}" for value in quantile["ratio_interval"]),
    }
