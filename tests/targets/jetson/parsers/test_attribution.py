"""From profiles to group times: by names, by indices, by differences of waits; and what must not be read out of them."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multidnn.errors import InputError
from multidnn.targets.jetson import attribution
from multidnn.targets.jetson.attribution import (
    Straddling,
    dla_block_times,
    dla_group_times,
    dla_layer_times,
    dla_wait,
    gpu_group_times,
    gpu_group_times_by_index,
)
from multidnn.targets.jetson.parsers import profile
from multidnn.targets.jetson.parsers.layer_info import origins
from multidnn.targets.jetson.parsers.profile import Profile
from tests.targets.jetson.parsers.helpers import SAMPLES, recorded

STARTS = [0, 10, 24, 38, 53, 67, 81, 95, 110, 124]


def made(*entries: tuple[str, float]) -> Profile:
    listed = [{"count": 1}, *({"name": name, "timeMs": ms, "averageMs": ms} for name, ms in entries)]
    return profile.parse("[" + "\n,".join(json.dumps(entry) for entry in listed) + "]", "p.json")


def test_entries_go_to_the_group_of_their_layers() -> None:
    found = gpu_group_times(
        made(
            ("Reformatting CopyNode for Input Tensor 0 to c1 + r1", 7),
            ("c1 + r1", 1),
            ("c2 + (Unnamed Layer* 4) [Shuffle] + r2 || c3", 2),
            ("c2 copy", 0.5),
            ("squeeze_after_fc", 0.25),
            ("shuffle_between_fc_and_prob", 0.125),
            ("PWN(PWN(sig_clone_0, w), mul)", 4),
            ("{ForeignNode[m1...m2 + m3]}", 8),
            ("fc [Fully Connected]", 16),
            ("prob finish", 9),
        ),
        [["c1", "r1"], ["c2", "r2", "c3"], ["sig", "mul", "m1", "m2", "m3"], ["fc"], ["prob"]],
    )
    assert found.times_ms == (1, 2.5, 12, 16.375, None)
    assert found.straddling == ()
    assert [entry.name for entry in found.apart] == [
        "Reformatting CopyNode for Input Tensor 0 to c1 + r1",
        "prob finish",
    ]
    assert found.apart_ms == 16


def test_an_entry_in_two_groups_is_given_to_the_first_and_told() -> None:
    found = gpu_group_times(made(("a + b", 1), ("b2 || a2", 2)), [["a", "a2"], ["b", "b2"]])
    assert found.times_ms == (1, 2)
    assert found.straddling == (Straddling("a + b", 1, (0, 1)), Straddling("b2 || a2", 2, (1, 0)))


def test_what_cannot_be_attributed_is_an_error() -> None:
    with pytest.raises(InputError, match=r"p.json:2: 'conv1' matches no layer of any group \(did you mean 'conv2'\?\)"):
        gpu_group_times(made(("conv1", 1)), [["conv2"]])
    with pytest.raises(InputError, match=r"p.json:2: '__myl_FcAdd_myl0_3' matches no layer"):
        gpu_group_times(made(("__myl_FcAdd_myl0_3", 1)), [["conv2"]])
    with pytest.raises(InputError, match="layer 'a' is in group 0 and in group 1"):
        gpu_group_times(made(("a", 1)), [["a"], ["a"]])
    block = made(("{ForeignNode[a...c]}", 5), ("d", 1))
    with pytest.raises(InputError, match=r"the block .* reaches from group 0 into group 1"):
        gpu_group_times(block, [["a", "b"], ["c", "d"]])
    # unless the build log says that it is on the DLA
    found = gpu_group_times(block, [["a", "b"], ["c", "d"]], dla_blocks=["{ForeignNode[a...c]}"])
    assert found.times_ms == (None, 1)
    assert [entry.name for entry in found.apart] == ["{ForeignNode[a...c]}"]
    # Conv_1 is not taken for Conv_15
    with pytest.raises(InputError, match="matches no layer"):
        gpu_group_times(made(("Conv_15", 1)), [["Conv_1"]])


def test_names_without_a_layer_follow_the_inspector_or_both_neighbours() -> None:
    groups = [["a", "/m/Concat"], ["b", "prob"], ["c"]]
    info = {
        "Layers": [
            # a copy is called after the tensor that it copies, and says which concatenation it is for
            {"Name": "/m/Add_output_0 copy", "Metadata": "[ONNX Layer: /m/Concat]"},
            {"Name": "__myl_MaxSubExpSumDivMul_myl0_1", "Metadata": "[ONNX Layer: b | x]\x1e[ONNX Layer: prob | y]"},
            {"Name": "__myl_Two_myl0_2", "Metadata": "[ONNX Layer: prob][ONNX Layer: c]"},
            {"Name": "untold"},
            "a name only",
        ]
    }
    known = origins(info)
    assert known == {
        "/m/Add_output_0 copy": ["/m/Concat"],
        "__myl_MaxSubExpSumDivMul_myl0_1": ["b", "prob"],
        "__myl_Two_myl0_2": ["prob", "c"],
    }
    entries = [("/m/Add_output_0 copy", 1), ("__myl_MaxSubExpSumDivMul_myl0_1", 2), ("__myl_Two_myl0_2", 4), ("c", 8)]
    found = gpu_group_times(made(*entries), groups, origins=known)
    assert found.times_ms == (1, 6, 8)
    assert found.straddling == (Straddling("__myl_Two_myl0_2", 4, (1, 2)),)
    # without an inspector: both neighbours must be of one group
    found = gpu_group_times(made(("b", 1), ("__myl_Relu_myl0_1", 2), ("prob", 4), ("c", 8)), groups)
    assert found.times_ms == (None, 7, 8)
    with pytest.raises(InputError, match="'tensor_7 copy' matches no layer"):
        gpu_group_times(made(("b", 1), ("tensor_7 copy", 2), ("c", 8)), groups)
    assert origins(None) == origins({"Layers": ["a"]}) == origins({}) == {}


def test_by_index() -> None:
    read = made(("a input reformatter 0", 9), ("a + b", 1), ("c", 2), ("d + e || f + g", 4), ("d copy", 8))
    assert gpu_group_times_by_index(read, [0, 2, 3]).times_ms == (1, 2, 12)
    found = gpu_group_times_by_index(read, [0, 1, 4, 5])
    assert found.times_ms == (1, 6, None, 8)
    assert found.straddling == (Straddling("a + b", 1, (0, 1)), Straddling("d + e || f + g", 4, (1, 2, 3)))
    for starts in ([], [1, 2], [0, 0], [0, 3, 2]):
        with pytest.raises(InputError, match="expected ascending numbers from 0"):
            gpu_group_times_by_index(read, starts)
    with pytest.raises(InputError, match="the last group starts at layer 8, the profile has 8 layers"):
        gpu_group_times_by_index(read, [0, 8])
    with pytest.raises(InputError, match="does not say which layers it stands for"):
        gpu_group_times_by_index(made(("{a,b}", 1)), [0])


def test_the_wait_in_7_1() -> None:
    read = profile.read(SAMPLES / "profile-7.1.json")
    # what follows the block, without the submission and without the layer on the GPU
    assert dla_wait(read, "submission") == pytest.approx(3.3333 + 0.005)
    two = made(
        ("g", 100), ("{a} input reformatter 0", 100), ("{a}", 1), ("{a} output reformatter 0", 2), ("g2", 100),
        ("{b} input reformatter 0", 100), ("{b}", 4), ("{b} finish", 8), ("prob", 100),
    )  # fmt: skip
    assert dla_wait(two, "submission") == 15


def test_the_wait_in_8_5_and_later() -> None:
    read = profile.read(SAMPLES / "trtexec-8.5-profile.log")
    name = "{ForeignNode[conv1...fc]}"
    assert dla_wait(read, "inclusive", [name]) == pytest.approx(1.032)
    assert dla_block_times(read, [name]) == {name: pytest.approx(1.032)}
    with pytest.raises(InputError, match="say which blocks are on the DLA"):
        dla_wait(read, "inclusive")
    with pytest.raises(InputError, match=r"has no DLA block 'x'; found {ForeignNode"):
        dla_wait(read, "inclusive", ["x"])
    with pytest.raises(InputError, match="no block is on the DLA"):
        dla_wait(read, "inclusive", [])
    with pytest.raises(InputError, match=r"found '{ForeignNode.*expected a DLA block of TensorRT 7.1"):
        dla_wait(read, "submission")
    with pytest.raises(InputError, match="found no block, expected a DLA block"):
        dla_wait(made(("a", 1)), "submission")


def test_the_artifacts_way_is_refused() -> None:
    read = profile.read(SAMPLES / "profile-7.1.json")
    for ask in (
        lambda: dla_layer_times(read),
        lambda: dla_block_times(read, ["{conv1,relu1,pool1,fc 2}"]),
        lambda: dla_wait(read, "inclusive", ["{conv1,relu1,pool1,fc 2}"]),
    ):
        with pytest.raises(InputError, match=r"profile-7.1.json:4: the entry .* hold submission time only"):
            ask()
    with pytest.raises(InputError, match="has one time for all its layers"):
        dla_layer_times(profile.read(SAMPLES / "trtexec-8.5-profile.log"))
    assert dla_layer_times(made(("a", 1))) == {}


def test_dla_groups_are_differences() -> None:
    assert dla_group_times({10: 2.0, 24: 1.5}, 3.0) == pytest.approx((1.0, 0.5, 1.5))
    assert dla_group_times({}, 3.0) == (3.0,)
    with pytest.raises(
        InputError, match=r"from cut 10 \(2.0000 ms\) to cut 24 \(2.1000 ms\).*up to 0.05 ms counts as noise"
    ):
        dla_group_times({24: 2.1, 10: 2.0}, 3.0, noise_ms=0.05)
    with pytest.raises(InputError, match=r"from the whole network \(2.0000 ms\) to cut 10"):
        dla_group_times({10: 2.5}, 2.0)
    with pytest.raises(InputError, match=r"from cut 10 .* to cut 24"):
        dla_group_times({10: 2.0, 24: 2.0}, 3.0)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=r"wait at cut 10 is .* expected a positive number"):
            dla_group_times({10: bad}, 3.0)
    # within the noise both waits become their mean, and nothing is negative
    assert dla_group_times({10: 2.0, 24: 2.02, 38: 1.0}, 3.0, noise_ms=0.05) == pytest.approx((0.99, 0.0, 1.01, 1.0))


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.floats(0.01, 5), min_size=1, max_size=10),
    noise=st.lists(st.floats(-0.5, 0.5), min_size=10, max_size=10),
    amount=st.sampled_from([0.0, 0.001, 0.05]),
)
def test_groups_come_back_from_their_waits(groups: list[float], noise: list[float], amount: float) -> None:
    exact = [sum(groups[i:]) for i in range(len(groups))]
    waits = [wait + amount * error * 0.1 for wait, error in zip(exact, noise, strict=False)]
    if any(b > a + amount or b <= 0 for a, b in pairwise(waits)) or waits[-1] <= 0:
        return
    found = dla_group_times(dict(enumerate(waits[1:], 1)), waits[0], noise_ms=amount)
    assert min(found) >= 0
    assert found == pytest.approx(groups, abs=0.11 * amount + 1e-9)
    # the least squares fit keeps the mean of all waits
    smooth = [sum(found[i:]) for i in range(len(found))]
    assert sum(smooth) == pytest.approx(sum(waits))


def googlenet_names() -> list[str]:
    """TensorRT's 141 layers in its order: 140 in the DLA block of the all-DLA engine, and prob."""
    block = profile.read(recorded("trtexec-7.1/googlenet_dla_mark_at_-1.profile")).layers[1]
    return [*block.parts, "prob"]


def test_recorded_gpu_groups() -> None:
    """Against the reference's own sums, rounded to 0.001 ms there."""
    read = profile.read(recorded("trtexec-7.1/googlenet_gpu_transition_at_-1.profile"))
    found = gpu_group_times_by_index(read, STARTS)
    assert found.times_ms == pytest.approx(
        [0.366, 0.127, 0.208, 0.133, 0.120, 0.121, 0.144, 0.197, 0.126, 0.212], abs=0.001
    )
    assert found.straddling == ()
    assert found.times_ms == pytest.approx(_indices_by_hand(), abs=1e-12)
    # the same by name, with names that another profile gives in the network's order
    names = googlenet_names()
    assert len(names) == 141
    named = gpu_group_times(read, [names[a:b] for a, b in pairwise([*STARTS, 141])])
    assert named.times_ms == pytest.approx(found.times_ms, abs=1e-12)
    assert named.straddling == ()
    assert named.apart_ms == pytest.approx(sum(layer.time_ms for layer in read.layers if "reformatter" in layer.name))


def _indices_by_hand() -> list[float]:
    """The sums from the artifact's filtered file, which says itself how many layers each entry stands for."""
    entries = json.loads(recorded("trtexec-7.1/googlenet_gpu_transition_at_-1_filtered.json").read_text())
    times, layer = [0.0] * len(STARTS), 0
    for entry in entries:
        times[max(i for i, start in enumerate(STARTS) if start <= layer)] += entry["average_time_ms"]
        layer += entry["layer_count"]
    assert layer == 141
    return times


def test_recorded_waits() -> None:
    waits = {
        cut: dla_wait(profile.read(recorded(f"trtexec-7.1/googlenet_gpu_transition_at_{cut}.profile")), "submission")
        for cut in (10, 38, 67, 95)
    }
    assert waits == pytest.approx({10: 2.437, 38: 1.849, 67: 1.366, 95: 0.920}, abs=0.0005)
    derived = json.loads(recorded("artifact/dla_group_times_derived.json").read_text())
    assert waits == pytest.approx({cut: derived["dla_wait_ms"][str(cut)] for cut in waits}, abs=0.0001)
    # all nine, as the reference lists them
    listed = {int(cut): wait for cut, wait in derived["dla_wait_ms"].items() if cut != "full"}
    groups = dla_group_times(listed, derived["dla_wait_ms"]["full"])
    assert groups == pytest.approx(list(derived["group_ms"].values()), abs=0.001)
    # the engine that starts on the DLA: its longest entry is the reference's, the rule adds what follows the block
    whole = profile.read(recorded("trtexec-7.1/googlenet_dla_mark_at_-1.profile"))
    assert max(layer.time_ms for layer in whole.layers) == pytest.approx(3.332, abs=0.0005)
    assert dla_wait(whole, "submission") == pytest.approx(3.3523, abs=0.0001)


def test_recorded_parts_of_the_gpu() -> None:
    """An engine that moves to the DLA at layer 38: three groups and the closing layer on the GPU, the rest apart."""
    read = profile.read(recorded("trtexec-7.1/googlenet_gpu_transition_at_38.profile"))
    names = googlenet_names()
    found = gpu_group_times(read, [names[a:b] for a, b in pairwise([*STARTS, 141])])
    assert [time is None for time in found.times_ms] == [False] * 3 + [True] * 6 + [False]
    # another engine, so the same groups within a few percent
    assert found.times_ms[:3] == pytest.approx([0.366, 0.127, 0.208], rel=0.03)


def test_recorded_orin() -> None:
    read = profile.read(recorded("trtexec-8.x/orin_trt852_dumpProfile_dla.txt"))
    block = "{ForeignNode[conv1/7x7_s2...loss3/classifier]}"
    assert dla_wait(read, "inclusive", [block]) == pytest.approx(1.0320, abs=0.0001)
    assert attribution.gpu_group_times(read, [["prob"]], [block]).times_ms == pytest.approx((0.0186,), abs=0.0001)
