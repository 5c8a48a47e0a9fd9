"""What the terminal and the page say: aligned, with proof or without it, better and worse the right way round."""

from typing import Any

import pytest

from multidnn.schedule import solve
from multidnn.schedule.slowdown import Slowdown
from multidnn.schedule.wording import HEADINGS, makespan_sentence, makespan_sum, placement_text, sentences, table
from tests.schedule.problems import network, problem


def _answer(
    value: float, better: float | None, *, bound: float | None = None, status: str = "optimal"
) -> dict[str, Any]:
    placement = {"p": ["a", "a", "b"], "q": ["b"]}
    return {"value": value, "bound": bound, "status": status, "better_pct": better, "placement": placement}


def _content(objective: str = "latency", **answers: Any) -> dict[str, Any]:
    return {
        "objective": objective,
        "value": 10.0,
        "placement": {"p": ["a", "a", "a"], "q": ["b"]},
        "alternatives": {
            "time_limit_s": 10.0, "second": None, "one_more": None, "no_transitions": None, **answers
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            _content(second=_answer(10.13, -1.3)),
            "Best other placement: 10.13 ms, 1.3 % slower, proved. There: p 0-1 on a, 2 on b.",
        ),
        (_content(one_more=_answer(10.0, 0.0)), "One more transition per instance: proved no gain."),
        (_content(one_more=_answer(10.0, 1e-6)), "One more transition per instance: proved no gain."),
        (_content(one_more=_answer(9.0, 10.0)), "One more transition per instance: 9 ms, 10.0 % faster, proved."),
        (
            _content(one_more=_answer(10.0, 0.0, bound=9.5, status="feasible")),
            "One more transition per instance: no gain found in 10 s; one 5.0 % faster is not ruled out.",
        ),
        (
            _content(one_more=_answer(10.0, 0.0, status="feasible")),
            "One more transition per instance: no gain found in 10 s; nothing is proved.",
        ),
        (
            _content("throughput", no_transitions=_answer(8.0, -20.0, bound=9.0, status="feasible")),
            "No transition: 8 inferences/s, 20.0 % less, the best found in 10 s; one 10.0 % less is not ruled out.",
        ),
        (_content("throughput", one_more=_answer(11.0, 10.0)), "One more transition per instance: 11 inferences/s, 10.0 % more, proved."),
        (_content(no_transitions=_answer(10.0, 0.0)), "No transition: just as good, proved."),
        (
            _content(no_transitions={"absent": "p needs more than 0 transitions"}),
            "No transition: none (p needs more than 0 transitions).",
        ),
        (
            _content(second=_answer(9.0, 10.0, bound=8.0, status="feasible")),
            "Best other placement: 9 ms, 10.0 % faster, the best found in 10 s; one 20.0 % faster is not ruled out. The chosen "
            "schedule is not the best one: give the scheduler more time. There: p 0-1 on a, 2 on b.",
        ),
    ],
)  # fmt: skip
def test_each_answer_says_how_much_and_whether_it_is_proved(content: dict[str, Any], said: str) -> None:
    assert sentences(content) == [said]


def test_questions_that_do_not_arise_are_not_mentioned() -> None:
    assert sentences(_content()) == []


def test_a_placement_in_one_line() -> None:
    assert placement_text({"p": ["a", "b", "b"], "q": ["b"]}) == "p 0 on a, 1-2 on b; q 0 on b"


def test_the_table_is_aligned_and_its_sum_is_the_makespan() -> None:
    built = problem(
        {"x": network([[1.0, 2.0], [2.0, 1.0]], 5.0, (0.125, 0.25)), "long-name": network([[4.0, 1.25]], 5.0)},
        [("p", "x", ()), ("q", "long-name", ())],
        [Slowdown((0.0,), (0.0, 10.0), ((1.0, 1.5),))] * 2,
    )
    schedule = solve(built, "exhaustive", max_transitions=1)
    assert schedule.extra is not None
    found = schedule.extra["explanation"]
    lines = table(found).splitlines()
    assert len(lines) == 1 + len(found["segments"]) + 2
    assert [heading for heading in HEADINGS if heading not in lines[0]] == []
    # right-aligned numbers end where their heading ends
    for heading in ("start", "alone", "end"):
        edge = lines[0].index(f" {heading} ") + len(heading) + 1
        for line in lines[1 : 1 + len(found["segments"])]:
            assert line[edge - 1].isdigit()
            assert line[edge : edge + 2] == "  "
    text = makespan_sum(found)
    total, _, parts = text.partition(" ms = ")
    assert sum(float(part.split()[0]) for part in parts.split(" + ")) == pytest.approx(float(total), abs=2e-3)
    assert float(total) == pytest.approx(schedule.value, abs=1e-3)
    assert f"{total} ms is decided by " in makespan_sentence(found)
