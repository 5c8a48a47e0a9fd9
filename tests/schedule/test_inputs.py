"""What a user can get wrong in a workload, the tables, contention.json or a schedule: one message with the place."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from multidnn.errors import InputError
from multidnn.schedule import Deadlock, Problem, Workload, evaluate
from multidnn.schedule.schedule import check
from multidnn.schedule.slowdown import Slowdown
from tests.schedule.problems import FLAT, grids, network, problem, problems, write_files


def _problem() -> Problem:
    return problem(
        {"x": network([[1.0, 2.0], [2.0, None], [0.5, 0.5]], 4.0, (0.1, 0.2)), "y": network([[1.0, 1.0]], 2.0)},
        [("p", "x", ()), ("q", "y", ("p",))],
        [Slowdown((1.0, 4.0), (0.0, 4.0), ((1.0, 1.5), (1.0, 2.0))), FLAT],
    )


def _load(paths: dict[str, Path]) -> Problem:
    tables = (paths[name] for name in ("layers", "transitions", "emc", "contention"))
    return Problem.from_files(*tables, Workload.read(paths["workload"]))


@given(problems(groups=3, instances=3, accelerators=3))
@settings(max_examples=25, deadline=None)
def test_the_tables_give_the_problem_back(tmp_path_factory: pytest.TempPathFactory, built: Problem) -> None:
    loaded = _load(write_files(built, tmp_path_factory.mktemp("tables")))
    assert loaded.workload == built.workload
    assert loaded.accelerators == built.accelerators
    assert loaded.slowdown == built.slowdown
    for i in range(len(built.instances)):
        for mine, theirs in zip(loaded.costs(i).groups, built.costs(i).groups, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                assert (a is None) == (b is None)
                if a is not None and b is not None:
                    # tables keep six digits
                    assert (a.time_ms, a.demand_gb_s) == pytest.approx((b.time_ms, b.demand_gb_s), rel=1e-5)
        assert set(loaded.costs(i).transitions) == set(built.costs(i).transitions)


def _edit(find: str, replacement: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert re.search(find, text, re.MULTILINE), f"{find} is not in {text}"
        return re.sub(find, replacement, text, count=1, flags=re.MULTILINE)

    return edit


@pytest.mark.parametrize(
    ("table", "edit", "message"),
    [
        ("layers", _edit(r"^x,1,.*,a,.*\n", ""), r"layers\.csv: no row for network x, group 1, accelerator a"),
        ("layers", _edit(r"^x,0,0,0,a,true,1.0", "x,0,0,0,a,true,"), r"layers\.csv:2: supported is true but median_ms"),
        ("layers", _edit(r"^x,0,0,0,a,true,1.0", "x,0,0,0,a,true,-1"), r"layers\.csv:2, column median_ms: found -1"),
        ("layers", _edit(r"^x,0,0,0,a,true,1.0", "x,0,0,0,a,true,nan"), r"layers\.csv:2, column median_ms: found nan"),
        ("layers", _edit(r"^x,0,0,0,a,true,", "x,0,0,0,a,false,"), r"layers\.csv:2: supported is false but median_ms"),
        (
            "layers",
            _edit(r"^x,1,1,1,a,true,2.0,,,,", "x,1,1,1,a,false,,,,,no"),
            r"no accelerator supports group 1 of network x",
        ),
        ("layers", _edit(r"^x,0,0,0,b", "x,0,0,0,a"), r"layers\.csv:3: repeats the row of line 2"),
        ("transitions", _edit(r"^x,1,a,b,.*\n", ""), r"no row for network x, after_group 1, source a, destination b"),
        ("transitions", _edit(r"^x,.*\n(x,.*\n)*", ""), r"network 'x' has no rows in transitions .*transitions\.csv"),
        ("emc", _edit(r"^x,2,b,.*\n", ""), r"emc\.csv: no demand_gb_s for name x, group 2, accelerator b"),
        ("emc", _edit(r"^x,2,b,4.0", "x,2,b,"), r"emc\.csv: no demand_gb_s for name x, group 2, accelerator b"),
        ("emc", _edit(r"^y,.*\n(y,.*\n)*", ""), r"instance 'q': network 'y' has no rows in emc .*emc\.csv"),
        ("contention", _edit(r'"b"', '"bb"'), r"contention\.json: accelerators: no grid for 'b'.*did you mean 'bb'"),
        ("contention", _edit(r"1\.0, 4\.0\]", "4.0, 4.0]"), r"accelerators\.a\.demand_gb_s\[1\].*strictly ascending"),
        ("contention", _edit(r"\[0\.0, 4\.0\]", "[1.0, 4.0]"), r"a\.external_gb_s: starts at 1\.0, expected 0"),
        ("contention", _edit(r"\[1\.0, 1\.5\]", "[1.1, 1.5]"), r"a\.slowdown\[0\]\[0\]: found 1\.1, expected 1"),
        (
            "contention",
            _edit(r"\[1\.0, 1\.5\]", "[1.0, 0.5]"),
            r"a\.slowdown\[0\]\[1\]: found 0\.5, expected at least 1",
        ),
        ("contention", _edit(r"\[1\.0, 1\.5\]", "[1.0]"), r"a\.slowdown\[0\]: found 1 columns, expected 2"),
        ("contention", _edit(r"\[1\.0, 1\.5\], ", ""), r"a\.slowdown: expected 2 rows"),
        ("contention", _edit(r"\[1\.0, 1\.5\]", "[1.0, NaN]"), r"a\.slowdown\[0\]\[1\]: found nan"),
        ("contention", _edit(r'"accelerators"', '"accelerator"'), r"the key 'accelerators' is missing"),
        ("contention", _edit(r'\{"a"', '{"c": {"demand_gb_s": []}, "a"'), r"accelerators\.c: the key 'external_gb_s'"),
        (
            "contention",
            _edit(r"\[1\.0, 1\.5\]", "[1.0, 1e300]"),
            r"a\.slowdown\[0\]\[1\]: found 1e\+300, expected at m",
        ),
        (
            "layers",
            _edit(r"^x,0,0,0,a,true,1.0", "x,0,0,0,a,true,1e308"),
            r"layers\.csv:2, column median_ms: found 1e\+308, at most 1e\+09 ms",
        ),
        (
            "transitions",
            _edit(r"^x,1,a,b,0\.1", "x,1,a,b,1e308"),
            r"transitions\.csv:\d, column out_ms: found 1e\+308, at most",
        ),
        ("contention", lambda text: text[: len(text) // 2], r"contention\.json:1: not valid JSON"),
    ],
)
def test_bad_tables(tmp_path: Path, table: str, edit: Callable[[str], str], message: str) -> None:
    paths = write_files(_problem(), tmp_path)
    _load(paths)
    text = paths[table].read_text()
    # whole numbers are written short; the patterns above are about the values
    paths[table].write_text(edit(re.sub(r"(?<=true,)(\d)(?=,)|(?<=,[ab],)(\d)(?=,,)", lambda m: f"{m[0]}.0", text)))
    with pytest.raises(InputError, match=message):
        _load(paths)


def test_a_row_that_falls_is_rejected() -> None:
    entry = {"demand_gb_s": [1], "external_gb_s": [0, 1, 2], "slowdown": [[1, 2, 1.5]]}
    with pytest.raises(InputError, match=r"here\.slowdown\[0\]\[2\]: 1\.5 follows 2\.0"):
        Slowdown.from_dict(entry, "here")


def test_an_unknown_network_is_named_with_every_table_it_lacks(tmp_path: Path) -> None:
    paths = write_files(_problem(), tmp_path)
    paths["workload"].write_text("{name: w, instances: [{name: p, network: z}]}")
    with pytest.raises(InputError, match=r"'z' has no rows in layers .*, transitions .*, emc .*: x, y"):
        _load(paths)


def test_a_network_that_cannot_move_needs_no_transitions(tmp_path: Path) -> None:
    built = problem({"x": network([[1.0, None], [1.0, None]], 4.0)}, [("p", "x", ())], [FLAT, FLAT])
    assert _load(write_files(built, tmp_path)).costs(0).transitions == {}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"name": "w"}, "the key 'instances' is missing"),
        ({"name": "w", "instances": []}, "at least one instance"),
        ({"name": "w", "instances": [{"name": "p"}]}, r"instances\[0\]: the key 'network' is missing"),
        ({"name": "w/v", "instances": [{"name": "p", "network": "x"}]}, "name: found 'w/v'"),
        ({"name": "w", "instances": [{"name": "p", "network": "x", "afer": []}]}, r"unknown key 'afer'.*'after'"),
        ({"name": "w", "objective": "speed", "instances": [{"name": "p", "network": "x"}]}, "found 'speed'.*latency"),
        ({"name": "w", "instances": [{"name": "p", "network": "x", "after": ["pp"]}]}, "found 'pp', expected one of p"),
        ({"name": "w", "instances": [{"name": "p", "network": "x", "after": "q"}]}, "expected a list of instance"),
        ({"name": "w", "instances": [{"name": "p", "network": "x", "after": 0}]}, "after: found 0, expected a list"),
        ({"name": "w", "instances": [{"name": "p", "network": "x", "after": False}]}, "after: found False, expected"),
        ({"name": "w", "instances": [{"name": "p", "network": "x", "after": ""}]}, "after: found '', expected a list"),
        (
            {"name": "w", "instances": [{"name": "p", "network": "x"}, {"name": "p", "network": "x"}]},
            r"instances\[1\]\.name: 'p' is already the name",
        ),
        (
            {
                "name": "w",
                "instances": [
                    {"name": "p", "network": "x", "after": ["q"]},
                    {"name": "q", "network": "x", "after": ["p"]},
                ],
            },
            "cycle through `after`: (p -> q -> p|q -> p -> q)",
        ),
    ],
)
def test_bad_workloads(tmp_path: Path, mapping: dict[str, object], message: str) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(yaml.safe_dump(mapping))
    with pytest.raises(InputError, match=rf"w\.yaml: .*{message}"):
        Workload.read(path)


def test_a_key_given_twice_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("name: w\ninstances:\n- {name: p, network: x}\nname: v\n")
    with pytest.raises(InputError, match=r"w\.yaml:4: .*'name' is already in line 1"):
        Workload.read(path)
    path.write_text("name: w\ninstances:\n- name: p\n  network: x\n  network: y\n")
    with pytest.raises(InputError, match=r"w\.yaml:5: .*'network' is already in line 4"):
        Workload.read(path)
    # a merged key may be overridden: that is what merging is for
    path.write_text("name: w\ninstances:\n- &p {name: p, network: x, after: null}\n- {<<: *p, name: q}\n")
    assert [entry.network for entry in Workload.read(path).instances] == ["x", "x"]


def test_a_workload_reads_back_and_runs_after_what_it_waits_for() -> None:
    mapping = {
        "name": "w",
        "instances": [
            {"name": "r", "network": "x", "after": ["p", "q"]},
            {"name": "p", "network": "x"},
            {"name": "q", "network": "y", "after": ["p"]},
        ],
    }
    workload = Workload.from_dict(mapping, "here")
    assert workload.objective == "latency"
    assert workload.networks == ("x", "y")
    assert workload.sequence() == (1, 2, 0)
    assert Workload.from_dict(json.loads(json.dumps(workload.to_dict())), "here") == workload


GOOD = {"p": ["a", "a", "b"], "q": ["b"]}
TURNS = {"a": [["p", 0, 1]], "b": [["p", 2, 2], ["q", 0, 0]]}


def test_a_schedule_that_fits_is_simulated() -> None:
    timeline = evaluate(_problem(), GOOD, TURNS)
    assert timeline.finish_ms == pytest.approx({"p": 3.0 + 0.1 + 0.2 + 0.5, "q": 4.8})


@pytest.mark.parametrize(
    ("placement", "order", "message"),
    [
        ({"p": ["a", "a", "b"]}, TURNS, "placement: 'q' is missing"),
        ({**GOOD, "r": ["a"]}, TURNS, "placement: unknown name 'r'"),
        ({**GOOD, "q": []}, TURNS, r"placement\.q: found \[\], expected 1 accelerators"),
        ({**GOOD, "q": ["c"]}, TURNS, r"placement\.q\[0\]: found 'c', expected one of a, b"),
        ({**GOOD, "p": ["b", "b", "b"]}, TURNS, r"placement\.p\[1\]: b does not support group 1"),
        ({**GOOD, "p": ["b", "a", "b"]}, TURNS, r"placement\.p: 2 transitions, at most 1"),
        (GOOD, {"a": TURNS["a"]}, "order: 'b' is missing"),
        (GOOD, {**TURNS, "c": []}, "order: unknown name 'c'"),
        (GOOD, {"a": [["p", 0, 0], ["p", 1, 1]], "b": TURNS["b"]}, r"order\.a\[0\]: groups 0 to 0 of p are not a seg"),
        (GOOD, {"a": [["p", 0, 1]], "b": [["q", 0, 0]]}, r"order\.b: the segment \[p, 2, 2\] is missing"),
        (GOOD, {"a": [["p", 0, 1], ["q", 0, 0]], "b": TURNS["b"]}, r"order\.a\[1\]: groups 0 to 0 of q are not"),
        (GOOD, {**TURNS, "b": [*TURNS["b"], ["q", 0, 0]]}, r"order\.b\[2\]: the segment .* is listed twice"),
        (GOOD, {**TURNS, "b": [["p", "2", 2]]}, r"order\.b\[0\]: found \['p', '2', 2\], expected \[instance"),
        (GOOD, {**TURNS, "b": [["s", 2, 2]]}, r"order\.b\[0\]: unknown instance 's'"),
    ],
)
def test_schedules_that_do_not_fit(placement: dict[str, list[str]], order: dict[str, list], message: str) -> None:
    with pytest.raises(InputError, match=rf"S\.json: {message}"):
        check(_problem(), placement, order, 1, "S.json")


def test_an_order_against_after_deadlocks() -> None:
    with pytest.raises(Deadlock, match=r"q groups 0-0 on b"):
        evaluate(_problem(), GOOD, {"a": [["p", 0, 1]], "b": [["q", 0, 0], ["p", 2, 2]]})


@given(grids(), st.lists(st.tuples(st.floats(0, 120), st.floats(0, 120)), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_slowdown_interpolates_as_scipy_does(grid: Slowdown, points: list[tuple[float, float]]) -> None:
    def padded(axis: tuple[float, ...]) -> list[float]:
        # scipy wants two points; a far copy of the only one changes nothing
        return [*axis, axis[-1] + 1000.0] if len(axis) == 1 else list(axis)

    table = np.array(grid.factor)
    table = np.pad(table, [(0, len(padded(axis)) - len(axis)) for axis in (grid.demand, grid.external)], mode="edge")
    reference = RegularGridInterpolator((padded(grid.demand), padded(grid.external)), table)
    for demand, external in points:
        at = np.clip(demand, grid.demand[0], grid.demand[-1]), np.clip(external, 0.0, grid.external[-1])
        assert grid(demand, external) == pytest.approx(float(reference([at])[0]), rel=1e-9)
        # slower never by less company
        assert grid(demand, external / 2) <= grid(demand, external) + 1e-12
