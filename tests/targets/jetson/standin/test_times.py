"""Times of the stand-in: the recorded Xavier tables, exactly; values that show whether data went the right way."""

import itertools
import json

import pytest
from conftest import recorded_layers, recorded_starts

from multidnn.networks.segments import write_segment
from multidnn.targets.recorded.answer import recorded_data

# whole on each device, moving at each cut, and with each cut's tensor marked; names of first layers come as arguments
EVERYTHING = """
path, cuts = sys.argv[1], json.loads(sys.argv[2])
def time(**how):
    return Bound(load(build(path, **how), 0)).ms()
before = json.loads(sys.argv[3])
answer({
    "gpu": time(),
    "dla": time(dla=True),
    "gpu_moving": [time(switch=cut) for cut in cuts],
    "dla_moving": [time(dla=True, switch=cut) for cut in cuts],
    "gpu_marked": [time(mark=last) for last in before],
    "dla_marked": [time(dla=True, mark=last) for last in before],
})
"""


@pytest.mark.parametrize("name", ["googlenet", "alexnet"])
def test_engines_take_the_recorded_times(board, request, name):
    directory = request.getfixturevalue(name)
    described = json.loads((directory / "board.json").read_text())
    cuts = [group["layers"][0] for group in described["groups"][1:]]
    before = [group["layers"][-1] for group in described["groups"][:-1]]
    found = board(board="xavier").run(EVERYTHING, directory / "whole.onnx", json.dumps(cuts), json.dumps(before))
    recorded = recorded_data()["networks"][name]
    gpu, dla = recorded["ms"]["gpu"], recorded["ms"]["dla"]
    assert len(gpu) == len(cuts) + 1
    exactly = lambda values: pytest.approx(values, rel=1e-6)  # noqa: E731
    assert found["gpu"] == exactly(sum(gpu))
    assert found["dla"] == exactly(sum(dla))
    assert found["gpu_moving"] == exactly([sum(gpu[:k]) + sum(dla[k:]) for k in range(1, len(gpu))])
    assert found["dla_moving"] == exactly([sum(dla[:k]) + sum(gpu[k:]) for k in range(1, len(gpu))])
    for device in ("gpu", "dla"):
        out = [ms - found[device] for ms in found[f"{device}_marked"]]
        assert out == pytest.approx(recorded["out_ms"][device][: len(cuts)], abs=1e-6)


def test_a_profile_adds_up_to_the_groups_and_the_whole(board, googlenet):
    program = """
class Profiler(trt.IProfiler):
    def __init__(self):
        trt.IProfiler.__init__(self)
        self.times = []
    def report_layer_time(self, layer_name, ms):
        self.times.append([layer_name, ms])
found = {}
for dla in (False, True):
    bound = Bound(load(build(sys.argv[1], dla=dla), 0))
    bound.context.profiler = profiler = Profiler()
    bound.ms()
    found["dla" if dla else "gpu"] = profiler.times
answer([found, [line for line in LOG.lines if "Layer]" in line]])
"""
    found, placed = board(board="xavier").run(program, googlenet / "whole.onnx")
    described = json.loads((googlenet / "board.json").read_text())
    recorded = recorded_data()["networks"]["googlenet"]["ms"]
    for group, ms in zip(described["groups"], recorded["gpu"], strict=True):
        own = [time for entry, time in found["gpu"] if entry.split(" + ")[0].split(" || ")[0] in group["layers"]]
        assert sum(own) == pytest.approx(ms, rel=1e-9)
    assert sum(ms for _, ms in found["dla"]) == pytest.approx(sum(recorded["dla"]), rel=1e-9)
    names = [entry for entry, _ in found["gpu"]]
    assert "conv1/7x7_s2 + conv1/relu_7x7" in names
    assert any(" || " in entry and "inception_3a/1x1" in entry for entry in names)
    block = "{ForeignNode[conv1/7x7_s2...loss3/classifier]}"
    assert [entry for entry, _ in found["dla"] if not entry.startswith("Reformatting")] == [block, "prob"]
    assert f"INFO: [DlaLayer] {block}" in placed
    assert "INFO: [GpuLayer] SOFTMAX: prob" in placed


def test_segments_cost_what_leaving_costs(board, googlenet):
    for first, last in ((0, 3), (4, 9)):
        write_segment(googlenet, range(first, last + 1), googlenet / f"segment_{first:02d}_{last:02d}.onnx")
    program = """
answer([[Bound(load(build(path, dla=dla), 0)).ms() for path in sys.argv[1:]] for dla in (False, True)])
"""
    found = board(board="xavier").run(program, googlenet / "segment_00_03.onnx", googlenet / "segment_04_09.onnx")
    recorded = recorded_data()["networks"]["googlenet"]
    for device, (head, tail) in zip(("gpu", "dla"), found, strict=True):
        assert head == pytest.approx(sum(recorded["ms"][device][:4]) + recorded["out_ms"][device][3], rel=1e-6)
        assert tail == pytest.approx(sum(recorded["ms"][device][4:]), rel=1e-6)


def test_values_depend_on_the_input_and_not_on_the_cutting(board, googlenet):
    for first, last in ((0, 3), (4, 9)):
        write_segment(googlenet, range(first, last + 1), googlenet / f"segment_{first:02d}_{last:02d}.onnx")
    program = """
whole = Bound(load(build(sys.argv[1]), 0))
head, tail = (Bound(load(build(path, dla=True), 0)) for path in sys.argv[2:])
between = next(iter(set(head.memory) & set(tail.memory)))
tail.context.set_tensor_address(between, int(head.memory[between]))
def result(bound):
    host = np.full(1000, np.nan, np.float32)
    cuda.memcpy_dtoh(host, bound.memory["prob"])
    return host
found = []
for seed in (1, 2):
    data = np.random.default_rng(seed).standard_normal((1, 3, 224, 224)).astype(np.float32)
    for bound in (whole, head):
        cuda.memcpy_htod(bound.memory["data"], data)
    for bound in (whole, head, tail):
        bound.ms()
    found.append([result(whole), result(tail)])
# a tensor that nobody has written yet spoils what is made of it
cuda.memcpy_htod(head.memory[between], np.full(tail.engine.get_tensor_shape(between)[1] * 196, np.nan, np.float32))
tail.ms()
(a, b), (c, d) = found
answer([bool(np.array_equal(a, b)), bool(np.array_equal(c, d)), bool(np.array_equal(a, c)), bool(np.isnan(result(tail)).all())])
"""
    same, also, different, spoilt = board(board="xavier").run(
        program, googlenet / "whole.onnx", googlenet / "segment_00_03.onnx", googlenet / "segment_04_09.onnx"
    )
    assert same
    assert also
    assert not different
    assert spoilt


def test_the_host_really_waits(board, googlenet):
    program = """
import time
bound = Bound(load(build(sys.argv[1], dla=True), 0))
bound.ms()
begin = time.monotonic()
virtual = bound.ms(repeats=20)
answer([virtual, (time.monotonic() - begin) * 1e3])
"""
    virtual, real = board(board="xavier").run(program, googlenet / "whole.onnx")
    assert virtual == pytest.approx(3.84, rel=1e-6)
    assert real >= 20 * 3.84


def test_the_networks_file_is_made_from_the_prototxts(googlenet, alexnet):
    for name, directory in (("googlenet", googlenet), ("alexnet", alexnet)):
        starts = recorded_starts(name)
        described = json.loads((directory / "board.json").read_text())
        network = json.loads((directory.parent / "network.json").read_text())
        assert [group["first_layer"] for group in described["groups"]] == starts
        assert set(starts[1:]) <= set(network["cuts"])
        assert recorded_layers(name) == [layer["name"] for layer in network["layers"]]
        # no group begins with the activation of the convolution before it
        layers = network["layers"]
        assert all(layers[start]["type"] != "Relu" for start in starts)
        assert all(a < b for a, b in itertools.pairwise(starts))
