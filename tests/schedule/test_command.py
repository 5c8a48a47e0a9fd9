"""Schedule files and the command that makes them, as a user meets them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from multidnn import tables
from multidnn.errors import InputError
from multidnn.schedule import Problem, Schedule, Workload, evaluate, solve, streams, whole
from multidnn.schedule.slowdown import Slowdown
from tests.schedule.problems import FLAT, network, problem, write_files

KEYS = [
    "format", "workload", "target", "scheduler", "objective", "max_transitions", "status", "value", "bound",
    "predicted", "placement", "order", "solve_s", "incumbents", "explanation",
]  # fmt: skip


def _problem() -> Problem:
    return problem(
        {"x": network([[1.0, 2.0], [2.0, 1.0]], 4.0, (0.125, 0.25)), "y": network([[1.0, 1.25]], 2.0)},
        [("p", "x", ()), ("q", "y", ())],
        [Slowdown((1.0, 4.0), (0.0, 4.0), ((1.0, 1.5), (1.0, 2.0))), FLAT],
    )


def _command(paths: dict[str, Path], out: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    tables_ = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    command = [sys.executable, "-m", "multidnn.schedule", *tables_, "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_writes_the_optimum_and_evaluates_it_again(tmp_path: Path) -> None:
    built = _problem()
    folder = tmp_path / "board"
    folder.mkdir()
    paths = write_files(built, folder)
    done = _command(paths, tmp_path / "s.json", "--scheduler", "haxconn", "--max-transitions", "1")
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads((tmp_path / "s.json").read_text())
    assert list(content) == KEYS
    assert (content["format"], content["target"], content["scheduler"]) == (1, "board", "haxconn")
    assert (content["status"], content["max_transitions"]) == ("optimal", 1)
    best = solve(built, "exhaustive", max_transitions=1)
    assert content["value"] == pytest.approx(best.value, rel=1e-9)
    assert content["bound"] == pytest.approx(content["value"], rel=1e-6)
    assert set(content["order"]) == {"a", "b"}
    timeline = evaluate(built, content["placement"], content["order"])
    assert content["predicted"]["finish_ms"] == pytest.approx(timeline.finish_ms, rel=1e-9)
    assert content["incumbents"][-1][1] == pytest.approx(content["value"])

    given = ["--scheduler", "given", "--schedule", str(tmp_path / "s.json"), "--target", "here"]
    done = _command(paths, tmp_path / "t.json", *given, "--objective", "throughput")
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "t.json").read_text())
    assert (again["scheduler"], again["target"], again["bound"], again["status"]) == ("given", "here", None, "feasible")
    assert again["predicted"] == content["predicted"]
    assert again["value"] == again["predicted"]["throughput_per_s"]


def test_mistakes_end_in_one_line_and_no_file(tmp_path: Path) -> None:
    paths = write_files(_problem(), tmp_path)
    bad = tmp_path / "bad.json"
    order = {"a": [["p", 0, 0], ["q", 0, 0]], "b": [["p", 1, 1]]}
    bad.write_text(json.dumps({"placement": {"p": ["a", "a"], "q": ["a"]}, "order": order}))
    for options, message in (
        (["--scheduler", "haxcon"], "scheduler 'haxcon' is not available; available: serial, naive, mensa, herald"),
        (["--scheduler", "whole"], "uses the chip whole"),
        (["--scheduler", "given"], "--schedule goes with --scheduler given"),
        (
            ["--scheduler", "given", "--schedule", str(bad)],
            "bad.json: order.a[0]: groups 0 to 0 of p are not a segment",
        ),
    ):
        done = _command(paths, tmp_path / "s.json", *options)
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({"order": {}}, [], r"given\.json: placement: found None"),
        ({"placement": {"p": ["a", "b"], "q": ["a"]}}, [], r"given\.json: order: found None"),
        (
            {
                "placement": {"p": ["a", "b"], "q": ["a"]},
                "order": {"a": [["p", 0, 0], ["q", 0, 0]], "b": [["p", 1, 1]]},
                "max_transitions": 0,
            },
            [],
            r"given\.json: placement\.p: 1 transitions, at most 0",
        ),
        ({"placement": {}, "order": {}, "max_transitions": "2"}, [], r"given\.json: max_transitions: found '2'"),
        (None, ["--max-transitions", "-1"], "--max-transitions: found -1"),
        (None, ["--time-limit", "nan"], "--time-limit: found nan"),
        (None, ["--objective", "energy"], "--objective: found 'energy', expected one of latency, throughput"),
    ],
)
def test_options_and_given_schedules_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict | None, options: list[str], message: str
) -> None:
    from multidnn.schedule.__main__ import main

    paths = write_files(_problem(), tmp_path)
    arguments = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    if content is None:
        options = ["--scheduler", "serial", *options]
    else:
        (tmp_path / "given.json").write_text(json.dumps(content))
        options = ["--scheduler", "given", "--schedule", str(tmp_path / "given.json"), *options]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--out", str(tmp_path / "s.json"), *options])
    assert exit_.value.code == 1
    import re

    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "s.json").exists()


def test_a_deadlock_in_a_given_schedule_names_its_file(tmp_path: Path) -> None:
    from multidnn.schedule.__main__ import evaluate_given

    path = tmp_path / "given.json"
    built = problem({"x": network([[1.0, 1.0], [1.0, 1.0]])}, [("p", "x", ()), ("q", "x", ())], [FLAT, FLAT])
    order = {"a": [["q", 1, 1], ["p", 0, 0]], "b": [["p", 1, 1], ["q", 0, 0]]}
    path.write_text(json.dumps({"placement": {"p": ["a", "b"], "q": ["b", "a"]}, "order": order}))
    with pytest.raises(InputError, match=r"given\.json: order: the order deadlocks"):
        evaluate_given(built, path, None, "t")


def test_a_schedule_file_reads_back(tmp_path: Path) -> None:
    schedule = solve(_problem(), "haxconn", target="t", max_transitions=1)
    schedule.write(tmp_path / "s.json")
    assert Schedule.read(tmp_path / "s.json") == schedule


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"absent": "no accelerator"}, "there is no schedule: no accelerator"),
        ({"value": "3"}, "value: found '3', expected a number"),
        ({"placement": []}, r"placement: found \[\], expected an object"),
        ({"incumbents": [[1]]}, "incumbents: expected a list"),
        ({"target": None}, "target: found None, expected text"),
    ],
)
def test_broken_schedule_files(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content = solve(_problem(), "serial", target="t").to_dict() | change
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"format": 1, **content}))
    with pytest.raises(InputError, match=rf"s\.json: {message}"):
        Schedule.read(path)


def test_whole_adds_up_and_streams_predicts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "whole_results.csv"
    tables.write(path, tables.WHOLE, [{"network": "x", "median_ms": 4.0}, {"network": "y", "median_ms": 1.0}])
    workload = Workload.from_dict(
        {
            "name": "w",
            "instances": [{"name": "q", "network": "y", "after": ["p"]}, {"name": "p", "network": "x"}],
        },
        "here",
    )
    schedule = whole(workload, path, "t")
    assert schedule.predicted == {"makespan_ms": 5.0, "throughput_per_s": 450.0, "finish_ms": {"q": 5.0, "p": 4.0}}
    assert (schedule.value, schedule.placement, schedule.order, schedule.scheduler) == (5.0, None, None, "whole")
    assert whole(workload.with_objective("throughput"), path, "t").value == 450.0
    both = streams(workload, "t")
    assert (both.predicted, both.value, both.placement, both.scheduler) == (None, None, None, "streams")
    for made in (schedule, both):
        made.write(tmp_path / "s.json")
        assert Schedule.read(tmp_path / "s.json") == made
    tables.write(path, tables.WHOLE, [{"network": "y", "median_ms": 1.0}])
    with pytest.raises(InputError, match=r"whole_results\.csv: no row for network 'x' of instance 'p'"):
        whole(workload, path, "t")


def test_an_instance_without_time_has_no_throughput() -> None:
    built = problem({"x": network([[0.0]])}, [("p", "x", ())], [FLAT], "throughput")
    for scheduler in ("serial", "naive", "mensa", "herald", "h2h", "haxconn", "exhaustive"):
        with pytest.raises(InputError, match="takes no time at all"):
            solve(built, scheduler)
    assert solve(built.with_objective("latency"), "haxconn").value == 0.0


def test_a_throughput_beyond_numbers_is_not_called_without_time() -> None:
    built = problem({"x": network([[1e-310]])}, [("p", "x", ())], [FLAT], "throughput")
    with pytest.raises(InputError, match="its throughput is inf"):
        solve(built, "serial")


def test_out_is_checked_before_solving(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from multidnn.schedule import __main__ as command

    def solved(*_: object, **__: object) -> None:
        raise AssertionError("solved before --out was checked")

    monkeypatch.setattr(command, "solve", solved)
    paths = write_files(_problem(), tmp_path)
    arguments = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    for out in (tmp_path, paths["layers"] / "s.json"):
        with pytest.raises(SystemExit):
            command.main([*arguments, "--scheduler", "serial", "--out", str(out)])
        assert capsys.readouterr().err.startswith(f"error: {out}: cannot be written: ")


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, multidnn.schedule; print([m for m in ('z3', 'numpy', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_explain_prints_where_the_time_goes_and_adds_the_alternatives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from multidnn.schedule.__main__ import main

    paths = write_files(_problem(), tmp_path)
    arguments = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    out = tmp_path / "s.json"
    main([*arguments, "--scheduler", "haxconn", "--max-transitions", "0", "--out", str(out), "--explain"])
    content = json.loads(out.read_text())
    printed = capsys.readouterr().out
    assert list(content) == [*KEYS, "alternatives"]
    assert content["alternatives"]["no_transitions"] is None
    more = solve(_problem(), "exhaustive", max_transitions=1)
    assert content["alternatives"]["one_more"]["value"] == pytest.approx(more.value)
    for segment in content["explanation"]["segments"]:
        assert f"{segment['end_ms']:.3f}" in printed
    assert f"The makespan of {content['value']:.3f} ms is decided by " in printed
    assert "Best other placement: " in printed
    assert "One more transition per instance: " in printed
    # a baseline is explained, and claims nothing that alternatives could be asked of
    main([*arguments, "--scheduler", "serial", "--out", str(out), "--explain"])
    assert "Best other placement" not in capsys.readouterr().out
    assert list(json.loads(out.read_text())) == KEYS
    main([*arguments, "--scheduler", "serial", "--out", str(out)])
    assert capsys.readouterr().out.count("\n") == 1
