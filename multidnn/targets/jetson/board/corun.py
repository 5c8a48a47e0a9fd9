"""The command `corun`: engines timed while others run beside them, to see how accelerators slow each other down."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic, monotonic_ns
from typing import Any, Mapping

from . import gate
from .crew import Crew
from .engines import EngineFile, Engines, read_engines, read_seats
from .errors import BoardError
from .fields import Fields
from .sampler import Sampler

# gates of this command, by number
_RUNNING, _STOP = 0, 1


@dataclass(frozen=True)
class Load:
    """An engine that loops in the background at `duty` (share of the time that it runs)."""

    engine: str
    duty: float


@dataclass(frozen=True)
class Measurement:
    """One measurement of the request; `victim` is (engine, repeats) or None."""

    name: str
    victim: tuple[str, int] | None
    loads: tuple[Load, ...]
    samples: int
    warmup: int
    seconds: float


def _read(fields: Fields, engines: Mapping[str, EngineFile]) -> Measurement:
    known = tuple(engines)
    loads = []
    for load in fields.objects("loads"):
        duty = float(load.value("duty", float)) if "duty" in load else 1.0
        if not 0 < duty <= 1:
            raise BoardError(f"duty {duty:g} of a load must be above 0 and at most 1")
        loads.append(Load(load.choice("engine", known), duty))
    name = fields.value("name", str)
    asked = fields.optional_object("victim")
    victim = None
    if asked is not None:
        victim = (asked.choice("engine", known), int(asked.optional("repeats", int) or 1))
    used = [engines[key].worker for key in [load.engine for load in loads] + ([victim[0]] if victim else [])]
    if len(set(used)) != len(used):
        raise BoardError(f"measurement {name!r}: a worker runs one engine at a time, and is given several")
    if victim is None and not (loads and "seconds" in fields):
        raise BoardError(f"measurement {name!r} has no victim, so it needs loads and how many seconds they run")
    return Measurement(
        name,
        victim,
        tuple(loads),
        int(fields.value("samples", int)) if victim else 0,
        int(fields.optional("warmup", int) or 0),
        float(fields.value("seconds", float)) if "seconds" in fields else 0.0,
    )


def _measure(
    crew: Crew, engines: Mapping[str, EngineFile], one: Measurement, sampler: Sampler | None, timeout_s: float
) -> dict[str, Any]:
    workers = [engines[load.engine].worker for load in one.loads]
    for load, name in zip(one.loads, workers):
        crew.send(name, "loop", key=load.engine, duty=load.duty, running=_RUNNING, stop=_STOP)
    crew.collect(_RUNNING, timeout_s, *workers)
    begin = monotonic_ns()
    times: list[float] = []
    if one.victim is not None:
        key, repeats = one.victim
        times = crew.call(
            engines[key].worker,
            "measure",
            timeout_s,
            key=key,
            samples=one.samples,
            warmup=one.warmup,
            repeats=repeats,
        )
    # where a sampler watches, a measurement goes on at least as long as asked, so that it sees enough of it
    until = begin / 1e9 + one.seconds
    while monotonic() < until:
        crew.watch(min(0.2, max(0.0, until - monotonic())))
        if sampler is not None:
            sampler.check()
    end = monotonic_ns()
    gate.signal(crew.gate(_STOP), len(workers))
    answers = crew.receive(*workers, timeout_s=timeout_s)
    loads = [
        {"engine": load.engine, "rounds": answers[name][0], "seconds": answers[name][1]}
        for load, name in zip(one.loads, workers)
    ]
    return {"name": one.name, "victim_ms": times, "loads": loads, "begin_ns": begin, "end_ns": end}


def corun(request: Fields) -> dict[str, Any]:
    """Answer a `corun` request; a worker holds at most `resident` of its engines at once."""
    seats = read_seats(request)
    files = read_engines(request, seats)
    measurements = [_read(fields, files) for fields in request.objects("measurements")]
    asked = request.optional_object("sampler")
    command = asked.texts("command") if asked else None
    timeout_s = float(request.value("timeout_s", float))
    resident = int(request.value("resident", int))
    if resident < 1:
        raise BoardError(f"resident is {resident}, expected at least 1 engine per worker")
    gates = [gate.make_gate() for _ in (_RUNNING, _STOP)]
    with ExitStack() as stack:
        # forked before the sampler's thread exists
        crew = stack.enter_context(Crew(seats, None, gates, None))
        engines = Engines(crew, files, seats, {}, resident)
        sampler = stack.enter_context(Sampler(command)) if command else None
        results = []
        for one in measurements:
            engines.need([load.engine for load in one.loads] + ([one.victim[0]] if one.victim else []))
            results.append(_measure(crew, files, one, sampler, timeout_s))
        lines = sampler.finish() if sampler else []
    return {"format": 1, "measurements": results, "sampler_lines": lines, "engine_loads": engines.loads}
