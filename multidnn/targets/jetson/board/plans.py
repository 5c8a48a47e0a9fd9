"""The schedules of a run request, checked, as steps of workers."""

from __future__ import annotations

from typing import Mapping

from .engines import EngineFile
from .errors import BoardError
from .fields import Fields
from .worker import Step


def read_plans(request: Fields, engines: Mapping[str, EngineFile]) -> dict[str, dict[str, tuple[Step, ...]]]:
    """Return, per scheduler and worker, the steps in order; workers without any are left out.

    Raises:
        BoardError: a step names something that is not there, or an event is not given as often as it is waited for.
    """
    events = int(request.value("events", int))
    tensors = request.object("tensors").names()
    plans: dict[str, dict[str, tuple[Step, ...]]] = {}
    for scheduler, plan in request.named_objects("plans"):
        raw = {worker: plan.objects(worker) for worker in plan.names()}
        giver: dict[int, str] = {}
        balance: dict[int, int] = {}
        for worker, steps in raw.items():
            for step in steps:
                for event in step.numbers("signals"):
                    segment, instance = step.value("segment", int), step.value("instance", str)
                    giver[event] = f"worker {worker!r} (segment {segment} of {instance})"
                    balance[event] = balance.get(event, 0) + 1
                for event in step.numbers("waits"):
                    balance[event] = balance.get(event, 0) - 1
        for event, left in balance.items():
            if not 0 <= event < events:
                raise BoardError(f"plan {scheduler!r} has event {event}; events allows 0 to {events - 1}")
            if left:
                raise BoardError(f"plan {scheduler!r}: event {event} is not waited for as often as it is signalled")
        plans[scheduler] = {
            worker: tuple(_step(step, worker, scheduler, engines, tensors, giver) for step in steps)
            for worker, steps in raw.items()
            if steps
        }
    if not plans:
        raise BoardError("request: plans is empty")
    return plans


def _step(
    fields: Fields,
    worker: str,
    scheduler: str,
    engines: Mapping[str, EngineFile],
    tensors: list[str],
    giver: Mapping[int, str],
) -> Step:
    key = fields.choice("engine", tuple(engines))
    if engines[key].worker != worker:
        raise BoardError(
            f"plan {scheduler!r}: engine {key!r} belongs to worker {engines[key].worker!r}, not {worker!r}"
        )
    return Step(
        fields.value("segment", int),
        fields.choice("instance", tuple(tensors)),
        key,
        tuple((event, giver[event]) for event in fields.numbers("waits")),
        tuple(fields.numbers("signals")),
    )
