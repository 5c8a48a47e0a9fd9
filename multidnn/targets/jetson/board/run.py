"""The command `run`: schedules executed in turn by one worker per accelerator, started together, outputs compared."""

from __future__ import annotations

import random
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic, monotonic_ns
from typing import Any, Mapping

import numpy as np

from . import gate
from .arena import Arena, Layout
from .crew import Crew
from .engines import Engines, read_engines, read_seats
from .errors import BoardError
from .fields import Fields
from .outputs import Comparison
from .plans import read_plans
from .sampler import Sampler
from .worker import Step

# so that a tensor left over from the iteration before is of other inputs
_INPUT_SETS = 2


@dataclass(frozen=True)
class Options:
    """How long to run: rounds (one iteration of each scheduler) and seconds."""

    warmup: int
    min_iterations: int
    max_iterations: int
    budget_s: float
    seed: int


class Run:
    """A run request, checked, and its execution by a crew."""

    def __init__(self, request: Fields) -> None:
        self.seats = read_seats(request)
        self.files = read_engines(request, self.seats)
        self.layout = _layout(request)
        self.inputs = self._names(request, "inputs")
        self.outputs = self._names(request, "outputs")
        self.plans = read_plans(request, self.files)
        self.reference = {name: request.object("reference").texts(name) for name in request.object("reference").names()}
        self._check_reference()
        options = request.object("options")
        self.options = Options(
            int(options.value("warmup", int)),
            int(options.value("min_iterations", int)),
            int(options.value("max_iterations", int)),
            float(options.value("budget_s", float)),
            int(options.value("seed", int)),
        )
        self.timeout_s = float(request.value("timeout_s", float))
        energy = request.optional_object("energy")
        self.energy_s = float(energy.value("seconds", float)) if energy else 0.0
        self.sampler = energy.object("sampler").texts("command") if energy else None
        self.arena = Arena(self.layout)
        self.line = gate.StartLine(self.arena.start_time(), tuple(self.seats))
        self.gates = [gate.make_gate() for _ in range(int(request.value("events", int)))]

    def _names(self, request: Fields, key: str) -> dict[str, list[str]]:
        fields = request.object(key)
        names = {instance: fields.texts(instance) for instance in fields.names()}
        for instance in self.layout.slots:
            if not names.get(instance):
                raise BoardError(f"request: {key} lacks instance {instance!r}")
            for name in names[instance]:
                self.layout.slot(instance, name)
        return names

    def _check_reference(self) -> None:
        for instance in self.layout.slots:
            for key in self.reference.get(instance, []):
                if key not in self.files:
                    raise BoardError(f"request: reference of {instance!r} has engine {key!r}, which is not in engines")
            if not self.reference.get(instance):
                raise BoardError(f"request: reference lacks instance {instance!r}")

    def instances(self) -> dict[str, list[str]]:
        """Return, per engine, the instances that it runs for."""
        found: dict[str, list[str]] = {}
        for instance, keys in self.reference.items():
            for key in keys:
                found.setdefault(key, []).append(instance)
        for plan in self.plans.values():
            for steps in plan.values():
                for step in steps:
                    found.setdefault(step.engine, []).append(step.instance)
        return found

    def execute(self, crew: Crew) -> dict[str, Any]:
        """Run everything and return the answer."""
        engines = Engines(crew, self.files, self.seats, self.instances())
        for scheduler, plan in self.plans.items():
            for worker, steps in plan.items():
                crew.call(worker, "plan", self.timeout_s, scheduler=scheduler, steps=steps)
        rng = np.random.default_rng(self.options.seed)
        input_sets = [self._noise(rng) for _ in range(_INPUT_SETS)]
        reference = [self._run_alone(crew, engines, inputs) for inputs in input_sets]
        comparison = Comparison(reference)
        iterations = self._rounds(crew, engines, input_sets, comparison)
        energy, lines = self._measure_energy(crew, engines)
        reasons = sorted({why for _, why in crew.transfers.values() if why})
        return {
            "format": 1,
            "iterations": iterations,
            "outputs": comparison.summary(),
            "energy": energy,
            "sampler_lines": lines,
            "engine_loads": engines.loads,
            "start_delay_ns": gate.StartLine.DELAY_NS,
            "transfer": "copied" if reasons else "mapped",
            "transfer_reason": reasons[0] if reasons else None,
        }

    def _noise(self, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
        return {
            instance: {
                name: rng.standard_normal(self.layout.slot(instance, name).shape).astype(np.float32) for name in names
            }
            for instance, names in self.inputs.items()
        }

    def _prepare(self, inputs: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the inputs, and NaN over the outputs: what is not written anew must not pass for right."""
        for instance, names in self.outputs.items():
            self.arena.write(instance, dict.fromkeys(names, np.nan))
        for instance, values in inputs.items():
            self.arena.write(instance, values)

    def _read_outputs(self) -> dict[str, dict[str, Any]]:
        return {
            instance: {name: self.arena.tensor(self.layout.slot(instance, name)) for name in names}
            for instance, names in self.outputs.items()
        }

    def _run_alone(
        self, crew: Crew, engines: Engines, inputs: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Return the outputs of every instance when its reference engines run one after another, alone."""
        engines_of = {instance: list(self.reference[instance]) for instance in self.layout.slots}
        self._prepare(inputs)
        for instance, keys in engines_of.items():
            for key in keys:
                before = self.arena.snapshot()
                if engines.need([key]):
                    # loading ran it on tensors that hold results already
                    self.arena.restore(before)
                crew.call(self.files[key].worker, "run_once", self.timeout_s, key=key, instance=instance)
        outputs = {
            instance: {name: tensor.copy() for name, tensor in tensors.items()}
            for instance, tensors in self._read_outputs().items()
        }
        for instance, tensors in outputs.items():
            for name, tensor in tensors.items():
                if not np.isfinite(tensor).all():
                    raise BoardError(
                        f"the reference of {instance!r} leaves {name!r} with NaN or infinity: its engines do not compute it, "
                        f"or overflow in their precision"
                    )
        return outputs

    def _iterate(self, crew: Crew, engines: Engines, scheduler: str) -> dict[str, Any]:
        plan: Mapping[str, tuple[Step, ...]] = self.plans[scheduler]
        workers = tuple(plan)
        for worker in workers:
            crew.send(worker, "iterate", scheduler=scheduler, timeout_s=self.timeout_s)
        start = crew.start_together(self.timeout_s, *workers)
        answers = crew.receive(*workers, timeout_s=2 * self.timeout_s)
        left = [number for number, one in enumerate(self.gates) if gate.count(one)]
        if left:
            raise BoardError(f"iteration of {scheduler!r} ended with signals left on events {left}")
        began = [answer[0] for answer in answers.values()]
        return {
            "scheduler": scheduler,
            "start_ns": start,
            "skew_ns": max(began) - min(began),
            "steps": {worker: answer[1] for worker, answer in answers.items()},
        }

    def _load(self, engines: Engines, scheduler: str) -> None:
        engines.need([step.engine for steps in self.plans[scheduler].values() for step in steps])

    def _rounds(
        self, crew: Crew, engines: Engines, input_sets: list[dict[str, dict[str, Any]]], comparison: Comparison
    ) -> list[dict[str, Any]]:
        order = list(self.plans)
        shuffler = random.Random(self.options.seed)
        iterations: list[dict[str, Any]] = []
        count = 0
        begin = monotonic()
        for number in range(-self.options.warmup, self.options.max_iterations):
            if number == 0:
                begin = monotonic()
            if number >= self.options.min_iterations and monotonic() - begin > self.options.budget_s:
                break
            shuffler.shuffle(order)
            for scheduler in order:
                input_set = count % _INPUT_SETS
                count += 1
                # before the tensors are written: loading runs an engine once
                self._load(engines, scheduler)
                self._prepare(input_sets[input_set])
                result = self._iterate(crew, engines, scheduler)
                comparison.add(scheduler, input_set, self._read_outputs())
                if number >= 0:
                    result["index"] = number
                    iterations.append(result)
        return iterations

    def _measure_energy(self, crew: Crew, engines: Engines) -> tuple[dict[str, Any], list[list[Any]]]:
        """Iterate each scheduler back to back while the sampler prints; return when, how often, and its lines."""
        if self.sampler is None:
            return {}, []
        found: dict[str, Any] = {}
        with Sampler(self.sampler) as sampler:
            for scheduler in self.plans:
                self._load(engines, scheduler)
                begin, iterations = monotonic_ns(), 0
                while monotonic_ns() - begin < self.energy_s * 1e9:
                    self._iterate(crew, engines, scheduler)
                    iterations += 1
                found[scheduler] = {"begin_ns": begin, "end_ns": monotonic_ns(), "iterations": iterations}
                sampler.check()
            return found, sampler.finish()


def _layout(request: Fields) -> Layout:
    layout = Layout()
    for instance, fields in request.named_objects("tensors"):
        for name in fields.names():
            layout.add(instance, name, tuple(fields.numbers(name)))
    if not layout.slots:
        raise BoardError("request: tensors is empty")
    return layout


def run(request: Fields) -> dict[str, Any]:
    """Answer a `run` request."""
    job = Run(request)
    with ExitStack() as stack:
        crew = stack.enter_context(Crew(job.seats, job.arena, job.gates, job.line))
        return job.execute(crew)
