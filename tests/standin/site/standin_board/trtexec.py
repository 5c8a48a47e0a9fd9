"""STAND-IN for trtexec: the options that each version has, and the output that it prints for them."""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycuda.driver as cuda
import tensorrt as trt

from standin_board import versions
from standin_board.boards import board

# option -> the first version with it, the first without it; True: it takes no value
_ALWAYS = ((0,), (99,))
_OPTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = {
    **dict.fromkeys(
        [
            "onnx",
            "loadEngine",
            "saveEngine",
            "iterations",
            "warmUp",
            "duration",
            "avgRuns",
            "percentile",
            "useDLACore",
            "device",
            "sleepTime",
            "timingCacheFile",
            "minShapes",
            "optShapes",
            "maxShapes",
            "shapes",
            "inputIOFormats",
            "outputIOFormats",
            "exportTimes",
            "exportProfile",
            "exportOutput",
            "exportLayerInfo",
            "loadInputs",
            "avgTiming",
            "tacticSources",
            "memPoolSize",
            "idleTime",
            "persistentCacheRatio",
            "sparsity",
        ],
        (*_ALWAYS, False),
    ),
    **dict.fromkeys(
        [
            "help",
            "h",
            "verbose",
            "allowGPUFallback",
            "dumpProfile",
            "dumpOutput",
            "dumpRefit",
            "dumpLayerInfo",
            "separateProfileRun",
            "useSpinWait",
            "noDataTransfers",
            "useCudaGraph",
            "threads",
            "exposeDMA",
            "useManagedMemory",
            "refit",
            "noTF32",
            "timeDeserialize",
            "timeRefit",
            "directIO",
            "safe",
        ],
        (*_ALWAYS, True),
    ),
    "fp16": ((0,), (11,), True),
    "int8": ((0,), (11,), True),
    "best": ((0,), (11,), True),
    "calib": ((0,), (11,), False),
    "precisionConstraints": ((8, 2), (11,), False),
    "layerPrecisions": ((8, 2), (11,), False),
    "layerOutputTypes": ((8, 2), (11,), False),
    "stronglyTyped": ((10,), (99,), True),
    "workspace": ((0,), (10,), False),
    "maxBatch": ((0,), (10,), False),
    "batch": ((0,), (10,), False),
    "explicitBatch": ((0,), (10,), True),
    "minTiming": ((0,), (10,), False),
    "model": ((0,), (9,), False),
    "deploy": ((0,), (9,), False),
    "output": ((0,), (9,), False),
    "nvtxMode": ((0,), (8, 5), False),
    "profilingVerbosity": ((8, 5), (99,), False),
    "buildOnly": ((0,), (8, 6), True),
    "skipInference": ((8, 6), (99,), True),
    "streams": ((0,), (8, 6), False),
    "infStreams": ((8, 6), (99,), False),
    "plugins": ((0,), (8, 6), False),
    "staticPlugins": ((8, 6), (99,), False),
    "layerDeviceTypes": ((8, 6), (99,), False),
    "builderOptimizationLevel": ((8, 6), (99,), False),
    "versionCompatible": ((8, 6), (99,), True),
    "stripWeights": ((10,), (99,), True),
    "markDebug": ((10,), (99,), False),
}
_VERBOSITY = {"none": "NONE", "layer_names_only": "LAYER_NAMES_ONLY", "detailed": "DETAILED"}
_NVTX = {"none": "NONE", "default": "LAYER_NAMES_ONLY", "verbose": "DETAILED"}


class _OptionError(Exception):
    pass


class _FailedError(Exception):
    pass


def say(text: str = "", letter: str = "I") -> None:
    """Print a line as trtexec does: errors and warnings on standard error."""
    stream = sys.stdout if letter in "IV" else sys.stderr
    print(time.strftime("[%m/%d/%Y-%H:%M:%S] ") + f"[{letter}] {text}", file=stream, flush=True)


def banner(word: str) -> str:
    """Return the line that a run begins or ends with."""
    number = [*versions.number(), 0, 0][:3]
    digits = f"{number[0] * 1000 + number[1] * 100 + number[2]:04d}"
    if number[0] >= 10:
        digits = f"{number[0]:02d}{number[1]:02d}{number[2]:02d}"
    build = " [b1]" if number[0] >= 10 else ""
    return f"&&&& {word} TensorRT.trtexec [TensorRT v{digits}]{build} # {' '.join(sys.argv)}"


def usage() -> str:
    """Return the help text, which names every option of this version."""
    lines = ["=== Options (STAND-IN: names only) ==="]
    for name, (since, gone, flag) in sorted(_OPTIONS.items()):
        if since <= versions.number() < gone:
            lines.append(f"  --{name}{'' if flag else '=value'}")
    return "\n".join(lines)


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the options by name, or raise an `_OptionError`."""
    found: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.lstrip("-").partition("=")
        since, gone, flag = _OPTIONS.get(name, ((99,), (99,), True))
        if not argument.startswith("-") or not since <= versions.number() < gone or (flag and equals):
            raise _OptionError(f"Unknown option: {name} {value}".rstrip())
        if not flag and not value:
            raise _OptionError(f"Option {name} needs a value")
        if name in ("iterations", "warmUp", "duration", "avgRuns", "useDLACore", "device", "sleepTime", "idleTime"):
            try:
                found[name] = float(value) if name in ("duration", "sleepTime", "idleTime") else int(value)
            except ValueError:
                raise _OptionError(f"Invalid value for {name}: {value}") from None
        else:
            found[name] = True if flag else value
    return found


class _Log(trt.ILogger):  # type: ignore[misc]
    def __init__(self, verbose: bool) -> None:
        trt.ILogger.__init__(self)
        self._verbose = verbose

    def log(self, severity: Any, msg: str) -> None:
        letter = "EEWIV"[int(severity)]
        if letter != "V" or self._verbose:
            say(f"[TRT] {msg}", letter)


@dataclass
class _Inference:
    enqueued: tuple[float, float]
    h2d: tuple[float, float]
    compute: tuple[float, float]
    d2h: tuple[float, float]

    def ms(self, part: str) -> float:
        begin, end = getattr(self, part)
        return float(end - begin)

    @property
    def latency(self) -> float:
        return self.ms("h2d") + self.ms("compute") + self.ms("d2h")


class _Run:
    """One engine, loaded and bound."""

    def __init__(self, options: dict[str, Any], content: bytes, log: _Log) -> None:
        self.options = options
        runtime = trt.Runtime(log)
        if "useDLACore" in options:
            runtime.DLA_core = options["useDLACore"]
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise _FailedError("Engine deserialization failed")
        self.engine = engine
        self.stream = cuda.Stream()
        self.context = engine.create_execution_context()
        self.memory: list[tuple[bool, Any, Any]] = []
        addresses = []
        for name, is_input, shape, dtype in _tensors(engine):
            host = np.random.default_rng(0).random(shape).astype(trt.nptype(dtype))
            device = cuda.mem_alloc(max(host.nbytes, 1))
            cuda.memcpy_htod(device, host)
            self.memory.append((is_input, host, device))
            addresses.append((name, int(device)))
        self.execute = _bound(self.context, addresses, self.stream.handle)

    def infer(self, clock: Any) -> _Inference:
        """Run once; times in ms from the event `clock` on."""
        copies = "noDataTransfers" not in self.options
        events = [cuda.Event() for _ in range(4)]
        begin = time.monotonic()
        events[0].record(self.stream)
        if copies:
            for is_input, host, device in self.memory:
                if is_input:
                    cuda.memcpy_htod_async(device, host, self.stream)
        events[1].record(self.stream)
        if not self.execute():
            raise _FailedError("Error in enqueue")
        events[2].record(self.stream)
        end = time.monotonic()
        if copies:
            for is_input, host, device in self.memory:
                if not is_input:
                    cuda.memcpy_dtoh_async(host, device, self.stream)
        events[3].record(self.stream)
        events[3].synchronize()
        at = [event.time_since(clock) for event in events]
        enqueued = (at[0], at[0] + (end - begin) * 1e3)
        return _Inference(enqueued, (at[0], at[1]), (at[1], at[2]), (at[2], at[3]))

    def loop(self) -> list[_Inference]:
        """Warm up, then run for as many iterations and as long as asked."""
        until = time.monotonic() + self.options.get("warmUp", 200) / 1e3
        clock = cuda.Event().record(self.stream)
        clock.synchronize()
        while time.monotonic() < until:
            self.infer(clock)
        iterations, duration = self.options.get("iterations", 10), self.options.get("duration", 3.0)
        clock = cuda.Event().record(self.stream)
        clock.synchronize()
        until, found = time.monotonic() + duration, []
        while len(found) < max(iterations, 1) or time.monotonic() < until:
            found.append(self.infer(clock))
        return found


def _tensors(engine: Any) -> list[tuple[str, bool, tuple[int, ...], Any]]:
    if hasattr(engine, "num_io_tensors"):
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [
            (
                name,
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                tuple(engine.get_tensor_shape(name)),
                engine.get_tensor_dtype(name),
            )
            for name in names
        ]
    return [
        (
            engine.get_binding_name(index),
            engine.binding_is_input(index),
            tuple(engine.get_binding_shape(index)),
            engine.get_binding_dtype(index),
        )
        for index in range(engine.num_bindings)
    ]


def _bound(context: Any, addresses: list[tuple[str, int]], handle: int) -> Callable[[], bool]:
    if not hasattr(context, "set_tensor_address"):
        bindings = [address for _, address in addresses]
        return lambda: bool(context.execute_async_v2(bindings, handle))
    for name, address in addresses:
        context.set_tensor_address(name, address)
    return lambda: bool(context.execute_async_v3(handle))


def _build(options: dict[str, Any], log: _Log) -> bytes:
    builder = trt.Builder(log)
    network = builder.create_network(1 if versions.has("explicit_batch_needed") else 0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(options["onnx"]):
        say("Failed to parse onnx file", "E")
        say("Parsing model failed", "E")
        raise _FailedError("Failed to create engine from model or file.")
    config = builder.create_builder_config()
    for option, flags in (("fp16", ("FP16",)), ("int8", ("INT8",)), ("best", ("FP16", "INT8"))):
        if option in options:
            for flag in flags:
                config.set_flag(getattr(trt.BuilderFlag, flag))
    nvtx = _NVTX.get(options.get("nvtxMode", "default"))
    verbosity = _VERBOSITY.get(options.get("profilingVerbosity", ""), nvtx)
    config.profiling_verbosity = getattr(trt.ProfilingVerbosity, verbosity or "LAYER_NAMES_ONLY")
    if "memPoolSize" in options:
        _pools(options["memPoolSize"], config)
    if "useDLACore" in options:
        if options["useDLACore"] >= board().dla_cores:
            raise _FailedError(f"Cannot create DLA engine, {options['useDLACore']} not available")
        config.DLA_core = options["useDLACore"]
        config.default_device_type = trt.DeviceType.DLA
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK if "allowGPUFallback" in options else trt.BuilderFlag.DIRECT_IO)
    for entry in filter(None, options.get("layerDeviceTypes", "").split(",")):
        name, _, kind = entry.rpartition(":")
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        matching = [
            layer for layer in layers if layer.name == name or (name.endswith("*") and layer.name.startswith(name[:-1]))
        ]
        if not matching or kind not in ("GPU", "DLA"):
            raise _FailedError(f"layerDeviceTypes: no layer {name!r} or no device {kind!r}")
        for layer in matching:
            config.set_device_type(layer, getattr(trt.DeviceType, kind))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _FailedError("Engine could not be created from network")
    return bytes(memoryview(plan))


def _pools(text: str, config: Any) -> None:
    pools = {"workspace": "WORKSPACE", "dlaSRAM": "DLA_MANAGED_SRAM"}
    pools |= {"dlaLocalDRAM": "DLA_LOCAL_DRAM", "dlaGlobalDRAM": "DLA_GLOBAL_DRAM"}
    for entry in text.split(","):
        name, _, size = entry.partition(":")
        if name not in pools:
            raise _FailedError(f"Unknown memory pool: {name}")
        config.set_memory_pool_limit(getattr(trt.MemoryPoolType, pools[name]), int(float(size) * (1 << 20)))


def _statistics(values: Sequence[float]) -> str:
    ordered = sorted(values)

    def percentile(percent: int) -> float:
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    percents = (90, 95, 99) if versions.has("trtexec_summary_percentiles") else (99,)
    parts = [f"min = {min(values):g} ms", f"max = {max(values):g} ms", f"mean = {statistics.fmean(values):g} ms"]
    parts.append(f"median = {statistics.median(values):g} ms")
    parts += [f"percentile({percent}%) = {percentile(percent):g} ms" for percent in percents]
    return ", ".join(parts)


def _summary(found: list[_Inference]) -> None:
    wall_s = (found[-1].d2h[1] - found[0].h2d[0]) / 1e3
    say("=== Performance summary ===")
    say(f"Throughput: {len(found) / wall_s:g} qps")
    say(f"Latency: {_statistics([one.latency for one in found])}")
    if versions.number() < (8, 4):
        say(f"End-to-End Host Latency: {_statistics([one.latency for one in found])}")
    say(f"Enqueue Time: {_statistics([one.ms('enqueued') for one in found])}")
    say(f"H2D Latency: {_statistics([one.ms('h2d') for one in found])}")
    say(f"GPU Compute Time: {_statistics([one.ms('compute') for one in found])}")
    say(f"D2H Latency: {_statistics([one.ms('d2h') for one in found])}")
    say(f"Total Host Walltime: {wall_s:g} s")
    say(f"Total GPU Compute Time: {sum(one.ms('compute') for one in found) / 1e3:g} s")
    say("Explanations of the performance metrics are printed in the verbose logs.")
    say()


class _Profiler(trt.IProfiler):  # type: ignore[misc]
    def __init__(self) -> None:
        trt.IProfiler.__init__(self)
        self.times: dict[str, list[float]] = {}

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        self.times.setdefault(layer_name, []).append(ms)


def _table(times: dict[str, list[float]]) -> None:
    count = len(next(iter(times.values())))
    total = sum(sum(values) for values in times.values()) or 1.0
    rows = [(name, sum(v), sum(v) / count, statistics.median(v), 100 * sum(v) / total) for name, v in times.items()]
    rows.append(("Total", *(sum(row[column] for row in rows) for column in range(1, 5))))
    say()
    say(f"=== Profile ({count} iterations ) ===")
    if versions.has("trtexec_profile_name_last"):
        say(f"{'Time(ms)':>12}{'Avg.(ms)':>13}{'Median(ms)':>13}{'Time(%)':>10}   Layer")
        for name, whole, average, median, percent in rows:
            say(f"{whole:>12.2f}{average:>13.4f}{median:>13.4f}{percent:>10.1f}   {name}")
    else:
        width = max(len(row[0]) for row in rows)
        say(f" {'Layer':>{width}}   Time (ms)   Avg. Time (ms)   Median Time (ms)   Time %")
        for name, whole, average, median, percent in rows:
            say(f" {name:>{width}}  {whole:>10.2f}  {average:>15.4f}  {median:>17.4f}  {percent:>7.1f}")
    say()


def _profile_json(times: dict[str, list[float]]) -> str:
    count = len(next(iter(times.values())))
    total = sum(sum(values) for values in times.values()) or 1.0
    lines = [f'  {{ "count" : {count} }}']
    for name, values in times.items():
        median = f', "medianMs" : {statistics.median(values):g}' if versions.has("trtexec_profile_median") else ""
        lines.append(
            f'{{ "name" : {json.dumps(name)}, "timeMs" : {sum(values):g}, "averageMs" : {sum(values) / count:g}{median}, '
            f'"percentage" : {100 * sum(values) / total:g} }}'
        )
    return "[\n" + "\n, ".join(lines) + "\n]\n"


def _times_json(found: list[_Inference]) -> str:
    rows = []
    for one in found:
        row = {}
        for key, part in (("Enq", "enqueued"), ("H2d", "h2d"), ("Compute", "compute"), ("D2h", "d2h")):
            row[f"start{key}Ms"], row[f"end{key}Ms"] = getattr(one, part)
        row |= {
            "h2dMs": one.ms("h2d"),
            "computeMs": one.ms("compute"),
            "d2hMs": one.ms("d2h"),
            "latencyMs": one.latency,
        }
        rows.append("{ " + ", ".join(f'"{key}" : {value:.7g}' for key, value in row.items()) + " }")
    return "[\n  " + "\n, ".join(rows) + "\n]\n"


def run(options: dict[str, Any]) -> None:
    """Do what the options say."""
    say("=== STAND-IN of multidnn's tests, no NVIDIA software: no number below was measured ===")
    say(f"TensorRT version: {'.'.join(map(str, versions.number()[:3]))}")
    if ("onnx" in options) == ("loadEngine" in options):
        raise _OptionError(
            "Model missing or format not recognized" if "onnx" not in options else "both a model and an engine"
        )
    log = _Log("verbose" in options)
    cuda.init()
    cuda.Device(0).make_context()
    if "onnx" in options:
        content = _build(options, log)
    else:
        try:
            content = Path(options["loadEngine"]).read_bytes()
        except OSError:
            say(f"Error opening engine file: {options['loadEngine']}", "E")
            raise _FailedError("Failed to create engine from model or file.") from None
    if "saveEngine" in options:
        Path(options["saveEngine"]).write_bytes(content)
    loaded = _Run(options, content, log)
    say("Engine loaded in 0.001 sec.")
    if "exportLayerInfo" in options or "dumpLayerInfo" in options:
        inspector = loaded.engine.create_engine_inspector()
        information = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        if "exportLayerInfo" in options:
            Path(options["exportLayerInfo"]).write_text(json.dumps(json.loads(information), indent=1))
        if "dumpLayerInfo" in options:
            say("Layer Information:")
            say(inspector.get_engine_information(trt.LayerInformationFormat.ONELINE))
    if "buildOnly" in options or "skipInference" in options:
        say("Skipped inference phase since --buildOnly or --skipInference is added.")
        return
    profiling, apart = "dumpProfile" in options or "exportProfile" in options, "separateProfileRun" in options
    profiler = _Profiler()
    say("Starting inference")
    if profiling and not apart:
        loaded.context.profiler = profiler
    found = loaded.loop()
    silent = profiling and not apart and versions.has("trtexec_no_summary_with_profile")
    say(f"Warmup completed and timing trace has {len(found)} queries over {found[-1].d2h[1] / 1e3:g} s")
    if silent:
        say(
            "The e2e network timing is not reported since it is inaccurate due to the extra synchronizations when the profiler is "
            "enabled."
        )
        say(
            "To show e2e network timing report, add --separateProfileRun to profile layer timing in a separate run or remove "
            "--dumpProfile to disable the profiler."
        )
    else:
        _summary(found)
    if "exportTimes" in options:
        Path(options["exportTimes"]).write_text(_times_json(found))
    if profiling:
        if apart:
            loaded.context.profiler = profiler
            loaded.loop()
        # trtexec profiles its warm-up as well, and so counts more iterations than it was asked for
        if "dumpProfile" in options:
            _table(profiler.times)
        if "exportProfile" in options:
            Path(options["exportProfile"]).write_text(_profile_json(profiler.times))


def main() -> int:
    """Run the program."""
    sys.argv[0] = "trtexec"
    print(banner("RUNNING"), flush=True)
    try:
        options = parse(sys.argv[1:])
        if "help" in options or "h" in options or not options:
            print(usage())
            print(banner("PASSED") if options else banner("FAILED"), flush=True)
            return 0 if options else 1
        run(options)
    except _OptionError as error:
        say(str(error), "E")
        print(usage())
        print(banner("FAILED"), flush=True)
        return 1
    except (_FailedError, cuda.Error) as error:
        say(str(error), "E")
        say("Engine set up failed", "E")
        print(banner("FAILED"), file=sys.stderr, flush=True)
        return 1
    print(banner("PASSED"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
