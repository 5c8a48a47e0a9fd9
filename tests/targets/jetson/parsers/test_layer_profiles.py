"""Profiles: JSON and table say the same, in every layout, and what was cut off is noticed."""

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers import profile
from multidnn.targets.jetson.parsers.names import split_name
from tests.targets.jetson.parsers.helpers import SAMPLES, recorded


@pytest.mark.parametrize(
    ("name", "parts", "kind", "complete"),
    [
        ("conv1", ["conv1"], "layer", True),
        ("Conv_5 + Add_6 + Relu_7", ["Conv_5", "Add_6", "Relu_7"], "layer", True),
        ("a + ra || b + rb", ["a", "ra", "b", "rb"], "layer", True),
        ("inception_3a/1x1 copy", ["inception_3a/1x1"], "layer", True),
        (
            "PWN(PWN(a, b + (Unnamed Layer* 481) [Shuffle]), c)",
            ["a", "b", "(Unnamed Layer* 481) [Shuffle]", "c"],
            "layer",
            True,
        ),
        ("odd (name", ["odd (name"], "layer", True),
        ("{a,b c,d}", ["a", "b c", "d"], "foreign", True),
        ("{a}", ["a"], "foreign", True),
        ("{ForeignNode[a...b]}", ["a", "b"], "foreign", False),
        (
            "{ForeignNode[/C_0 + ONNXTRT_Broadcast.../Einsum_1]}",
            ["/C_0", "ONNXTRT_Broadcast", "/Einsum_1"],
            "foreign",
            False,
        ),
        ("{ForeignNode[(Unnamed Layer* 0) [ElementWise]]}", ["(Unnamed Layer* 0) [ElementWise]"], "foreign", True),
        ("__myl_FcAdd_myl0_3", [], "foreign", False),
        ("a + b input reformatter 0", ["a", "b"], "reformat", True),
        ("{a,b} output reformatter 1", ["a", "b"], "reformat", True),
        ("{a,b} output to be reformatted 0 finish", ["a", "b"], "reformat", True),
        ("{a,b} reformatted input 0 finish", ["a", "b"], "reformat", True),
        ("data to nvm", ["data"], "reformat", True),
        ("data copy finish", ["data"], "reformat", True),
        ("pool3/3x3_s2 from nvm", ["pool3/3x3_s2"], "reformat", True),
        ("pool3/3x3_s2 copy finish", ["pool3/3x3_s2"], "reformat", True),
        ("loss3/classifier finish", ["loss3/classifier"], "reformat", True),
        ("Reformatting CopyNode for Input Tensor 0 to a + b", ["a", "b"], "reformat", True),
        ("Reformatting CopyNode for Output Tensor 1 to {ForeignNode[a...b]}", ["a", "b"], "reformat", False),
        ("Reformatting CopyNode for Network Output prob", ["prob"], "reformat", True),
    ],
)
def test_names(name: str, parts: list[str], kind: str, complete: bool) -> None:
    said = split_name(name)
    assert (list(said.parts), said.kind, said.complete) == (parts, kind, complete)


@pytest.mark.parametrize(
    ("table", "exported"), [("trtexec-7.1.log", "profile-7.1.json"), ("trtexec-10.3.log", "profile-10.3.json")]
)
def test_the_table_says_what_the_json_says(table: str, exported: str) -> None:
    a, b = profile.read(SAMPLES / table), profile.read(SAMPLES / exported)
    assert a.iterations == b.iterations
    assert [(x.name, x.parts, x.kind, x.median_ms) for x in a.layers] == [
        (x.name, x.parts, x.kind, x.median_ms) for x in b.layers
    ]
    # more digits than the table's second column has
    assert [x.time_ms for x in a.layers] == pytest.approx([x.time_ms for x in b.layers], abs=1e-9)


def test_the_printed_mean_serves_where_the_total_has_fewer_digits() -> None:
    text = (SAMPLES / "trtexec-10.3.log").read_text().replace("(50 iterations )", "(1 iterations )")
    text = text.replace("75.00       1.5000", " 1.50       1.5043").replace("350.00 ", "276.50 ")
    assert profile.parse(text, "x").layers[2].time_ms == 1.5043


NAMES = st.from_regex(r"[A-Za-z(/{][A-Za-z0-9_/.+|,(){}\[\]* -]{0,60}", fullmatch=True).filter(
    lambda name: "  " not in name and name == name.strip() and name != "Total"
)
ROWS = st.lists(st.tuples(NAMES, st.integers(0, 10**7), st.integers(0, 10**6)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, iterations=st.integers(1, 20000), layout=st.sampled_from(["7.1", "8.5", "8.6"]), stamp=st.booleans())
def test_a_rendered_table_reads_back(
    rows: list[tuple[str, int, int]], iterations: int, layout: str, stamp: bool
) -> None:
    """Totals are hundredths of a ms and medians ten-thousandths, as trtexec prints them."""
    total = sum(row[1] for row in rows)

    def numbers(hundredths: int, median: int) -> list[str]:
        average = f"{hundredths / 100 / iterations:.{2 if layout == '7.1' else 4}f}"
        share = f"{100 * hundredths / total if total else 0:.1f}"
        return [f"{hundredths / 100:.2f}", average, *([] if layout == "7.1" else [f"{median / 1e4:.4f}"]), share]

    body = [(name, numbers(hundredths, median)) for name, hundredths, median in rows]
    body.append(("Total", numbers(total, sum(row[2] for row in rows))))
    titles = {
        "7.1": ["Time (ms)", "Avg. Time (ms)", "Time %"],
        "8.5": ["Time (ms)", "Avg. Time (ms)", "Median Time (ms)", "Time %"],
        "8.6": ["Time(ms)", "Avg.(ms)", "Median(ms)", "Time(%)"],
    }[layout]
    width = max(len(name) for name, _ in body) + 2
    lines = ["", f"=== Profile ({iterations} iterations ) ==="]
    for name, cells in [("Layer", titles), *body]:
        columns = "".join(cell.rjust(18) for cell in cells)
        lines.append(f"{columns}   {name}" if layout == "8.6" else name.rjust(width) + columns)
    lines.append("")
    prefix = "[10/03/2024-10:47:59] [I] " if stamp else "[I] "
    text = "".join(f"{prefix}{line}\n" for line in lines)
    read = profile.parse(text, "x")
    assert read.iterations == iterations
    assert [layer.name for layer in read.layers] == [row[0] for row in rows]
    assert [layer.total_ms for layer in read.layers] == [row[1] / 100 for row in rows]
    assert [layer.median_ms for layer in read.layers] == [None if layout == "7.1" else row[2] / 1e4 for row in rows]
    for layer, row in zip(read.layers, rows, strict=True):
        half = min(0.005 / iterations * 2, 0.5 * 10 ** -(2 if layout == "7.1" else 4))
        assert math.isclose(layer.time_ms, row[1] / 100 / iterations, abs_tol=half + 1e-12)
    # without its last row it is refused, and without a row that counts
    with pytest.raises(InputError):
        profile.parse(text[: text.rindex("Total")], "x")
    if rows[0][1] > 10 * (len(rows) + 1) + total / 1000:
        with pytest.raises(InputError):
            profile.parse(text.replace(f"{prefix}{lines[3]}\n", "", 1), "x")


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(min_size=1), st.floats(0, 1e6), st.floats(0, 1e3)), min_size=1),
    median=st.booleans(),
)
def test_an_exported_profile_reads_back(rows: list[tuple[str, float, float]], median: bool) -> None:
    entries = [{"count": 7}] + [
        {
            "name": name,
            "timeMs": total,
            "averageMs": average,
            **({"medianMs": average} if median else {}),
            "percentage": 1,
        }
        for name, total, average in rows
    ]
    read = profile.parse(json.dumps(entries), "x")
    assert profile.from_entries(entries, "x") == read
    assert [(x.name, x.total_ms, x.time_ms) for x in read.layers] == rows
    assert [x.median_ms for x in read.layers] == [row[2] if median else None for row in rows]


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("profile-7.1.json", '{ "count" : 200 }\n, ', "", r":2: found no 'count'"),
        ("profile-7.1.json", '"count" : 200', '"count" : 0', r":2: 'count' is 0, expected"),
        ("profile-7.1.json", '"averageMs" : 3.3333', '"averageMs" : -1', r":5: 'averageMs' is -1, expected"),
        ("profile-7.1.json", '"averageMs" : 3.3333', '"averageMs" : NaN', r":5: 'averageMs' is nan, expected"),
        (
            "profile-7.1.json",
            '"averageMs" : 3.3333',
            '"averageMs" : "3"',
            r":5: 'averageMs' is \"3\", expected a number",
        ),
        ("profile-7.1.json", '"averageMs" : 3.3333, ', "", r":5: has no 'averageMs'"),
        ("profile-7.1.json", '"name" : "prob",', "", r":7: 'name' is None"),
        (
            "profile-7.1.json",
            '{ "name" : "prob", "timeMs" : 11.11, "averageMs" : 0.05555, "percentage" : 1.6 }\n]',
            "",
            r"truncated",
        ),
        ("profile-7.1.json", '"percentage" : 1.6 }\n]\n', '"perc', r":7: not valid JSON .*truncated"),
        (
            "trtexec-7.1.log",
            "Avg. Time (ms)",
            "Mean",
            r":25: found the columns Layer, Time \(ms\), Mean, Time %, expected",
        ),
        ("trtexec-7.1.log", "666.66             3.33     94.1", "666.66 3.33 94.1", r":28: found 'prob input"),
        (
            "trtexec-7.1.log",
            "      666.66 ",
            "      -66.66 ",
            r":28: the total of 'prob input reformatter 0' is -66.66",
        ),
        (
            "trtexec-7.1.log",
            "[I]  prob input reformatter 0      666.66             3.33     94.1\n",
            "",
            r"rows add up to 42.11 ms, the row Total says 708.77",
        ),
        ("trtexec-7.1.log", "200 iterations", "0 iterations", r":24: a profile of 0 iterations"),
        ("trtexec-8.2.log", "", "", r":1: found no profile; expected"),
    ],
)
def test_a_mistake_is_reported_with_its_line(name: str, old: str, new: str, expected: str) -> None:
    text = (SAMPLES / name).read_text().replace(old, new)
    with pytest.raises(InputError) as caught:
        profile.parse(text, name)
    assert re.search(expected, str(caught.value)), caught.value
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize("name", ["trtexec-7.1.log", "trtexec-8.5-profile.log", "trtexec-10.3.log", "profile-7.1.json"])
def test_a_profile_cut_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    text = (SAMPLES / name).read_text()
    whole = profile.read(SAMPLES / name)
    end = text.rindex("]") if name.endswith("json") else text.index("\n", text.rindex("Total"))
    cut = 0
    for length in range(1, end - len("100.0   Total")):
        with pytest.raises(InputError):
            profile.parse(text[:length], name)
        cut += 1
    assert cut > 100
    assert len(whole.layers) >= 4


@pytest.mark.parametrize(
    ("name", "iterations", "layers", "checks"),
    [
        ("trtexec-7.1/xavier_trt713_dumpProfile_dla.txt", 1514, 6, {"prob input reformatter 0": 3.33313}),
        ("trtexec-7.1/googlenet_gpu_transition_at_-1.profile", 12485, 84, {"prob": 0.00605657}),
        ("trtexec-8.x/orin_trt852_dumpProfile_dla.txt", 4932, 4, {"prob": 0.0185969}),
        ("trtexec-8.x/resnet_fp16.exportProfile.json", 1, 36, {"Gemm_48": 0.011264}),
    ],
)
def test_recorded_profiles(name: str, iterations: int, layers: int, checks: dict[str, float]) -> None:
    read = profile.read(recorded(name))
    assert (read.iterations, len(read.layers)) == (iterations, layers)
    times = {layer.name: layer.time_ms for layer in read.layers}
    for layer, time in checks.items():
        assert times[layer] == pytest.approx(time, rel=1e-5)


def test_the_artifacts_own_filter_finds_the_same_layers() -> None:
    ours = profile.read(recorded("trtexec-7.1/googlenet_gpu_transition_at_-1.profile"))
    theirs = json.loads(recorded("trtexec-7.1/googlenet_gpu_transition_at_-1_filtered.json").read_text())
    kept = [layer for layer in ours.layers if layer.kind == "layer"]
    assert [(x.name, x.time_ms, len(x.parts)) for x in kept] == [
        (x["name"], x["average_time_ms"], x["layer_count"]) for x in theirs
    ]
