"""STAND-IN for TensorRT's Python bindings: the classes, of which `tensorrt` offers what the version has."""

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from standin_board import dla, engine, fusion, graph, timing, versions
from standin_board.boards import board
from standin_board.device import DEVICE, Stream, Work
from standin_board.native import Enumeration, Native, enumeration
from standin_board.settings import settings
from standin_board.state import shared

Severity = enumeration("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")
DataType = enumeration("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4 FP4 E8M0")
DeviceType = enumeration("DeviceType", "GPU DLA")
LayerType = enumeration(
    "LayerType",
    "CONVOLUTION FULLY_CONNECTED ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION ELEMENTWISE PLUGIN UNARY "
    "PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY CONSTANT IDENTITY CAST SLICE SHAPE RESIZE SELECT QUANTIZE DEQUANTIZE",
)
BuilderFlag = enumeration(
    "BuilderFlag",
    "FP16 INT8 DEBUG GPU_FALLBACK STRICT_TYPES REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS SAFETY_SCOPE "
    "OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS DIRECT_IO REJECT_EMPTY_ALGORITHMS VERSION_COMPATIBLE "
    "EXCLUDE_LEAN_RUNTIME FP8 BF16 STRIP_PLAN",
)
MemoryPoolType = enumeration(
    "MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM DLA_LOCAL_DRAM DLA_GLOBAL_DRAM TACTIC_DRAM TACTIC_SHARED_MEMORY"
)
NetworkDefinitionCreationFlag = enumeration("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH STRONGLY_TYPED")
if versions.number() < (8, 7):
    NetworkDefinitionCreationFlag = enumeration("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH EXPLICIT_PRECISION")
ProfilingVerbosity = enumeration("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED")
LayerInformationFormat = enumeration("LayerInformationFormat", "ONELINE JSON")
TensorIOMode = enumeration("TensorIOMode", "NONE INPUT OUTPUT")
ErrorCode = enumeration(
    "ErrorCode",
    "SUCCESS INTERNAL_ERROR MEM_ALLOC_FAILED MODEL_DESERIALIZE_FAILED INVALID_VALUE INVALID_GRAPH INVALID_NODE "
    "UNSUPPORTED_GRAPH UNSUPPORTED_NODE",
)


def logged(logger: Any, severity: str, text: str) -> None:
    """Write to a logger of either kind."""
    kind: Any = getattr(Severity, severity)
    for line in text.splitlines():
        logger.log(kind, line)


class Dims:
    """A shape: neither a tuple nor a list, but iterable and equal to either."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = tuple(sizes)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: Any) -> Any:
        return self._sizes[index]

    def __eq__(self, other: object) -> bool:
        return tuple(other) == self._sizes if isinstance(other, tuple | list | Dims) else False  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._sizes)


class ILogger:
    """What users derive their loggers from."""

    Severity = Severity
    INTERNAL_ERROR, ERROR = Severity.INTERNAL_ERROR, Severity.ERROR
    WARNING, INFO, VERBOSE = Severity.WARNING, Severity.INFO, Severity.VERBOSE

    def __init__(self) -> None:
        self._initialised = True

    def log(self, severity: Any, msg: str) -> None:
        raise NotImplementedError("ILogger.log is pure virtual")


class Logger(ILogger):
    """The logger that prints."""

    def __init__(self, min_severity: Any = Severity.WARNING) -> None:
        super().__init__()
        self._min_severity = min_severity

    @property
    def min_severity(self) -> Any:
        return self._min_severity

    @min_severity.setter
    def min_severity(self, severity: Any) -> None:
        self._min_severity = severity

    def log(self, severity: Any, msg: str) -> None:
        if int(severity) <= int(self._min_severity):
            letter = "EEWIV"[int(severity)]
            print(time.strftime(f"[%m/%d/%Y-%H:%M:%S] [TRT] [{letter}] ") + msg, file=sys.stderr)


def _checked_logger(logger: Any) -> Any:
    if not isinstance(logger, ILogger):
        raise TypeError(f"incompatible constructor arguments: {type(logger).__name__} is no tensorrt.ILogger")
    if not getattr(logger, "_initialised", False):
        raise TypeError("tensorrt.ILogger.__init__() must be called when overriding __init__")
    return logger


class IProfiler:
    """What users derive their profilers from."""

    def __init__(self) -> None:
        self._initialised = True

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError("IProfiler.report_layer_time is pure virtual")


class Profiler(IProfiler):
    """The profiler that prints."""

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        print(f"{layer_name}: {ms}ms")


class _Calibrator:
    def __init__(self) -> None:
        self._initialised = True

    def get_batch_size(self) -> int:
        raise NotImplementedError("get_batch_size is pure virtual")

    def get_batch(self, names: list[str]) -> Any:
        raise NotImplementedError("get_batch is pure virtual")

    def read_calibration_cache(self) -> Any:
        return None

    def write_calibration_cache(self, cache: Any) -> None:
        return None


class IInt8Calibrator(_Calibrator):
    """Base."""


class IInt8EntropyCalibrator2(IInt8Calibrator):
    """The one for DLA."""


class IInt8MinMaxCalibrator(IInt8Calibrator):
    """The other one."""


class IHostMemory(bytes):
    """A buffer: memoryview, bytes and len work, what only bytes has does not."""

    def __getattribute__(self, name: str) -> Any:
        if name == "nbytes":
            return len(self)
        if not name.startswith("_"):
            raise AttributeError(f"'tensorrt.IHostMemory' object has no attribute '{name}'")
        return super().__getattribute__(name)


class ITensor(Native):
    """A tensor of a network."""

    def __init__(self, tensor: graph.Tensor) -> None:
        self._tensor = tensor
        self._range: Any = None

    @property
    def name(self) -> str:
        return self._tensor.name

    @name.setter
    def name(self, name: str) -> None:
        self._tensor.name = name

    @property
    def shape(self) -> Dims:
        return Dims(self._tensor.shape)

    @property
    def dtype(self) -> Any:
        return getattr(DataType, self._tensor.dtype)

    @property
    def is_network_input(self) -> bool:
        return self._tensor.is_input

    @property
    def is_network_output(self) -> bool:
        return self._tensor.is_output

    @property
    def dynamic_range(self) -> Any:
        return self._range

    @dynamic_range.setter
    def dynamic_range(self, bounds: Any) -> None:
        self._range = bounds
        _RANGES.add(self._tensor.name)

    def set_dynamic_range(self, low: float, high: float) -> bool:
        self.dynamic_range = (low, high)
        return True


_RANGES: set[str] = set()


class ILayer(Native):
    """A layer of a network, as the base class that `get_layer` returns."""

    def __init__(self, layer: graph.Layer) -> None:
        self._layer = layer
        self._precision: Any = None

    @property
    def name(self) -> str:
        return self._layer.name

    @name.setter
    def name(self, name: str) -> None:
        self._layer.name = name

    @property
    def metadata(self) -> str:
        return f"[ONNX Layer: {self._layer.name}]"

    @property
    def type(self) -> Any:
        return getattr(LayerType, self._layer.type)

    @property
    def num_inputs(self) -> int:
        return len(self._layer.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._layer.outputs)

    def get_input(self, index: int) -> Any:
        return ITensor(self._layer.inputs[index]) if 0 <= index < len(self._layer.inputs) else None

    def get_output(self, index: int) -> Any:
        return ITensor(self._layer.outputs[index]) if 0 <= index < len(self._layer.outputs) else None

    @property
    def precision(self) -> Any:
        return self._precision or DataType.FLOAT

    @precision.setter
    def precision(self, precision: Any) -> None:
        self._precision = precision

    @property
    def precision_is_set(self) -> bool:
        return self._precision is not None

    def reset_precision(self) -> None:
        self._precision = None

    def set_output_type(self, index: int, dtype: Any) -> None:
        return None


class INetworkDefinition(Native):
    """A network."""

    def __init__(self, flags: int) -> None:
        self._flags = flags
        self._graph = graph.Graph("", [], {}, [], [], [])
        self._layers: list[ILayer] = []
        self._name = "Unnamed Network 0"

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return not self._explicit()

    def _explicit(self) -> bool:
        return not versions.has("explicit_batch_needed") or bool(self._flags & 1)

    def _strongly_typed(self) -> bool:
        if versions.has("always_strongly_typed"):
            return True
        flag = getattr(NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return flag is not None and bool(self._flags & (1 << int(flag)))

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @property
    def num_inputs(self) -> int:
        return len(self._graph.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._graph.outputs)

    def get_layer(self, index: int) -> ILayer:
        if not 0 <= index < len(self._layers):
            raise IndexError("Out of bounds")
        return self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> ILayer:
        return self.get_layer(index)

    def get_input(self, index: int) -> Any:
        return ITensor(self._graph.inputs[index]) if 0 <= index < len(self._graph.inputs) else None

    def get_output(self, index: int) -> Any:
        return ITensor(self._graph.outputs[index]) if 0 <= index < len(self._graph.outputs) else None

    def mark_output(self, tensor: ITensor) -> None:
        if tensor._tensor.name not in self._graph.tensors:
            raise ValueError(f"stand-in: {tensor.name} is no tensor of this network")
        if tensor._tensor.is_output:
            raise ValueError(f"stand-in: {tensor.name} is an output already; TensorRT logs an error and goes on")
        tensor._tensor.is_output = True
        self._graph.outputs.append(tensor._tensor)

    def unmark_output(self, tensor: ITensor) -> None:
        tensor._tensor.is_output = False
        self._graph.outputs.remove(tensor._tensor)


class ParserError(Native):
    """One error of the parser."""

    def __init__(self, error: graph.ParseError) -> None:
        self._error = error

    def code(self) -> Any:
        return getattr(ErrorCode, self._error.code)

    def desc(self) -> str:
        return str(self._error)

    def node(self) -> int:
        return self._error.node

    def file(self) -> str:
        return "ModelImporter.cpp"

    def line(self) -> int:
        return 0

    def func(self) -> str:
        return "parse"

    def __str__(self) -> str:
        return f"In node {self._error.node} (parse): {self._error.code}: {self._error}"


_IMPLICIT = (
    'Assertion failed: !_importer_ctx.network()->hasImplicitBatchDimension() && "This version of the ONNX parser only supports '
    "TensorRT INetworkDefinitions with an explicit batch dimension. Please ensure the network was created using the "
    'EXPLICIT_BATCH NetworkDefinitionCreationFlag."'
)


class OnnxParser(Native):
    """The parser."""

    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        self._network, self._logger = network, _checked_logger(logger)
        self._errors: list[graph.ParseError] = []

    def parse(self, model: bytes, path: str | None = None) -> bool:
        try:
            if not self._network._explicit():
                raise graph.ParseError(-1, "INVALID_VALUE", _IMPLICIT)
            parsed = graph.read(bytes(model), None if path is None else Path(path).parent)
        except graph.ParseError as error:
            self._errors.append(error)
            logged(self._logger, "ERROR", f"{ParserError(error)}")
            return False
        self._network._graph = parsed
        self._network._layers = [ILayer(layer) for layer in parsed.layers]
        return True

    def parse_from_file(self, model: str) -> bool:
        if not isinstance(model, str):
            raise TypeError("parse_from_file(): incompatible function arguments")
        try:
            content = Path(model).read_bytes()
        except OSError:
            self._errors.append(graph.ParseError(-1, "MODEL_DESERIALIZE_FAILED", f"Could not open file {model}"))
            logged(self._logger, "ERROR", f"ModelImporter.cpp: Could not open file {model}")
            return False
        return self.parse(content, model)

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._errors[index])

    def clear_errors(self) -> None:
        self._errors.clear()


class ITimingCache(Native):
    """Timings of tactics: here only where they are from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(_cache_text())

    def combine(self, input_cache: "ITimingCache", ignore_mismatch: bool) -> bool:
        return True

    def reset(self) -> bool:
        return True


def _cache_text() -> bytes:
    return f"STAND-IN timing cache of TensorRT {versions.version()} on {settings().board}\n".encode()


class IBuilderConfig(Native):
    """How to build."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._flags: set[str] = set()
        self._core = -1
        self._default = DeviceType.GPU
        self._types: dict[graph.Layer, Any] = {}
        self._pools: dict[Any, int] = {}
        self._verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self._calibrator: Any = None
        self._cache: ITimingCache | None = None
        self._level = 3
        self._stream = 0
        self._workspace = 0

    def set_flag(self, flag: Any) -> None:
        if not isinstance(flag, BuilderFlag):
            raise TypeError("set_flag(): incompatible function arguments")
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag.name)

    def get_flag(self, flag: Any) -> bool:
        return flag.name in self._flags

    @property
    def flags(self) -> int:
        return sum(1 << int(getattr(BuilderFlag, name)) for name in self._flags)

    @property
    def max_workspace_size(self) -> int:
        return self._workspace

    @max_workspace_size.setter
    def max_workspace_size(self, size: int) -> None:
        self._workspace = size

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        if not isinstance(pool, MemoryPoolType):
            raise TypeError("set_memory_pool_limit(): incompatible function arguments")
        if pool.name.startswith("DLA") and (pool_size < 4096 or pool_size & (pool_size - 1)):
            logged(self._logger, "ERROR", f"DLA memory pool {pool.name} is {pool_size}, no power of two from 4 KiB on")
            return
        self._pools[pool] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._pools.get(pool, 0)

    @property
    def DLA_core(self) -> int:  # noqa: N802
        return self._core

    @DLA_core.setter
    def DLA_core(self, core: int) -> None:  # noqa: N802
        if core >= board().dla_cores:
            logged(self._logger, "ERROR", f"Cannot create DLA engine, {core} not available")
            return
        self._core = core

    @property
    def default_device_type(self) -> Any:
        return self._default

    @default_device_type.setter
    def default_device_type(self, kind: Any) -> None:
        self._default = kind

    def set_device_type(self, layer: ILayer, device_type: Any) -> None:
        if not isinstance(device_type, DeviceType):
            raise TypeError("set_device_type(): incompatible function arguments")
        self._types[layer._layer] = device_type

    def get_device_type(self, layer: ILayer) -> Any:
        return self._types.get(layer._layer, self._default)

    def is_device_type_set(self, layer: ILayer) -> bool:
        return layer._layer in self._types

    def reset_device_type(self, layer: ILayer) -> None:
        self._types.pop(layer._layer, None)

    def can_run_on_DLA(self, layer: ILayer) -> bool:  # noqa: N802
        reason = "there is no DLA" if not board().dla_cores else self._refusal(layer._layer)
        if reason is not None:
            logged(self._logger, "WARNING", f"{layer.name}: {reason}")
        return reason is None

    def _refusal(self, layer: graph.Layer) -> str | None:
        if versions.has("precision_flags") and not self._flags & {"FP16", "INT8"}:
            return "DLA only supports FP16 and Int8 precision type"
        if not versions.has("precision_flags") and any(tensor.dtype == "FLOAT" for tensor in layer.outputs):
            return "DLA only supports FP16 and Int8 precision type, and this layer is in FP32"
        return dla.refusal(layer)

    @property
    def profiling_verbosity(self) -> Any:
        return self._verbosity

    @profiling_verbosity.setter
    def profiling_verbosity(self, verbosity: Any) -> None:
        self._verbosity = verbosity

    @property
    def int8_calibrator(self) -> Any:
        return self._calibrator

    @int8_calibrator.setter
    def int8_calibrator(self, calibrator: Any) -> None:
        if not getattr(calibrator, "_initialised", False):
            raise TypeError("IInt8Calibrator.__init__() must be called when overriding __init__")
        self._calibrator = calibrator

    @property
    def builder_optimization_level(self) -> int:
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        self._level = level

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        if not isinstance(serialized_timing_cache, bytes | bytearray):
            raise TypeError("create_timing_cache(): incompatible function arguments")
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._content not in (b"", _cache_text()) and not ignore_mismatch:
            logged(self._logger, "WARNING", "The timing cache is of another device or version; it is not used")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder(Native):
    """Builds."""

    def __init__(self, logger: Any) -> None:
        self._logger = _checked_logger(logger)

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        return board().dla_cores

    @property
    def max_DLA_batch_size(self) -> int:  # noqa: N802
        return dla.LARGEST_BATCH if board().dla_cores else 0

    @property
    def platform_has_fast_fp16(self) -> bool:
        return True

    @property
    def platform_has_fast_int8(self) -> bool:
        return True

    @property
    def logger(self) -> Any:
        return self._logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        if isinstance(flags, Enumeration) or not isinstance(flags, int):
            raise TypeError("create_network(): incompatible function arguments")
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._logger)

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        try:
            built = _build(network, config, self._logger)
        except _BuildError as error:
            logged(self._logger, "ERROR", f"4: [standin] Error Code 4: Internal Error ({error})")
            return None
        return IHostMemory(built.to_bytes())

    def build_engine(self, network: INetworkDefinition, config: IBuilderConfig) -> Any:
        plan = self.build_serialized_network(network, config)
        return None if plan is None else Runtime(self._logger)._deserialize(bytes(memoryview(plan)), config._core)


class _BuildError(Exception):
    pass


def _build(network: INetworkDefinition, config: IBuilderConfig, logger: Any) -> engine.Engine:
    parsed = network._graph
    if not parsed.layers or not parsed.outputs:
        raise _BuildError("Network must have at least one output")
    logged(logger, "INFO", "STAND-IN builder of multidnn's tests: nothing it says was measured")
    _check_types(network, config, parsed)
    _calibrate(config, parsed, logger)
    devices = {layer: _place(layer, config, logger) for layer in parsed.layers}
    uses_dla = "dla" in devices.values()
    if uses_dla and "GPU_FALLBACK" not in config._flags and "DIRECT_IO" not in config._flags:
        raise _BuildError(
            "reformatting between GPU and DLA needs the GPU, and GPU fallback is not enabled (set DIRECT_IO to do without)"
        )
    times = timing.Times(parsed)
    entries = fusion.entries(parsed, devices, times)
    made = engine.make(parsed, entries, config._verbosity.name, config._core)
    severity = "VERBOSE" if versions.has("placement_lines_verbose") else "INFO"
    logged(logger, severity, "---------- Layers Running on DLA ----------")
    for entry in entries:
        if entry.device == "dla" and entry.placed:
            logged(logger, severity, f"[DlaLayer] {entry.name}")
    logged(logger, severity, "---------- Layers Running on GPU ----------")
    for entry in entries:
        if entry.device == "gpu" and entry.placed:
            logged(logger, severity, f"[GpuLayer] {entry.kind}: {entry.name}")
    logged(logger, "INFO", f"stand-in: {parsed.name or 'network'} is {times.name}")
    return made


def _check_types(network: INetworkDefinition, config: IBuilderConfig, parsed: graph.Graph) -> None:
    halves = any(tensor.dtype == "HALF" for tensor in parsed.tensors.values())
    if network._strongly_typed():
        if config._flags & {"FP16", "INT8"}:
            raise _BuildError("a strongly typed network takes no precision flags (FP16, INT8)")
    elif halves and "FP16" not in config._flags:
        raise _BuildError("the network has tensors in half precision, and the FP16 flag is not set")


def _place(layer: graph.Layer, config: IBuilderConfig, logger: Any) -> str:
    wanted = config._types.get(layer, config._default)
    if wanted != DeviceType.DLA:
        return "gpu"
    if not board().dla_cores or config._core < 0:
        raise _BuildError(f"layer {layer.name} is for the DLA, and DLA core {config._core} is not available")
    reason = config._refusal(layer)
    if reason is None:
        return "dla"
    if "GPU_FALLBACK" not in config._flags:
        raise _BuildError(f"Layer {layer.name} is not supported on DLA and GPU fallback is not enabled: {reason}")
    logged(
        logger,
        "WARNING",
        f"Layer '{layer.name}' ({layer.type}): Unsupported on DLA. Switching this layer's device type to GPU.",
    )
    return "gpu"


def _calibrate(config: IBuilderConfig, parsed: graph.Graph, logger: Any) -> None:
    if "INT8" not in config._flags:
        return
    quantised = any(layer.type == "QUANTIZE" for layer in parsed.layers)
    calibrator = config._calibrator
    if calibrator is None:
        ranged = all(tensor.name in _RANGES for tensor in parsed.tensors.values())
        on_dla = config._default == DeviceType.DLA or DeviceType.DLA in config._types.values()
        if not quantised and not ranged:
            logged(logger, "WARNING", "Calibrator is not being used. Users must provide dynamic range for all tensors")
            if on_dla and "FP16" not in config._flags:
                raise _BuildError("DLA in int8 needs a dynamic range for every tensor, or FP16 to fall back on")
        return
    if config._default == DeviceType.DLA and not isinstance(calibrator, IInt8EntropyCalibrator2):
        raise _BuildError("DLA calibrates with IInt8EntropyCalibrator2 only")
    if calibrator.read_calibration_cache():
        return
    if calibrator.get_batch_size() < 1:
        raise _BuildError("the calibrator's batch size is not positive")
    names, batches = [tensor.name for tensor in parsed.inputs], 0
    while True:
        pointers = calibrator.get_batch(names)
        if not pointers:
            break
        for tensor, pointer in zip(parsed.inputs, pointers, strict=True):
            if not DEVICE.memory.holds(int(pointer), tensor.nbytes):
                raise _BuildError(
                    f"calibration batch of {tensor.name} is at {int(pointer):#x}, which is no device memory"
                )
        batches += 1
    if not batches:
        raise _BuildError("Calibration failure occurred with no scaling factors detected (no batches)")
    calibrator.write_calibration_cache(IHostMemory(b"STAND-IN calibration cache\n"))


class Runtime(Native):
    """Loads engines."""

    def __init__(self, logger: Any) -> None:
        self._logger, self._core = _checked_logger(logger), -1

    @property
    def logger(self) -> Any:
        return self._logger

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        return board().dla_cores

    @property
    def DLA_core(self) -> int:  # noqa: N802
        return self._core

    @DLA_core.setter
    def DLA_core(self, core: int) -> None:  # noqa: N802
        if core >= board().dla_cores:
            logged(self._logger, "ERROR", f"Cannot create DLA runtime, {core} not available")
            return
        self._core = core

    def deserialize_cuda_engine(self, serialized_engine: Any) -> "ICudaEngine | None":
        return self._deserialize(bytes(memoryview(serialized_engine)), self._core)

    def _deserialize(self, content: bytes, core: int) -> "ICudaEngine | None":
        if not DEVICE.usable():
            logged(self._logger, "ERROR", "CUDA initialization failure with error: no context in this process")
            return None
        try:
            loaded = engine.load(content)
        except engine.IncompatibleError as error:
            logged(self._logger, "ERROR", f"6: {error}")
            return None
        if loaded.loadables and core < 0:
            logged(self._logger, "ERROR", "1: the engine has DLA loadables, and Runtime.DLA_core was not set before")
            return None
        if loaded.loadables and not shared().change_loadables(core, loaded.loadables, dla.LOADABLES_PER_CORE):
            logged(
                self._logger,
                "ERROR",
                f"1: [dla] Error Code 1: DLA (Failed to load: more than {dla.LOADABLES_PER_CORE} loadables on core {core})",
            )
            return None
        return ICudaEngine(loaded, core, self._logger)


class EngineInspector(Native):
    """Tells of an engine's layers."""

    def __init__(self, loaded: engine.Engine) -> None:
        self._engine = loaded

    def get_engine_information(self, format: Any) -> str:
        information = self._engine.information()
        if format == LayerInformationFormat.JSON:
            return json.dumps(information)
        return "\n".join(la if isinstance(la, str) else la["Name"] for la in information["Layers"])

    def get_layer_information(self, layer_index: int, format: Any) -> str:
        return json.dumps(self._engine.information()["Layers"][layer_index])


class ICudaEngine(Native):
    """A loaded engine."""

    def __init__(self, loaded: engine.Engine, core: int, logger: Any) -> None:
        self._engine, self._core, self._logger = loaded, core, logger
        shared().count_engine(1)

    def __del__(self) -> None:
        loaded = getattr(self, "_engine", None)
        # with the process its loadables go anyway
        if loaded is None or sys.is_finalizing():
            return
        shared().count_engine(-1)
        if loaded.loadables:
            shared().change_loadables(self._core, -loaded.loadables, dla.LOADABLES_PER_CORE)

    def _io(self, name: str) -> dict[str, Any] | None:
        return next((item for item in self._engine.io if item["name"] == name), None)

    def _known(self, name: str) -> dict[str, Any]:
        item = self._io(name)
        if item is None:
            logged(self._logger, "ERROR", f"3: given tensor name {name} is not an input or output of this engine")
            return {"mode": "NONE", "shape": [], "dtype": "FLOAT"}
        return item

    @property
    def name(self) -> str:
        return self._engine.network

    @property
    def num_layers(self) -> int:
        return len(self._engine.entries)

    @property
    def device_memory_size(self) -> int:
        return 1 << 20

    @property
    def device_memory_size_v2(self) -> int:
        return 1 << 20

    @property
    def num_optimization_profiles(self) -> int:
        return 1

    @property
    def profiling_verbosity(self) -> Any:
        return getattr(ProfilingVerbosity, self._engine.verbosity)

    # by name
    @property
    def num_io_tensors(self) -> int:
        return len(self._engine.io)

    def get_tensor_name(self, index: int) -> str:
        if not 0 <= index < len(self._engine.io):
            raise IndexError("Out of bounds")
        return str(self._engine.io[index]["name"])

    def get_tensor_mode(self, name: str) -> Any:
        return getattr(TensorIOMode, self._known(name)["mode"])

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(tuple(self._known(name)["shape"]))

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(DataType, self._known(name)["dtype"])

    # by index
    @property
    def num_bindings(self) -> int:
        return len(self._engine.io)

    @property
    def max_batch_size(self) -> int:
        return 1

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return False

    def get_binding_name(self, index: int) -> str:
        return str(self._engine.io[index]["name"])

    def get_binding_index(self, name: str) -> int:
        return next((i for i, item in enumerate(self._engine.io) if item["name"] == name), -1)

    def get_binding_shape(self, binding: int | str) -> Dims:
        return Dims(tuple(self._at(binding)["shape"]))

    def get_binding_dtype(self, binding: int | str) -> Any:
        return getattr(DataType, self._at(binding)["dtype"])

    def binding_is_input(self, binding: int | str) -> bool:
        return bool(self._at(binding)["mode"] == "INPUT")

    def _at(self, binding: int | str) -> dict[str, Any]:
        return self._engine.io[binding] if isinstance(binding, int) else self._known(binding)

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._engine.to_bytes())

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self._engine)

    def create_execution_context(self) -> "IExecutionContext":
        return IExecutionContext(self)


class IExecutionContext(Native):
    """Runs an engine."""

    def __init__(self, owner: ICudaEngine) -> None:
        self._owner, self._logger = owner, owner._logger
        self._key = (owner._engine.uid, owner._core)
        self._addresses: dict[str, int] = {}
        self._profiler: Any = None
        self._emits = True
        self._last: Work | None = None
        self._stream: Stream | None = None
        self._phases = owner._engine.phases(max(owner._core, 0))
        self._bound: tuple[int, ...] = ()
        self._views: list[tuple[dict[str, Any], Any]] = []

    @property
    def engine(self) -> ICudaEngine:
        return self._owner

    @property
    def profiler(self) -> Any:
        return self._profiler

    @profiler.setter
    def profiler(self, profiler: Any) -> None:
        if not isinstance(profiler, IProfiler):
            raise TypeError("profiler must be a tensorrt.IProfiler")
        if not getattr(profiler, "_initialised", False):
            raise TypeError("tensorrt.IProfiler.__init__() must be called when overriding __init__")
        self._profiler = profiler

    @property
    def enqueue_emits_profile(self) -> bool:
        return self._emits

    @enqueue_emits_profile.setter
    def enqueue_emits_profile(self, emits: bool) -> None:
        self._emits = bool(emits)

    def report_to_profiler(self) -> bool:
        if self._profiler is None or self._last is None or self._stream is None or self._emits:
            logged(self._logger, "ERROR", "3: report_to_profiler: nothing to report")
            return False
        self._stream.synchronize()
        self._report()
        return True

    def _report(self) -> None:
        assert self._last is not None
        for name, ms in self._owner._engine.entry_ms(max(self._owner._core, 0), self._last.durations):
            self._profiler.report_layer_time(name, ms)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if not isinstance(memory, int) or isinstance(memory, bool):
            raise TypeError("set_tensor_address(): incompatible function arguments")
        if self._owner._io(name) is None:
            logged(self._logger, "ERROR", f"3: given tensor name {name} is not an input or output of this engine")
            return False
        self._addresses[name] = memory
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def get_tensor_shape(self, name: str) -> Dims:
        return self._owner.get_tensor_shape(name) if hasattr(self._owner, "get_tensor_shape") else Dims(())

    def get_binding_shape(self, binding: int) -> Dims:
        return self._owner.get_binding_shape(binding)

    def infer_shapes(self) -> list[str]:
        return []

    def execute_async_v3(self, stream_handle: int) -> bool:
        missing = [item["name"] for item in self._owner._engine.io if item["name"] not in self._addresses]
        if missing:
            logged(
                self._logger,
                "ERROR",
                f"3: Address is not set for tensor {missing[0]}. Call setTensorAddress before enqueue",
            )
            return False
        return self._execute(self._addresses, stream_handle)

    def execute_async_v2(self, bindings: list[int], stream_handle: int) -> bool:
        names = [item["name"] for item in self._owner._engine.io]
        if len(bindings) != len(names):
            logged(self._logger, "ERROR", f"3: {len(bindings)} bindings, expected {len(names)}")
            return False
        return self._execute(dict(zip(names, (int(address) for address in bindings), strict=True)), stream_handle)

    def execute_v2(self, bindings: list[int]) -> bool:
        names = [item["name"] for item in self._owner._engine.io]
        done = self._execute(dict(zip(names, (int(address) for address in bindings), strict=True)), 0)
        DEVICE.streams[0].synchronize()
        return done

    def _execute(self, addresses: dict[str, int], handle: int) -> bool:
        stream = DEVICE.streams.get(handle)
        if not DEVICE.usable() or stream is None:
            logged(self._logger, "ERROR", f"1: Cuda Runtime (invalid resource handle {handle})")
            return False
        values: list[float] = []
        where = tuple(addresses.values())
        if where != self._bound:
            self._bound = where
            self._views = [(item, _view(item, addresses[item["name"]])) for item in self._owner._engine.io]
        if any(view is None for _, view in self._views):
            # as on a board: the call returns, and everything after it fails
            DEVICE.fault = "an illegal memory access was encountered"
            return True
        inputs = [view for item, view in self._views if item["mode"] == "INPUT"]
        outputs = [(view, item["factor"]) for item, view in self._views if item["mode"] == "OUTPUT"]

        def start() -> None:
            values.append(sum(engine.value_of(view) for view in inputs))

        def end() -> None:
            for view, factor in outputs:
                engine.fill(view, values[0] * factor)

        work = Work(self._key, self._phases, start, end)
        self._last, self._stream = work, stream
        stream.enqueue(work)
        if self._profiler is not None and self._emits:
            stream.synchronize()
            self._report()
        return True


_SCALARS = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}


def _view(item: dict[str, Any], address: int) -> Any:
    """Return a tensor as an array; None if its memory is not the device's."""
    kind = np.dtype(_SCALARS[item["dtype"]])
    count = int(np.prod(item["shape"]))
    if not DEVICE.memory.holds(address, count * kind.itemsize):
        return None
    return np.frombuffer((ctypes.c_uint8 * (count * kind.itemsize)).from_address(address), dtype=kind)


def volume(shape: Any) -> int:
    """Return the number of elements of a shape."""
    return int(np.prod(tuple(shape)))


def nptype(trt_type: Any) -> Any:
    """Return NumPy's type of a data type."""
    return _SCALARS[trt_type.name]


def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    """Do nothing: there are no plugins."""
    return True


def get_builder_plugin_registry(capability: Any) -> None:
    """There are no plugins."""
    return


CLASSES = (
    ILogger, Logger, IProfiler, Profiler, IInt8Calibrator, IInt8EntropyCalibrator2, IInt8MinMaxCalibrator, ITensor, ILayer,
    INetworkDefinition, ParserError, OnnxParser, ITimingCache, IBuilderConfig, Builder, Runtime, EngineInspector, ICudaEngine,
    IExecutionContext, IHostMemory, Dims,
)  # fmt: skip
ENUMERATIONS = (
    DataType, DeviceType, LayerType, BuilderFlag, MemoryPoolType, NetworkDefinitionCreationFlag, ProfilingVerbosity,
    LayerInformationFormat, TensorIOMode, ErrorCode,
)  # fmt: skip
FUNCTIONS = (volume, nptype, init_libnvinfer_plugins)
