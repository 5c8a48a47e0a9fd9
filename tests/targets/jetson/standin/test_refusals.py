"""The stand-in refuses what a board refuses."""

import pytest
from conftest import one_layer


def test_a_network_without_the_flag_takes_no_onnx_before_10(board, tmp_path):
    model = one_layer(tmp_path / "m.onnx", "Relu")
    program = """
builder = trt.Builder(LOG)
network = builder.create_network(0)
parser = trt.OnnxParser(network, LOG)
answer([parser.parse_from_file(sys.argv[1]), [parser.get_error(i).desc() for i in range(parser.num_errors)]])
"""
    parsed, errors = board(tensorrt="8.5.2").run(program, model)
    assert not parsed
    assert "EXPLICIT_BATCH" in errors[0]
    assert board(tensorrt="10.3.0").run(program, model) == [True, []]


def test_what_11_has_no_more(board):
    program = """
found = []
for of, name in ((trt.BuilderFlag, "FP16"), (trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH"), (trt.IBuilderConfig, "int8_calibrator")):
    try:
        getattr(of, name)
    except AttributeError:
        found.append(name)
answer(found)
"""
    assert board(tensorrt="11.4.1").run(program) == ["FP16", "EXPLICIT_BATCH", "int8_calibrator"]
    assert board(tensorrt="10.7.0").run(program) == []


def test_a_strongly_typed_network_takes_the_precision_from_the_model(board, tmp_path):
    program = """
builder, network, config = parse(sys.argv[1])
config.DLA_core = 0
answer([config.can_run_on_DLA(layer) for layer in layers(network)] + LOG.lines)
"""
    single = board(tensorrt="11.4.1").run(program, one_layer(tmp_path / "m.onnx", "Relu"))
    assert single[0] is False
    assert "FP32" in single[1]
    assert board(tensorrt="11.4.1").run(program, one_layer(tmp_path / "h.onnx", "Relu", half=True)) == [True]
    # before, flags decide, and a model in half precision needs one
    assert board(tensorrt="10.3.0").run("answer(build(sys.argv[1], fp16=False))", tmp_path / "h.onnx") is None


def test_attributes_that_are_not_there(board):
    program = """
builder = trt.Builder(LOG)
config = builder.create_builder_config()
errors = []
for name in ("max_workspace_size", "no_such_thing"):
    try:
        setattr(config, name, 1)
    except AttributeError as error:
        errors.append(name)
answer(errors)
"""
    assert board(tensorrt="10.3.0").run(program) == ["max_workspace_size", "no_such_thing"]
    assert board(tensorrt="8.6.2").run(program) == ["no_such_thing"]


def test_bindings_by_index_are_gone_in_10(board, tmp_path):
    model = one_layer(tmp_path / "m.onnx", "Relu")
    program = """
engine = load(build(sys.argv[1]))
context = engine.create_execution_context()
answer([hasattr(engine, "num_bindings"), hasattr(context, "execute_async_v2"), hasattr(context, "execute_async_v3")])
"""
    assert board(tensorrt="8.4.1").run(program, model) == [True, True, False]
    assert board(tensorrt="8.5.2").run(program, model) == [True, True, True]
    assert board(tensorrt="10.3.0").run(program, model) == [False, False, True]


def test_execution_without_addresses(board, tmp_path):
    program = """
engine = load(build(sys.argv[1]))
context, stream = engine.create_execution_context(), cuda.Stream()
before = context.execute_async_v3(stream.handle)
unknown = context.set_tensor_address("nothing", 4096)
answer([before, unknown, LOG.lines])
"""
    before, unknown, lines = board(tensorrt="8.6.2").run(program, one_layer(tmp_path / "m.onnx", "Relu"))
    assert not before
    assert not unknown
    assert any("Address is not set" in line for line in lines)


def test_memory_that_is_not_the_devices(board, tmp_path):
    program = """
bound = Bound(load(build(sys.argv[1])))
host = np.zeros(1 << 20, np.float32)
bound.context.set_tensor_address("data", int(host.ctypes.data))
bound.context.execute_async_v3(bound.stream.handle)
try:
    bound.stream.synchronize()
except cuda.LogicError as error:
    answer(str(error))
"""
    assert "illegal memory access" in board().run(program, one_layer(tmp_path / "m.onnx", "Relu"))


def test_a_profiler_must_be_initialised(board, tmp_path):
    program = """
class Bad(trt.IProfiler):
    def __init__(self):
        pass
    def report_layer_time(self, layer_name, ms):
        pass
context = load(build(sys.argv[1])).create_execution_context()
try:
    context.profiler = Bad()
except TypeError as error:
    answer(str(error))
"""
    assert "IProfiler.__init__" in board().run(program, one_layer(tmp_path / "m.onnx", "Relu"))


def test_an_engine_of_another_version_or_board(board, tmp_path):
    model, plan = one_layer(tmp_path / "m.onnx", "Relu"), tmp_path / "plan"
    board(tensorrt="8.5.2").run("open(sys.argv[2], 'wb').write(build(sys.argv[1])); answer(0)", model, plan)
    program = "engine = load(open(sys.argv[1], 'rb').read()); answer([engine is None, LOG.lines])"
    for other, said in (
        (board(tensorrt="8.6.2"), "expecting library version 8.6.2 got 8.5.2"),
        (board(tensorrt="8.5.2", board="xavier"), "incompatible device"),
    ):
        refused, lines = other.run(program, plan)
        assert refused
        assert any(said in line for line in lines)


def test_the_dla_core_is_chosen_before_loading(board, tmp_path):
    program = """
plan = build(sys.argv[1], dla=True)
without = load(plan)
runtime = trt.Runtime(LOG)
runtime.DLA_core = 1
engine = runtime.deserialize_cuda_engine(plan)
runtime.DLA_core = 7
answer([without is None, engine is not None, runtime.DLA_core, LOG.lines])
"""
    without, loaded, core, lines = board().run(program, one_layer(tmp_path / "m.onnx", "Relu"))
    assert without
    assert loaded
    assert core == 1
    assert any("not available" in line for line in lines)


def test_a_board_without_dla(board, tmp_path):
    program = """
builder, network, config = parse(sys.argv[1])
config.DLA_core = 0
answer([builder.num_DLA_cores, config.DLA_core, build(sys.argv[1], dla=True) is None, LOG.lines])
"""
    cores, core, refused, lines = board(board="orin-nano").run(program, one_layer(tmp_path / "m.onnx", "Relu"))
    assert (cores, core, refused) == (0, -1, True)
    assert any("not available" in line for line in lines)


REFUSED = [
    ("Conv", {"kernel": 33, "pads": [16] * 4}, "kernel (33, 33)"),
    ("Conv", {"strides": [9, 9]}, "stride (9, 9)"),
    ("Conv", {"kernel": 1, "pads": [1] * 4}, "not below the kernel"),
    ("Conv", {"shape": (4097, 1, 4, 4)}, "batch 4097"),
    ("Conv", {"shape": (1, 1, 3, 8193)}, "above 8192"),
    ("MaxPool", {"kernel_shape": [9, 9]}, "window (9, 9)"),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [17, 17]}, "stride (17, 17)"),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4}, "excludes padding"),
    ("LRN", {"size": 4}, "LRN window 4"),
    ("ConvTranspose", {"pads": [1] * 4}, "padding"),
    ("ConvTranspose", {"group": 2, "channels": 2}, "groups"),
    ("GlobalAveragePool", {}, "REDUCE"),
    ("Softmax", {"axis": 1}, "softmax"),
    ("LeakyRelu", {}, "LeakyRelu"),
    ("Transpose", {"perm": [0, 1, 3, 2]}, "SHUFFLE"),
    ("Relu", {"shape": (1, 10)}, "2 dimensions"),
]
TAKEN = [
    ("Conv", {"kernel": 32, "strides": [8, 8]}),
    ("Conv", {"kernel": 3, "pads": [2] * 4}),
    ("MaxPool", {"kernel_shape": [8, 8], "strides": [16, 16], "pads": [7] * 4}),
    ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
    ("LRN", {"size": 9}),
    ("Sigmoid", {}),
]


def test_layers_that_a_dla_refuses(board, tmp_path):
    models = [one_layer(tmp_path / f"{i}.onnx", op, **attributes) for i, (op, attributes, _) in enumerate(REFUSED)]
    program = """
found = []
for path in sys.argv[1:]:
    LOG.lines.clear()
    builder, network, config = parse(path)
    config.set_flag(trt.BuilderFlag.FP16)
    config.DLA_core = 0
    can = [config.can_run_on_DLA(layer) for layer in layers(network)]
    strict, reasons = build(path, dla=True, fallback=False), list(LOG.lines)
    LOG.lines.clear()
    loose = build(path, dla=True, fallback=True)
    found.append([any(can), strict is None, reasons, loose is not None, list(LOG.lines)])
answer(found)
"""
    answers = board(board="xavier").run(program, *models)
    for (op, attributes, said), (can, refused, reasons, built, lines) in zip(REFUSED, answers, strict=True):
        assert (can, refused, built) == (False, True, True), (op, attributes)
        assert any(said in line for line in reasons)
        assert any("GPU fallback is not enabled" in line for line in reasons)
        assert any("Unsupported on DLA. Switching this layer's device type to GPU." in line for line in lines)


def test_layers_that_a_dla_takes(board, tmp_path):
    models = [one_layer(tmp_path / f"{i}.onnx", op, **attributes) for i, (op, attributes) in enumerate(TAKEN)]
    program = """
found = []
for path in sys.argv[1:]:
    engine = load(build(path, dla=True), 0)
    information = json.loads(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
    found.append([layer["LayerType"] for layer in information["Layers"] if layer["LayerType"] != "Reformat"])
answer(found)
"""
    assert board(board="xavier").run(program, *models) == [["DLA"]] * len(TAKEN)


def test_softmax_runs_on_the_dla_of_orin_from_8_6_on(board, tmp_path):
    model = one_layer(tmp_path / "m.onnx", "Softmax", (1, 1000, 1, 1), axis=1)
    program = """
builder, network, config = parse(sys.argv[1])
config.set_flag(trt.BuilderFlag.FP16)
config.DLA_core = 0
answer(config.can_run_on_DLA(network.get_layer(0)))
"""
    assert board(tensorrt="8.6.2", board="orin").run(program, model)
    assert not board(tensorrt="8.5.2", board="orin").run(program, model)


def test_a_dla_needs_half_precision(board, tmp_path):
    program = "answer([build(sys.argv[1], dla=True, fp16=False, fallback=False) is None, LOG.lines])"
    refused, lines = board().run(program, one_layer(tmp_path / "m.onnx", "Relu"))
    assert refused
    assert any("FP16 and Int8" in line for line in lines)


def test_a_core_holds_16_loadables_of_all_processes(board, tmp_path):
    the, plan = board(), tmp_path / "plan"
    the.run(
        "open(sys.argv[2], 'wb').write(build(sys.argv[1], dla=True)); answer(0)",
        one_layer(tmp_path / "m.onnx", "Relu"),
        plan,
    )
    holder = """
plan = open(sys.argv[1], "rb").read()
held = [load(plan, 0) for _ in range(10)]
print(all(engine is not None for engine in held), flush=True)
sys.stdin.read()
"""
    program = """
plan = open(sys.argv[1], "rb").read()
held = [load(plan, 0) for _ in range(8)]
other = load(plan, 1)
first = [engine is not None for engine in held]
held.clear()
again = load(plan, 0)
answer([first, other is not None, again is not None, LOG.lines[-1]])
"""
    with the.start(holder, plan) as process:
        assert process.stdout.readline() == "True\n"
        first, other, again, said = the.run(program, plan)
        process.stdin.close()
        process.wait(20)
    assert first == [True] * 6 + [False] * 2
    assert other
    assert again
    assert "16 loadables on core 0" in said
    # what ended holds nothing
    assert the.run("answer(all([load(open(sys.argv[1], 'rb').read(), 0) is not None for _ in range(16)]))", plan)


def test_cuda_wants_a_context_in_this_very_process(board):
    program = """
import os
CONTEXT.pop()
said = []
for call in (cuda.Stream, lambda: cuda.mem_alloc(16)):
    try:
        call()
    except cuda.LogicError as error:
        said.append(str(error))
cuda.Device(0).make_context()
read, write = os.pipe()
if os.fork() == 0:
    try:
        cuda.Stream()
    except cuda.LogicError as error:
        os.write(write, str(error).encode())
    os._exit(0)
os.close(write)
answer([*said, os.read(read, 1000).decode()])
"""
    stream, memory, forked = board().run(program)
    assert "invalid device context" in stream
    assert "invalid device context" in memory
    assert "fork" in forked


def test_a_calibrator_must_give_device_memory(board, tmp_path):
    program = """
class Calibrator(trt.IInt8EntropyCalibrator2):
    def __init__(self, address):
        trt.IInt8EntropyCalibrator2.__init__(self)
        self.addresses, self.cache = [address], None
    def get_batch_size(self):
        return 1
    def get_batch(self, names):
        return [self.addresses.pop()] if self.addresses else None
    def read_calibration_cache(self):
        return None
    def write_calibration_cache(self, cache):
        self.cache = bytes(memoryview(cache))
found = []
memory = cuda.mem_alloc(4 * 64 * 32 * 32)
for address in (4096, int(memory)):
    builder, network, config = parse(sys.argv[1])
    config.set_flag(trt.BuilderFlag.INT8)
    config.int8_calibrator = calibrator = Calibrator(address)
    found.append([builder.build_serialized_network(network, config) is not None, calibrator.cache is not None])
answer(found)
"""
    assert board().run(program, one_layer(tmp_path / "m.onnx", "Relu")) == [[False, False], [True, True]]


@pytest.mark.parametrize("version", ["8.4.1", "11.4.1"])
def test_unknown_operators_and_lost_weights(board, tmp_path, version):
    program = """
builder = trt.Builder(LOG)
found = []
for path in sys.argv[1:]:
    network = builder.create_network(1 if NEEDS_FLAG else 0)
    parser = trt.OnnxParser(network, LOG)
    found.append([parser.parse_from_file(path), *(parser.get_error(i).desc() for i in range(parser.num_errors))])
answer(found)
"""
    model = one_layer(tmp_path / "m.onnx", "Det", (1, 4, 4))
    (parsed, said), (missing, what) = board(tensorrt=version).run(program, model, tmp_path / "none.onnx")
    assert not parsed
    assert "No importer registered for op: Det" in said
    assert not missing
    assert "Could not open" in what
