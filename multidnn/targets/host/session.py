"""Networks loaded on the accelerators of a host target, ready to be timed, co-run or executed by plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter_ns, sleep
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork, GroupModel
from multidnn.targets.base import Loop, Served, Service, Step, StepTimes, Timed, Traffic, chip_worker
from multidnn.targets.host import gate
from multidnn.targets.host.arena import Layout, Tensor
from multidnn.targets.host.bandwidth import find_counter
from multidnn.targets.host.crew import Crew
from multidnn.targets.host.engines import spins

if TYPE_CHECKING:
    from multidnn.targets.host.target import HostTarget

# gate events that the session itself uses, before those that plans number from 0
_READY, _GO, _RUNNING, _STOP, _OWN_EVENTS = 0, 1, 2, 3, 4
_START_DELAY_NS = 500_000
# what an uncut network is called: with the cores to itself, and on cores that others use too
_WHOLE, _STREAMS = "whole", "streams"


class HostSession:
    """One worker per accelerator (and per instance for the chip used whole), with all tensors in one arena.

    Use as a context manager. Every method raises `InputError` if a worker dies or reports an error.
    """

    def __init__(
        self,
        target: HostTarget,
        instances: Mapping[str, ExportedNetwork],
        chip: Mapping[str, str],
        events: int,
    ) -> None:
        self._target = target
        self._instances = dict(instances)
        self._chip = dict(chip)
        layout = Layout()
        for instance, network in self._instances.items():
            for group in network.groups:
                for name, shape in {**group.inputs, **group.outputs}.items():
                    layout.add(f"{instance}:{name}", shape)
        self._slots = layout.slots
        # per engine, the accelerators that did not take it and why
        self._refused: dict[str, dict[str, str]] = {}
        self._refused_whole: dict[str, str] = {}
        # workers that get only the time nothing else wants
        self._idle: set[str] = set()
        # per accelerator and uncut engine, why it was not taken
        self._uncut: dict[tuple[str, str], str | None] = {}
        workers = dict(target.cores) | {chip_worker(instance): target.all_cores for instance in self._chip}
        self._crew = Crew(workers, layout.size, _OWN_EVENTS + events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and free the shared memory."""
        self._crew.close()

    def load(self, only: Mapping[str, Sequence[int]] | None = None) -> None:
        """Load and bind engines: all groups, or those listed per instance, on every accelerator.

        A model that a runtime does not take is no error here: `refusal` tells why.
        """
        for instance, network in self._instances.items():
            for group in network.groups:
                if only is None or group.index in only.get(instance, ()):
                    self._load_group(instance, network, group)
        for instance in self._chip:
            # what `whole` calls, and what `streams` calls
            reason = self._load_uncut(chip_worker(instance), instance, (_WHOLE, _STREAMS))
            if reason is not None:
                self._refused_whole[instance] = reason

    def _load_group(self, instance: str, network: ExportedNetwork, group: GroupModel) -> None:
        key = f"{network.directory}/{group.index}"
        if key not in self._refused:
            for accelerator, cores in self._target.cores.items():
                runtime = self._target.runtimes[accelerator]
                self._crew.send(
                    accelerator, "load", key=key, runtime=runtime, model=str(group.path), threads=len(cores)
                )
            answers = self._crew.receive(*self._target.cores)
            self._refused[key] = {name: reason for name, reason in answers.items() if reason is not None}
        # one accelerator after the other: both write the same output tensor
        for accelerator in self._target.cores:
            if accelerator not in self._refused[key]:
                self._bind(accelerator, f"{instance}/{group.index}", key, instance, group.inputs, group.outputs)

    def _load_uncut(self, worker: str, instance: str, parts: Sequence[str]) -> str | None:
        """Load a whole network on all cores, for having them to itself or for sharing them; return why it is refused."""
        network, runtime = self._instances[instance], self._chip[instance]
        engines = {part: part if spins(runtime) else _WHOLE for part in parts}
        for engine in dict.fromkeys(engines.values()):
            reason: str | None = self._crew.call(
                worker,
                "load",
                key=engine,
                runtime=runtime,
                model=str(network.whole_path),
                threads=len(self._target.all_cores),
                shared=engine == _STREAMS,
            )
            if reason is not None:
                return reason
        for part, engine in engines.items():
            self._bind(worker, f"{instance}/{part}", engine, instance, network.inputs, network.outputs)
        return None

    def refusal(self, accelerator: str, instance: str, group: int) -> str | None:
        """See `Session.refusal`."""
        return self._refused.get(f"{self._instances[instance].directory}/{group}", {}).get(accelerator)

    def refusal_whole(self, instance: str) -> str | None:
        """See `Session.refusal_whole`."""
        return self._refused_whole.get(instance)

    def _bind(
        self,
        worker: str,
        call: str,
        engine: str,
        instance: str,
        inputs: Mapping[str, tuple[int, ...]],
        outputs: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._crew.call(
            worker,
            "bind",
            call=call,
            engine=engine,
            inputs={name: self._slots[f"{instance}:{name}"] for name in inputs},
            outputs={name: self._slots[f"{instance}:{name}"] for name in outputs},
        )

    def tensor(self, instance: str, name: str) -> Tensor:
        """Return a view of a tensor of `instance` that crosses groups; every worker sees what is written to it."""
        return self._crew.arena.tensor(self._slots[f"{instance}:{name}"])

    def fill_inputs(self, rng: np.random.Generator) -> None:
        """Write standard normal noise into every input of every instance."""
        for instance, network in self._instances.items():
            for name, shape in network.inputs.items():
                self.tensor(instance, name)[...] = rng.standard_normal(shape, dtype=np.float32)

    def fill_tensors(self, rng: np.random.Generator) -> None:
        """Write standard normal noise into every tensor, for timing groups whose predecessors do not run."""
        for slot in self._slots.values():
            self._crew.arena.tensor(slot)[...] = rng.standard_normal(slot.shape, dtype=np.float32)

    def process_ids(self) -> dict[str, int]:
        """Return the process id of each worker."""
        return self._crew.process_ids()

    def time(self, accelerator: str, groups: Sequence[Timed], passes: int) -> list[list[float]]:
        """Run `groups` in order, `passes` times, on `accelerator`; return milliseconds per pass and group."""
        calls = [(f"{timed.instance}/{timed.group}", timed.repeats) for timed in groups]
        times: list[list[float]] = self._crew.call(accelerator, "time_passes", calls=calls, passes=passes)
        return times

    def time_whole(self, instance: str, passes: int) -> list[float]:
        """Run `instance` whole on all cores, `passes` times; return milliseconds per pass."""
        worker = chip_worker(instance)
        rows = self._crew.call(worker, "time_passes", calls=[(f"{instance}/{_WHOLE}", 1)], passes=passes)
        return [row[0] for row in rows]

    @contextmanager
    def background(self, loads: Mapping[str, Traffic | Loop]) -> Iterator[dict[str, Any]]:
        """Keep `loads` (accelerator to load) running within the block.

        Yields:
            A dict that holds, once the block has ended, per accelerator (bytes, seconds) of traffic or the finished
            rounds of a loop.
        """
        commands: dict[str, tuple[str, dict[str, Any]]] = {}
        for accelerator, load in loads.items():
            if isinstance(load, Traffic):
                commands[accelerator] = "traffic", {"duty": load.duty}
            else:
                commands[accelerator] = "loop", {"calls": [f"{name}/{group}" for name, group in load.groups]}
        answers: dict[str, Any] = {}
        with self._running(commands) as found:
            yield answers
        for accelerator, load in loads.items():
            answers[accelerator] = len(found[accelerator]) if isinstance(load, Loop) else found[accelerator]

    @contextmanager
    def _running(self, commands: Mapping[str, tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
        """Have workers do what `commands` say until the block ends; yields their answers, there once it has ended."""
        answers: dict[str, Any] = {}
        for worker, (command, arguments) in commands.items():
            self._crew.send(worker, command, running=_RUNNING, stop=_STOP, **arguments)
        for _ in commands:
            self._crew.wait_signal(_RUNNING, 30, *commands)
        # an error in the block goes on to the session's own end, which ends the workers and with them the load
        yield answers
        gate.signal(self._crew.events[_STOP], len(commands))
        answers.update(self._crew.receive(*commands))

    def load_whole(self, accelerator: str, instance: str) -> str | None:
        """See `Session.load_whole`."""
        network = self._instances[instance]
        key = f"{network.directory}/{_WHOLE}"
        if (accelerator, key) not in self._uncut:
            runtime, threads = self._target.runtimes[accelerator], len(self._target.cores[accelerator])
            self._uncut[accelerator, key] = self._crew.call(
                accelerator, "load", key=key, runtime=runtime, model=str(network.whole_path), threads=threads
            )
        if self._uncut[accelerator, key] is None:
            self._bind(accelerator, f"{instance}/{_WHOLE}", key, instance, network.inputs, network.outputs)
        return self._uncut[accelerator, key]

    def serve(
        self, protected: Service, beside: Sequence[Service], requests: int, warmup: int, *, urgent: bool = False
    ) -> Served:
        """See `Session.serve`. A request is a call of the runtime, timed in the worker that makes it. Beside an urgent
        one the others run in workers that get only the time of the cores that nothing else wants."""
        loops: dict[str, list[str]] = {}
        workers = {service.instance: self._worker(service, idle=urgent) for service in beside}
        for service in beside:
            loops.setdefault(workers[service.instance], []).append(self._call(service, shared=True))
        worker, call = self._worker(protected, idle=False), self._call(protected, shared=bool(beside))
        with self._running({name: ("loop", {"calls": calls}) for name, calls in loops.items()}) as ends:
            times = self._crew.call(worker, "answer", call=call, requests=requests, warmup=warmup)
        by_instance = {instance: ends[name] for instance, name in workers.items()}
        return Served.of(times, by_instance, dict.fromkeys(by_instance, 1))

    def _worker(self, service: Service, idle: bool) -> str:
        """Return the worker of a service; one of all cores' idle time is started when it is first asked for."""
        if service.accelerator is not None:
            return service.accelerator
        if not idle:
            return chip_worker(service.instance)
        name = f"idle:{service.instance}"
        if name not in self._idle:
            self._crew.add_idle(name, self._target.all_cores)
            reason = self._load_uncut(name, service.instance, (_STREAMS,))
            if reason is not None:
                raise InputError(f"{name}: {reason}")
            self._idle.add(name)
        return name

    @staticmethod
    def _call(service: Service, shared: bool) -> str:
        """Return the call of an uncut network; on a chip that others use too, threads that wait must not spin."""
        return f"{service.instance}/{_STREAMS if service.accelerator is None and shared else _WHOLE}"

    def peak_traffic(self, seconds: float) -> float:
        """Run the traffic generator at full speed on all accelerators of a split at once; return the largest sum over
        splits in bytes per second."""
        sums = []
        for accelerators in self._target.splits.values():
            with self.background(dict.fromkeys(accelerators, Traffic(1.0))) as answers:
                sleep(seconds)
            sums.append(sum(moved / taken for moved, taken in answers.values()))
        return float(max(sums))

    def count_traffic(self, accelerator: str, groups: Sequence[tuple[str, int]], seconds: float) -> list[float]:
        """Loop each group alone on `accelerator` and count its real memory traffic; return bytes per second each.

        Raises:
            InputError: the kernel offers no counter (ask `HostTarget.traffic_counter` first).
        """
        counter, found = find_counter(self._crew.process_ids()[accelerator])
        if counter is None:
            raise InputError(f"no memory-traffic counter for accelerator {accelerator!r}: {found}")
        rates = []
        with counter:
            for group in groups:
                with self.background({accelerator: Loop((group,))}):
                    rates.append(counter.measure(seconds))
        return rates

    def time_transition(
        self, source: str, destination: str, instance: str, tensor: str, rounds: int
    ) -> tuple[list[float], list[float], list[float]]:
        """See `Session.time_transition`."""
        arguments = {"slot": self._slots[f"{instance}:{tensor}"], "rounds": rounds, "ready": _READY, "filled": _RUNNING}
        self._crew.send(source, "hand_over", **arguments)
        self._crew.send(destination, "take_over", **arguments)
        answers = self._crew.receive(source, destination)
        held, arrival, cold = [], [], []
        for (begin, end), (received, first, second) in zip(answers[source], answers[destination], strict=True):
            held.append((end - begin) / 1e6)
            # the destination may see the signal before the source's own call has returned
            arrival.append(max(received - end, 0) / 1e6)
            cold.append((first - second) / 1e6)
        return held, arrival, cold

    def plan(self, worker: str, name: str, steps: Sequence[Step], spin: bool) -> None:
        """Give `worker` its part of a schedule; events in `steps` are numbered from 0 up to `events` of the session."""
        shifted = [
            Step(
                step.calls,
                tuple(_OWN_EVENTS + event for event in step.waits),
                tuple(_OWN_EVENTS + event for event in step.signals),
            )
            for step in steps
        ]
        self._crew.call(worker, "plan", name=name, steps=shifted, spin=spin)

    def iterate(self, name: str, workers: Sequence[str], timeout_s: float) -> tuple[int, dict[str, list[StepTimes]]]:
        """Run the plan `name` once on `workers`, started together.

        Returns:
            The common start (monotonic ns) and the times of each worker's steps.
        """
        for worker in workers:
            self._crew.send(worker, "iterate", name=name, ready=_READY, go=_GO, timeout_s=timeout_s)
        for _ in workers:
            self._crew.wait_signal(_READY, 30, *workers)
        start = perf_counter_ns() + _START_DELAY_NS
        self._crew.arena.start_time()[0] = start
        gate.signal(self._crew.events[_GO], len(workers))
        return start, self._crew.receive(*workers, timeout_s=timeout_s + 30)
