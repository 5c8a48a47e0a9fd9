"""The tables of a board recover the times that its profiles were made from, and refuse what contradicts itself."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multidnn import tables
from multidnn.errors import InputError
from multidnn.files import read_json, write_json
from multidnn.measure.jetson.layers import board_layers
from multidnn.measure.jetson.transitions import board_transitions
from tests.measure.jetson.boards import write_exported, write_network, write_profiles

ACCELERATORS = ["gpu", "dla0"]
MS = st.floats(0.01, 5).map(lambda ms: round(ms, 4))


def layers(directory: Path, times: dict[str, list[float]], **options: Any) -> dict[tuple[int, str], tables.Row]:
    """The layer table of a network whose groups take `times`, by group and accelerator."""
    models = write_network(directory / "models", "net", len(times["gpu"]))
    profiles = write_profiles(directory / "profiles", "net", times, **options)
    board_layers(models, profiles, ACCELERATORS, ["Softmax"], directory / "net.csv")
    return {(row["group"], row["accelerator"]): row for row in tables.read(directory / "net.csv", tables.LAYERS)}


@given(st.lists(st.tuples(MS, MS), min_size=1, max_size=5), st.floats(0, 0.2))
def test_groups_take_what_the_engines_were_made_of(pairs: list[tuple[float, float]], reformat_ms: float) -> None:
    times = {"gpu": [gpu for gpu, _ in pairs], "dla": [dla for _, dla in pairs]}
    with TemporaryDirectory() as scratch:
        rows = layers(Path(scratch), times, reformat_ms=reformat_ms)
    for group, (gpu, dla) in enumerate(pairs):
        assert rows[group, "gpu"]["median_ms"] == pytest.approx(gpu, rel=1e-5)
        # the reformatters around a block are no part of any group
        assert rows[group, "dla0"]["median_ms"] == pytest.approx(dla, rel=1e-4, abs=1e-5)
        assert (rows[group, "gpu"]["first_layer"], rows[group, "gpu"]["last_layer"]) == (2 * group, 2 * group + 1)


def test_refused_layers_make_their_group_unsupported_unless_they_may_stay_on_the_gpu(tmp_path: Path) -> None:
    times = {"gpu": [1.0, 1.0, 1.0], "dla": [2.0, 2.0, 2.0]}
    rows = layers(tmp_path, times, refused={"net_2": "kernel 40 is above 32", "net_5": "softmax"})
    assert rows[1, "dla0"]["supported"] is False
    assert rows[1, "dla0"]["reason"] == "the DLA does not take net_2: kernel 40 is above 32"
    assert rows[2, "dla0"]["supported"] is True, "net_5 is the softmax, which may stay on the GPU"
    assert all(rows[group, "gpu"]["supported"] for group in range(3))


def test_a_wait_that_rises_is_refused_with_its_cuts(tmp_path: Path) -> None:
    models = write_network(tmp_path / "models", "net", 3)
    profiles = write_profiles(tmp_path / "profiles", "net", {"gpu": [1, 1, 1], "dla": [2, 2, 2]})
    (path,) = [path for path in profiles if path.stem == "gpu_transitions"]
    text = (
        path.read_text(encoding="utf-8")
        .replace('"averageMs": 4', '"averageMs": 9')
        .replace('"medianMs": 4', '"medianMs": 9')
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match=r"^net on dla0: the DLA's wait does not fall from the whole network .* to cut 2"
    ):
        board_layers(models, profiles, ACCELERATORS, ["Softmax"], tmp_path / "net.csv")
    assert not (tmp_path / "net.csv").exists()


def test_transitions_are_what_marking_and_reformatting_add(tmp_path: Path) -> None:
    times = {"gpu": [1.0, 2.0, 3.0], "dla": [2.0, 3.0, 4.0]}
    marking = {"gpu": [0.02, 0.03, 0.0], "dla": [0.07, -0.01, 0.0]}
    models = write_network(tmp_path / "models", "net", 3)
    profiles = write_profiles(tmp_path / "profiles", "net", times, marking, reformat_ms=0.05)
    board_layers(models, profiles, ACCELERATORS, ["Softmax"], tmp_path / "layer_results.csv")
    network = write_exported(tmp_path / "net", "net", 3)
    out = tmp_path / "transition_results.csv"
    board_transitions([network], profiles, tmp_path / "layer_results.csv", ACCELERATORS, out)
    rows = {(r["after_group"], r["source"]): r for r in tables.read(out, tables.TRANSITIONS)}
    assert set(rows) == {(0, "gpu"), (0, "dla0"), (1, "gpu"), (1, "dla0")}
    assert rows[0, "gpu"]["out_ms"] == pytest.approx(0.02)
    assert rows[1, "gpu"]["out_ms"] == pytest.approx(0.03)
    assert rows[0, "dla0"]["out_ms"] == pytest.approx(0.07)
    # less than nothing is noise
    assert rows[1, "dla0"]["out_ms"] == 0
    raw = read_json(out.with_suffix(".json"))["differences_ms"]
    assert raw["net/1/dla0/gpu"]["out_ms"] == pytest.approx(-0.01)
    # the block's reformatter is there on the way to the DLA; the whole network on the DLA has it as well
    assert rows[0, "gpu"]["in_ms"] == pytest.approx(0.05)
    assert rows[0, "dla0"]["in_ms"] == pytest.approx(0.0, abs=1e-9)


def test_the_dlas_time_may_stand_on_what_waits_for_it(tmp_path: Path) -> None:
    """As in NVIDIA/TensorRT issue 3143: the block is over once submitted, `X from nvm` takes what the DLA takes."""
    times = {"gpu": [1.0, 2.0, 3.0], "dla": [2.0, 3.0, 4.0]}
    models = write_network(tmp_path / "models", "net", 3)
    profiles = write_profiles(tmp_path / "profiles", "net", times, reformat_ms=0.05)
    for path in profiles:
        content = read_json(path)
        for engine in content["engines"].values():
            for measured in engine["profiles"].values():
                listed = []
                for entry in measured["profile"]:
                    listed.append(entry)
                    if entry.get("name") in engine["build"]["placement"]["dla"]:
                        listed.append({**entry, "name": "t9 from nvm"})
                        listed[-2] = {**entry, "timeMs": 0.0, "averageMs": 0.0, "medianMs": 0.0}
                measured["profile"] = listed
        write_json(path, content)
    out = tmp_path / "layer_results.csv"
    board_layers(models, profiles, ACCELERATORS, ["Softmax"], out)
    rows = {(row["group"], row["accelerator"]): row for row in tables.read(out, tables.LAYERS)}
    assert [rows[group, "dla0"]["median_ms"] for group in range(3)] == pytest.approx(times["dla"])
    network = write_exported(tmp_path / "net", "net", 3)
    board_transitions([network], profiles, out, ACCELERATORS, tmp_path / "transition_results.csv")
    moves = {
        (r["after_group"], r["source"]): r for r in tables.read(tmp_path / "transition_results.csv", tables.TRANSITIONS)
    }
    assert moves[0, "gpu"]["in_ms"] == pytest.approx(0.05)


def test_a_group_that_drowns_in_noise_shares_its_neighbour_s_time(tmp_path: Path) -> None:
    # the third engine was built a little slower than the second, so that the group between seems to take less than nothing
    rows = layers(tmp_path, {"gpu": [1.0, 0.2, 0.6, 1.0], "dla": [4.0, -0.05, 2.0, 4.0]})
    dla = [rows[group, "dla0"]["median_ms"] for group in range(4)]
    assert sum(dla) == pytest.approx(9.95)
    assert all(ms > 0.3 for ms in dla), "nothing is free"
    # by the GPU's times
    assert dla[1] / dla[2] == pytest.approx(0.2 / 0.6)


def test_an_entry_of_no_layer_is_named(tmp_path: Path) -> None:
    models = write_network(tmp_path / "models", "net", 2)
    profiles = write_profiles(tmp_path / "profiles", "net", {"gpu": [1, 1], "dla": [2, 2]})
    (path,) = [path for path in profiles if path.stem == "whole"]
    path.write_text(path.read_text(encoding="utf-8").replace('"net_1"', '"mystery"'), encoding="utf-8")
    with pytest.raises(InputError, match="'mystery' matches no layer of any group"):
        board_layers(models, profiles, ACCELERATORS, ["Softmax"], tmp_path / "net.csv")
