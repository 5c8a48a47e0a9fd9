"""The command `profile`: the time of each layer of an engine, and of whole executions."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from .driver import start_cuda
from .fields import Fields


def _entries(samples: dict[str, list[float]], count: int) -> list[dict[str, Any]]:
    """Return layer times in the form of trtexec's --exportProfile (milliseconds and percent)."""
    total = sum(sum(times) for times in samples.values())
    entries: list[dict[str, Any]] = [{"count": count}]
    for name, times in samples.items():
        entries.append(
            {
                "name": name,
                "timeMs": sum(times),
                "averageMs": sum(times) / count,
                "medianMs": statistics.median(times),
                "percentage": 100 * sum(times) / total if total else 0.0,
            }
        )
    return entries


def _profile(request: Fields) -> dict[str, Any]:
    import numpy as np
    import pycuda.driver as cuda

    from . import api
    from .engine import Loader, OwnMemory, call_alone, time_call

    path = request.value("engine", str)
    iterations, warmup = request.value("iterations", int), request.value("warmup", int)
    stream = cuda.Stream()
    engine = Loader(request.optional("dla_core", int)).load(Path(path))
    memory = OwnMemory(engine, np.random.default_rng(0))
    call = call_alone(engine, stream, memory)
    for _ in range(warmup):
        call.run()
    latencies = [time_call(call, stream, 1) for _ in range(iterations)]
    # a context with a profiler runs layer by layer: layers are timed apart from whole executions
    profiled = call_alone(engine, stream, memory)
    profiler = api.make_profiler()
    profiled.execution.set_profiler(profiler)
    samples: dict[str, list[float]] = {}
    for i in range(warmup + iterations):
        profiler.times = {}
        profiled.run()
        if i >= warmup:
            for name, ms in profiler.times.items():
                samples.setdefault(name, []).append(ms)
    del call, profiled
    memory.close()
    return {
        "engine": path,
        "memory": memory.kind,
        "profile": _entries(samples, iterations),
        "layer_samples_ms": samples,
        "latency_ms": latencies,
    }


def profile_all(request: Fields) -> dict[str, Any]:
    """Answer a `profile` request."""
    start_cuda()
    return {"format": 1, "profiles": [_profile(one) for one in request.objects("profiles")]}
