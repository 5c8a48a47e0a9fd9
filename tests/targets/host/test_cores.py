"""Dealing out cores: disjoint, none wasted, and one message for what cannot be."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multidnn.errors import InputError
from multidnn.targets.host.cores import assign_cores, available_cores

machines = st.sets(st.integers(0, 200), min_size=1, max_size=24).map(lambda cores: tuple(sorted(cores)))


@st.composite
def requests(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, dict[str, Any]]]:
    """A machine and accelerators that fit it: explicit lists, counts and autos, in any order."""
    available = draw(machines)
    left, specs = list(draw(st.permutations(available))), []
    for _ in range(draw(st.integers(1, len(available)))):
        if not left:
            break
        form = draw(st.sampled_from(["auto", "count", "list"]))
        size = 1 if form == "auto" else draw(st.integers(1, len(left)))
        taken, left = left[:size], left[size:]
        specs.append({"auto": "auto", "count": size, "list": taken}[form])
    order = draw(st.permutations(specs))
    return available, {f"a{number}": {"cores": cores} for number, cores in enumerate(order)}


@given(requests())
def test_cores_are_disjoint_exist_and_are_as_many_as_asked(
    request: tuple[tuple[int, ...], dict[str, dict[str, Any]]],
) -> None:
    available, accelerators = request
    assigned = assign_cores("host", accelerators, available)
    assert list(assigned) == list(accelerators)
    dealt = [core for cores in assigned.values() for core in cores]
    assert len(dealt) == len(set(dealt))
    assert set(dealt) <= set(available)
    for name, spec in accelerators.items():
        assert assigned[name]
        if isinstance(spec["cores"], list):
            assert assigned[name] == tuple(spec["cores"])
        elif spec["cores"] != "auto":
            assert len(assigned[name]) == spec["cores"]
    automatic = [len(assigned[name]) for name, spec in accelerators.items() if spec["cores"] == "auto"]
    if automatic:
        assert set(dealt) == set(available)
        assert max(automatic) - min(automatic) <= 1


@given(machines, st.integers(1, 5))
def test_more_accelerators_than_cores_says_how_many_are_needed(available: tuple[int, ...], extra: int) -> None:
    count = len(available) + extra
    with pytest.raises(InputError) as error:
        assign_cores("box", {f"a{n}": {"cores": "auto"} for n in range(count)}, available)
    message = str(error.value)
    assert "target 'box'" in message
    assert f"at least {count} cores" in message
    assert f"may use {len(available)}" in message


def test_autos_get_neighbours() -> None:
    accelerators = {"x": {"cores": "auto"}, "y": {"cores": "auto"}}
    assert assign_cores("host", accelerators, (0, 1, 2, 3, 4)) == {"x": (0, 1, 2), "y": (3, 4)}


def test_a_core_claimed_twice_names_both() -> None:
    accelerators = {"x": {"cores": [0, 1]}, "y": {"cores": [1]}}
    with pytest.raises(InputError, match="core 1 is given to both 'x' and 'y'"):
        assign_cores("host", accelerators, (0, 1))


def test_a_core_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(InputError, match=r"'x' wants core 9; this process may use 0, 4$"):
        assign_cores("host", {"x": {"cores": [9]}}, (0, 4))


def test_a_count_beyond_what_lists_leave_is_refused() -> None:
    accelerators = {"x": {"cores": [0, 1]}, "y": {"cores": 3}}
    with pytest.raises(InputError, match="at least 5 cores"):
        assign_cores("host", accelerators, (0, 1, 2, 3))


def test_available_cores_follow_the_affinity_of_the_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cores() == (min(before),)
    finally:
        os.sched_setaffinity(0, before)


def test_hardware_threads_of_one_core_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    # as on most PCs: cores 0 and 2, 1 and 3 are threads of one physical core
    for cpu, physical in enumerate((0, 1, 0, 1)):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text("0\n", encoding="ascii")
        (folder / "core_id").write_text(f"{physical}\n", encoding="ascii")
    assert available_cores(tmp_path) == (0, 2, 1, 3)
    assert available_cores(tmp_path / "none") == (0, 1, 2, 3)
    auto = {name: {"cores": "auto"} for name in ("a", "b")}
    assert assign_cores("box", auto, available_cores(tmp_path)) == {"a": (0, 2), "b": (1, 3)}
