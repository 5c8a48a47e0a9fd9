"""Every difference between TensorRT's versions, one function each; nothing else in this folder asks for the version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import tensorrt as trt

from . import files, versions
from .errors import BoardError

VERSION: str = trt.__version__


def has(feature: str) -> bool:
    """Return whether the TensorRT that is imported has `feature` of `versions.FEATURES`."""
    return versions.has(VERSION, feature)


def check_supported() -> None:
    """Raise a `BoardError` if this code is not written for the TensorRT that is imported."""
    if not versions.supported(VERSION):
        raise BoardError(f"TensorRT {VERSION} is not supported on a board; supported: {versions.SUPPORTED_TEXT}")


def strongly_typed() -> bool:
    """Return whether precision comes from the model alone."""
    return has("always_strongly_typed")


# ---- builder and network


def open_builder(logger: Any) -> tuple[Any, Any]:
    """Return a builder and a runtime that write to `logger`."""
    return trt.Builder(logger), trt.Runtime(logger)


def open_runtime(logger: Any) -> Any:
    """Return a runtime that writes to `logger`."""
    return trt.Runtime(logger)


def set_dla(config: Any, core: int) -> None:
    """Build for DLA `core`.

    Falling back is allowed to TensorRT in any case, because without it the reformatting around a block is refused too;
    what may be on the GPU is decided by the caller, who looks at where each layer went.
    """
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def set_calibrator(config: Any, calibrator: Any) -> None:
    """Calibrate with `calibrator`; the configuration keeps it alive."""
    config.int8_calibrator = calibrator


def create_network(builder: Any) -> Any:
    """Return an empty network with an explicit batch dimension."""
    flags = 0
    if has("explicit_batch_needed"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    return builder.create_network(flags)


def dla_cores(builder: Any) -> int:
    """Return how many DLA cores there are."""
    return int(builder.num_DLA_cores) if has("dla") else 0


def set_workspace(config: Any, megabytes: int) -> None:
    """Limit the scratch memory of one engine."""
    if has("memory_pools"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, megabytes << 20)
    else:
        config.max_workspace_size = megabytes << 20


def set_precision(config: Any, precision: str) -> None:
    """Allow the arithmetic of `precision`; strongly typed versions take it from the model, so nothing is set there.

    int8 allows fp16 too: what has no int8 kernel would run in fp32 otherwise, and not at all on the DLA.
    """
    if not has("precision_flags"):
        return
    if precision in ("fp16", "int8"):
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)


def set_detailed(config: Any) -> None:
    """Keep everything about layers in the engine, for the inspector."""
    if has("profiling_verbosity"):
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED


def precisions_in(network: Any) -> list[str]:
    """Return which of fp16 and int8 the network's own tensors or layers have (int8: quantised by Q/DQ nodes)."""
    found = set()
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type == trt.LayerType.QUANTIZE:
            found.add("int8")
        for j in range(layer.num_outputs):
            if layer.get_output(j).dtype == trt.float16:
                found.add("fp16")
    return sorted(found)


def only_shapes(layer: Any) -> bool:
    """Return whether `layer` computes nothing: what the parser or a model puts around the layers that do."""
    return layer.type.name in ("CONSTANT", "SHUFFLE", "IDENTITY", "CAST")


def load_timing_cache(config: Any, path: Path | None) -> None:
    """Give the builder the timings of earlier builds, so that builds take less time and vary less."""
    if path is None or not has("timing_cache"):
        return
    content = path.read_bytes() if path.exists() else b""
    # a cache of another board or version is refused: begin an empty one
    if not config.set_timing_cache(config.create_timing_cache(content), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timing_cache(config: Any, path: Path | None) -> None:
    """Keep the timings of this build for the next."""
    if path is None or not has("timing_cache"):
        return
    cache = config.get_timing_cache()
    if cache is not None:
        files.write_bytes(path, bytes(memoryview(cache.serialize())))


def build(builder: Any, network: Any, config: Any) -> bytes | None:
    """Return the engine's bytes, or None if TensorRT could not build it (its log says why)."""
    if has("build_serialized_network"):
        plan = builder.build_serialized_network(network, config)
    else:
        engine = builder.build_engine(network, config)
        plan = None if engine is None else engine.serialize()
    return None if plan is None else bytes(memoryview(plan))


# ---- engine and context


def tensors(engine: Any) -> list[tuple[str, bool, tuple[int, ...], Any]]:
    """Return name, whether it is an input, shape and type of each input and output, in the engine's order."""
    found = []
    if has("named_tensors"):
        for i in range(engine.num_io_tensors):
            name = engine.get_tensor_name(i)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            found.append((name, is_input, tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)))
    else:
        for i in range(engine.num_bindings):
            shape = tuple(engine.get_binding_shape(i))
            found.append(
                (engine.get_binding_name(i), bool(engine.binding_is_input(i)), shape, engine.get_binding_dtype(i))
            )
    return found


def numpy_type(dtype: Any) -> Any:
    """Return NumPy's type of a TensorRT type; `tensorrt.nptype` of 8.x fails with NumPy from 1.24 on (it asks for np.bool)."""
    names = {
        "FLOAT": "float32",
        "HALF": "float16",
        "INT8": "int8",
        "INT32": "int32",
        "INT64": "int64",
        "UINT8": "uint8",
    }
    if dtype.name not in names:
        raise BoardError(f"an input or output of type {dtype.name} is not supported")
    return np.dtype(names[dtype.name])


class Execution:
    """An execution context with fixed addresses; `enqueue` puts one execution into a stream.

    Args:
        context: TensorRT's execution context.
        addresses: device address of each input and output, in the engine's order.
    """

    def __init__(self, context: Any, addresses: dict[str, int]) -> None:
        self._context = context
        self._bindings: list[int] = []
        if has("named_tensors"):
            for name, address in addresses.items():
                if not context.set_tensor_address(name, address):
                    raise BoardError(f"TensorRT does not take an address for the tensor {name!r}")
            # bound methods, so that the timed section looks nothing up
            self._execute = context.execute_async_v3
        else:
            self._bindings = list(addresses.values())
            self._execute = context.execute_async_v2

    def enqueue(self, stream: int) -> bool:
        """Enqueue one execution in `stream` (a CUDA handle); False if TensorRT refuses."""
        if self._bindings:
            return bool(self._execute(self._bindings, stream))
        return bool(self._execute(stream))

    def set_profiler(self, profiler: Any) -> None:
        """Report the time of each layer to `profiler`, in the call of `enqueue` that runs it."""
        if has("enqueue_emits_profile"):
            self._context.enqueue_emits_profile = True
        self._context.profiler = profiler


def inspect(engine: Any) -> tuple[dict[str, Any] | None, str | None]:
    """Return the inspector's account of the engine's layers, or None and why there is none."""
    if not has("engine_inspector"):
        return None, f"TensorRT {VERSION} has no engine inspector"
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        content = json.loads(text)
    except ValueError as error:
        return None, f"the inspector's answer is not JSON: {error}"
    if not isinstance(content, dict):
        return None, "the inspector's answer is not a JSON object"
    return content, None


def make_profiler() -> Any:
    """Return an IProfiler that keeps, in `times`, milliseconds by layer name for the execution in progress."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            # two layers of one name are one line in trtexec's profile as well
            self.times[layer_name] = self.times.get(layer_name, 0.0) + ms

    return Profiler()


def make_calibrator(batch_size: int, next_batch: Any, cache: Path) -> Any:
    """Return the calibrator that the DLA requires, or a `BoardError` where calibration is gone.

    Args:
        next_batch: from the names of the inputs to their device addresses, or None at the end.
        cache: file for the calibration table; used instead of the data if it exists.
    """
    if not has("int8_calibrator"):
        raise BoardError(
            f"TensorRT {VERSION} cannot calibrate: int8 must be in the model, as QuantizeLinear and DequantizeLinear nodes"
        )

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return batch_size

        def get_batch(self, names: Sequence[str]) -> Any:
            return next_batch(names)

        def read_calibration_cache(self) -> bytes | None:
            return cache.read_bytes() if cache.exists() else None

        def write_calibration_cache(self, content: Any) -> None:
            files.write_bytes(cache, bytes(memoryview(content)))

    return Calibrator()
