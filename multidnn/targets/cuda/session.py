"""Networks captured on the partitions of a GPU, ready to be timed, co-run or executed by plans; all in this process."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter_ns, sleep
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork, GroupModel
from multidnn.targets.base import Loop, Served, Service, Step, StepTimes, Timed, Traffic, chip_worker
from multidnn.targets.cuda.counting import counted_bytes
from multidnn.targets.cuda.device import Captured, Device, Lane, memory_error
from multidnn.targets.cuda.executor import Program, WeightStore
from multidnn.targets.cuda.gate import Gate
from multidnn.targets.cuda.graphs import Chain
from multidnn.targets.cuda.loads import Load, LoopLoad, TrafficBuffers, TrafficLoad, started
from multidnn.targets.cuda.plans import adoptions, launch_order, split_call
from multidnn.targets.cuda.precision import Precision, other_kernels
from multidnn.targets.cuda.tensors import Tensors
from multidnn.targets.cuda.transition import Handover

# what a network's whole model is called among its groups
_WHOLE = -1
_CHIP_RUNTIME = "torch-"
# a looping chain is about this many groups long, so that the host launches seldom
_LOOP_GROUPS = 24
# the same for uncut networks: a launch is 5 to 20 ms of work, and 50 us of Python that a request may have to wait for
_LOOP_NETWORKS = 8
_COUNT_REPEATS = 20
_COUNT_PASSES = 5
_WARM_UP_S = 0.002
_CALIBRATION_KERNELS = 32
_CALIBRATION_PASSES = 15
_CALIBRATION_FLOATS = 1 << 17


def chip_runtime(precision: str) -> str:
    """Return the name of the chip's runtime that computes in `precision`."""
    return _CHIP_RUNTIME + precision


def _lane_key(lane: Lane) -> str:
    """Return what a lane is called among refusals, beside precisions, which no name of a lane can be mistaken for."""
    return f"lane {lane.name}"


def _nothing(device: Device) -> Callable[[], Any]:
    """Return a small kernel's work: one pass over half a megabyte."""
    import torch

    values = torch.zeros(_CALIBRATION_FLOATS, device=device.name)
    # loads the kernel, which a capture may not do
    values.relu_()
    device.synchronize()
    return lambda: values.relu_()


class CudaSession:
    """One lane per partition (and per instance for the chip used whole), on which every group is captured once.

    A segment is its groups' graphs joined into one; a plan is a launch per segment, all enqueued before a gate opens,
    with events between partitions. See `targets.base.Session`; a worker is a lane, and all are in this process, so a
    fault of the GPU ends the process's use of it.

    Tensors: `tensor` gives a mirror in the host's memory. What has been asked for is uploaded before and downloaded
    after every `time`, `time_whole` and `iterate`, outside of what is timed.
    """

    def __init__(self, device: Device, instances: Mapping[str, ExportedNetwork], chip: Mapping[str, str]) -> None:

        self._device = device
        self._instances = dict(instances)
        self._batch = device.spec.batch
        self._lanes = dict(device.lanes)
        for number, (instance, runtime) in enumerate(chip.items()):
            precision = Precision(runtime.removeprefix(_CHIP_RUNTIME))
            name = chip_worker(instance)
            self._lanes[name] = device.chip_lane(number, name, precision)
        self._chip = dict(chip)
        self._store = WeightStore(device.name)
        self._programs: dict[tuple[str, str], Program] = {}
        self._tensors = Tensors(device, self._instances, self._batch)
        self._pools: dict[tuple[str, str], Any] = {}
        self._anchors: dict[tuple[str, str], Captured] = {}
        self._stamp_ms: dict[str, float] = {}
        self._captured: dict[tuple[str, str, int], Captured] = {}
        self._adopted: dict[tuple[str, str, str, str], Captured] = {}
        self._refused: dict[tuple[str, str, int], str] = {}
        self._chains: dict[Any, Chain] = {}
        self._plans: dict[str, dict[str, tuple[Step, ...]]] = {}
        self._events: dict[int, Any] = {}
        self._gate = Gate(device)
        self._buffers = TrafficBuffers(device)
        self._counted: dict[tuple[str, str, int], float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Free graphs, tensors and weights; a second call does nothing."""
        import torch

        for chain in self._chains.values():
            chain.close()
        self._chains, self._captured, self._adopted, self._programs = {}, {}, {}, {}
        self._plans, self._events, self._anchors, self._pools = {}, {}, {}, {}
        self._tensors = Tensors(self._device, {}, self._batch)
        self._store = WeightStore(self._device.name)
        self._buffers = TrafficBuffers(self._device)
        torch.cuda.empty_cache()

    # ---- loading

    def load(self, only: Mapping[str, Sequence[int]] | None = None) -> None:
        """Capture groups on every partition, and the chip's whole networks. See `Session.load`."""
        for name in self._device.lanes:
            for instance, network in self._instances.items():
                for group in network.groups:
                    if only is None or group.index in only.get(instance, ()):
                        self._load_group(self._lanes[name], instance, group)
        for instance in self._chip:
            self._load_uncut(self._lanes[chip_worker(instance)], instance)

    def _load_group(self, lane: Lane, instance: str, group: GroupModel) -> None:
        inputs = {name: self._tensors.place(lane, instance, name) for name in group.inputs}
        self._load(lane, instance, group.index, str(group.path), inputs)

    def load_whole(self, accelerator: str, instance: str) -> str | None:
        """See `Session.load_whole`."""
        self._load_uncut(self._lanes[accelerator], instance)
        return self.refusal(accelerator, instance, _WHOLE)

    def _load_uncut(self, lane: Lane, instance: str) -> None:
        network = self._instances[instance]
        inputs = {name: self._tensors.place(lane, instance, name) for name in network.inputs}
        self._load(lane, instance, _WHOLE, str(network.whole_path), inputs)

    def _load(self, lane: Lane, instance: str, index: int, path: str, inputs: Mapping[str, Any]) -> None:
        import torch

        if (lane.name, instance, index) in self._captured or self._refusal(lane, instance, index) is not None:
            return
        directory = str(self._instances[instance].directory)
        refusal, on_lane = (lane.precision.name, directory, index), (_lane_key(lane), directory, index)
        what = f"loading {path} on {lane.name}"
        try:
            program = self._program(path, lane.precision)

            def run() -> dict[str, Any]:
                outputs = program.run(inputs)
                for name in outputs:
                    # a later group was loaded before and reads it there
                    place = self._tensors.existing(lane, instance, name)
                    if place is not None:
                        outputs[name] = place.copy_(outputs[name])
                return outputs

            lane.warm_up(run)
        except InputError as error:
            self._refused[refusal] = str(error)
            return
        except torch.cuda.OutOfMemoryError as error:
            raise memory_error(error, what) from None
        except RuntimeError as error:
            self._refused[refusal] = f"{path}: torch cannot run it: {str(error).splitlines()[0]}"
            return
        try:
            captured = lane.capture(run, self._pool(lane, instance))
            problem = self._device.graph_problem(captured)
            if problem is not None:
                # such as a kernel whose thread-block clusters are too large for the partition
                with other_kernels():
                    lane.warm_up(run)
                    captured = lane.capture(run, self._pool(lane, instance))
                problem = self._device.graph_problem(captured)
        except torch.cuda.OutOfMemoryError as error:
            raise memory_error(error, what) from None
        if problem is not None:
            helps = "CLUSTER" in problem and not self._device.spec.large_clusters
            hint = " (try large_clusters: true)" if helps else ""
            self._refused[on_lane] = f"{path}: a kernel that torch chooses cannot run on {lane.name}: {problem}{hint}"
            return
        self._tensors.keep(lane, instance, captured.result)
        self._captured[lane.name, instance, index] = captured

    def _pool(self, lane: Lane, instance: str) -> Any:
        """Return the memory pool of an instance on a lane.

        A captured group writes its temporaries to whatever was free when it was captured, and what a group captured
        later returns may lie there too. So groups that share a pool must run in the order of their capture, as those of
        one instance do; those of two instances run in any.
        """
        import torch

        key = (lane.name, instance)
        if key not in self._pools:
            pool = torch.cuda.graph_pool_handle()
            # a pool lasts as long as a graph that was captured with it
            self._anchors[key] = lane.capture(_nothing(self._device), pool)
            self._pools[key] = pool
        return self._pools[key]

    def _program(self, path: str, precision: Precision) -> Program:
        key = (path, precision.name)
        if key not in self._programs:
            with precision.applied():
                self._programs[key] = Program(Path(path), precision, self._batch, self._store)
            # weights are put there by another stream than the lanes'
            self._device.synchronize()
        return self._programs[key]

    def refusal(self, accelerator: str, instance: str, group: int) -> str | None:
        """See `Session.refusal`."""
        return self._refusal(self._lanes[accelerator], instance, group)

    def _refusal(self, lane: Lane, instance: str, group: int) -> str | None:
        directory = str(self._instances[instance].directory)
        found = (self._refused.get((key, directory, group)) for key in (lane.precision.name, _lane_key(lane)))
        return next((reason for reason in found if reason is not None), None)

    def refusal_whole(self, instance: str) -> str | None:
        """See `Session.refusal_whole`."""
        return self.refusal(chip_worker(instance), instance, _WHOLE)

    # ---- tensors

    def tensor(self, instance: str, name: str) -> NDArray[np.float32]:
        """Return the host's mirror of a tensor, shaped for the batch; see the class for when it is copied."""
        return self._tensors.mirror(instance, name)

    def fill_inputs(self, rng: np.random.Generator) -> None:
        """See `Session.fill_inputs`."""
        self._tensors.fill(rng, only_inputs=True)

    def fill_tensors(self, rng: np.random.Generator) -> None:
        """See `Session.fill_tensors`: every place of every tensor."""
        self._tensors.fill(rng, only_inputs=False)

    def process_ids(self) -> dict[str, int]:
        """Return this process's id for each worker."""
        return dict.fromkeys(self._lanes, os.getpid())

    # ---- timing

    def time(self, accelerator: str, groups: Sequence[Timed], passes: int) -> list[list[float]]:
        """See `Session.time`: one launch per pass, timed by the device's clock between groups, less what writing that
        clock down takes."""
        lane = self._lanes[accelerator]
        listed = [(timed.instance, timed.group, timed.repeats) for timed in groups]
        chain = self._timing_chain(lane, tuple(listed))
        own = self._stamp_cost(lane)
        self._tensors.upload()
        rows = []
        for _ in range(passes):
            chain.launch()
            lane.stream.synchronize()
            times = chain.times()
            rows.append(
                [
                    max(1e-6, (end - begin) / 1e6 - own) / repeats
                    for begin, end, (_, _, repeats) in zip(times, times[1:], listed, strict=False)
                ]
            )
        for instance, group, _ in listed:
            self._mark_written(lane, instance, group)
        self._tensors.download()
        return rows

    def time_whole(self, instance: str, passes: int) -> list[float]:
        """See `Session.time_whole`."""
        return [row[0] for row in self.time(chip_worker(instance), [Timed(instance, _WHOLE)], passes)]

    def _stamp_cost(self, lane: Lane) -> float:
        """Return by how many ms a time stamp between two kernels delays the second."""
        if lane.name not in self._stamp_ms:
            kernel = next(anchor for (name, _), anchor in self._anchors.items() if name == lane.name)
            plain, stamped = Chain(self._device, lane, 2), Chain(self._device, lane, _CALIBRATION_KERNELS + 1)
            plain.stamp()
            stamped.stamp()
            for _ in range(_CALIBRATION_KERNELS):
                plain.add([kernel])
                stamped.add([kernel])
                stamped.stamp()
            plain.stamp()
            spans: list[list[int]] = [[], []]
            for chain, found in zip((plain.ready(), stamped.ready()), spans, strict=True):
                for _ in range(_CALIBRATION_PASSES):
                    chain.launch()
                    lane.stream.synchronize()
                    times = chain.times()
                    found.append(times[-1] - times[0])
                chain.close()
            without, with_stamps = (float(np.median(found)) for found in spans)
            self._stamp_ms[lane.name] = max(0.0, with_stamps - without) / (_CALIBRATION_KERNELS - 1) / 1e6
        return self._stamp_ms[lane.name]

    def _timing_chain(self, lane: Lane, groups: tuple[tuple[str, int, int], ...]) -> Chain:
        key = (lane.name, groups)
        if key not in self._chains:
            chain = Chain(self._device, lane, len(groups) + 1)
            chain.stamp()
            for instance, group, repeats in groups:
                chain.add([self._part(lane, instance, group)] * repeats)
                chain.stamp()
            self._chains[key] = chain.ready()
        return self._chains[key]

    def _part(self, lane: Lane, instance: str, group: int) -> Captured:
        part = self._captured.get((lane.name, instance, group))
        if part is None:
            what = "its whole network" if group == _WHOLE else f"group {group}"
            raise InputError(f"{lane.name}: {what} of {instance!r} is not loaded: {self._why(lane, instance, group)}")
        return part

    def _why(self, lane: Lane, instance: str, group: int) -> str:
        return self._refusal(lane, instance, group) or "it was not asked for when the session was loaded"

    def _mark_written(self, lane: Lane, instance: str, group: int) -> None:
        network = self._instances[instance]
        self._tensors.written(lane, instance, network.outputs if group == _WHOLE else network.groups[group].outputs)

    # ---- background load

    @contextmanager
    def background(self, loads: Mapping[str, Traffic | Loop]) -> Iterator[dict[str, Any]]:
        """See `Session.background`."""
        running: dict[str, Load] = {}
        for name, load in loads.items():
            lane = self._lanes[name]
            if isinstance(load, Traffic):
                running[name] = TrafficLoad(self._device, lane, self._buffers, load.duty)
            else:
                rounds = max(1, _LOOP_GROUPS // len(load.groups))
                running[name] = LoopLoad(self._device, lane, self._loop_chain(lane, load.groups, rounds), rounds)
        with self._running(running) as answers:
            yield answers

    @contextmanager
    def _running(self, loads: Mapping[str, Load]) -> Iterator[dict[str, Any]]:
        """Keep `loads` running until the block ends; yields what they did, there once it has ended."""
        answers: dict[str, Any] = {}

        def stop() -> None:
            for name, load in loads.items():
                answers[name] = load.stop()

        started(loads, stop)
        sleep(_WARM_UP_S)
        try:
            yield answers
        finally:
            stop()

    def _loop_chain(self, lane: Lane, groups: tuple[tuple[str, int], ...], rounds: int) -> Chain:
        key = (lane.name, groups, rounds)
        if key not in self._chains:
            chain = Chain(self._device, lane, 0)
            chain.add([self._part(lane, *group) for group in groups] * rounds)
            self._chains[key] = chain.ready()
        return self._chains[key]

    def peak_traffic(self, seconds: float) -> float:
        """Run the generator at full speed on all partitions of a split at once; return the largest sum over splits in
        bytes per second."""
        sums = []
        for partitions in self._device.spec.splits.values():
            names = [partition.name for partition in partitions]
            with self.background(dict.fromkeys(names, Traffic(1.0))) as answers:
                sleep(seconds)
            sums.append(sum(moved / taken for moved, taken in answers.values()))
        return float(max(sums))

    def count_traffic(self, accelerator: str, groups: Sequence[tuple[str, int]], seconds: float) -> list[float]:
        """Return the bytes per second that each group moves between the GPU and its memory, alone on `accelerator`.

        The bytes come from hardware counters of a child process that runs each network once, kernel by kernel, under
        Nsight Compute; the time is measured here. `seconds` is not used.

        Raises:
            InputError: the counters cannot be read (ask `CudaTarget.traffic_counter` first).
        """
        precision = self._lanes[accelerator].precision.name
        missing = {name for name, group in groups if (precision, name, group) not in self._counted}
        if missing:
            networks = {name: self._instances[name] for name in sorted(missing)}
            for (name, group), moved in counted_bytes(self._device.spec, precision, networks).items():
                self._counted[precision, name, group] = moved
        timed = [Timed(name, group, _COUNT_REPEATS) for name, group in groups]
        times = np.median(self.time(accelerator, timed, _COUNT_PASSES), axis=0)
        return [
            self._counted[precision, name, group] / (float(ms) / 1e3)
            for (name, group), ms in zip(groups, times, strict=True)
        ]

    # ---- requests

    def serve(
        self, protected: Service, beside: Sequence[Service], requests: int, warmup: int, *, urgent: bool = False
    ) -> Served:
        """See `Session.serve`. A request is from before the launch of the network's graph to the return of the wait for
        its stream, by the host's clock: what a caller with its input on the GPU sees.

        The others are launched from threads of this process, `_LOOP_NETWORKS` executions at once and three launches
        ahead. Launching and waiting release Python's lock, so neither side keeps the other from the GPU; a request that
        ends while such a thread prepares its next launch is seen later by what that takes.
        """
        chain, lane = self._service_chain(protected, urgent)
        turns: dict[str, list[str]] = {}
        for service in beside:
            turns.setdefault(self._serving_lane(service).name, []).append(service.instance)
        rounds = {name: max(1, _LOOP_NETWORKS // len(listed)) for name, listed in turns.items()}
        loads: dict[str, LoopLoad] = {}
        for name, listed in turns.items():
            groups = tuple((instance, _WHOLE) for instance in listed)
            looped = self._loop_chain(self._lanes[name], groups, rounds[name])
            loads[name] = LoopLoad(self._device, self._lanes[name], looped, rounds[name])
        # made before, so that nothing is allocated between two requests
        times = np.zeros((requests, 2), dtype=np.int64)
        self._tensors.upload()
        with self._running(loads):
            for number in range(-warmup, requests):
                begin = perf_counter_ns()
                chain.launch()
                lane.stream.synchronize()
                end = perf_counter_ns()
                if number >= 0:
                    times[number] = begin, end
        for service in (protected, *beside):
            self._mark_written(self._serving_lane(service), service.instance, _WHOLE)
        self._tensors.download()
        ends = {instance: loads[name].ends_ns for name, listed in turns.items() for instance in listed}
        each = {instance: rounds[name] for name, listed in turns.items() for instance in listed}
        return Served.of(times, ends, each)

    def _serving_lane(self, service: Service) -> Lane:
        return self._lanes[chip_worker(service.instance) if service.accelerator is None else service.accelerator]

    def _service_chain(self, service: Service, urgent: bool) -> tuple[Chain, Lane]:
        """Return the graph of an uncut network, and the lane that it is launched on."""
        own = self._serving_lane(service)
        lane = self._device.urgent_lane(f"urgent {own.name}", own.precision) if urgent else own
        key = (lane.name, "service", service.instance)
        if key not in self._chains:
            chain = Chain(self._device, lane, 0)
            chain.add([self._part(own, service.instance, _WHOLE)])
            self._chains[key] = chain.ready()
        return self._chains[key], lane

    # ---- transitions and runs

    def time_transition(
        self, source: str, destination: str, instance: str, tensor: str, rounds: int
    ) -> tuple[list[float], list[float], list[float]]:
        """See `Session.time_transition`: an event, and a copy to the destination's own place of the tensor.

        The second list holds from the source's end (plus the first list) to the destination's start; the third what
        copying the tensor to the destination's place takes, in its precision and layout.
        """
        lanes = self._lanes[source], self._lanes[destination]
        touch = self._touched(lanes[0], instance, tensor)
        adopt = self._adopted_part(lanes[1], lanes[0], instance, tensor)
        handover = Handover(self._device, self._gate, *lanes, touch, adopt)
        try:
            return handover.measure(rounds)
        finally:
            handover.close()

    def _touched(self, lane: Lane, instance: str, tensor: str) -> Captured:
        """Return work that writes a tensor on `lane`, as its group would."""
        place = self._tensors.place(lane, instance, tensor)
        lane.warm_up(lambda: place.mul_(1))
        return lane.capture(lambda: place.mul_(1), self._pool(lane, instance))

    def _adopted_part(self, lane: Lane, maker: Lane, instance: str, tensor: str) -> Captured:
        """Return work that copies a tensor from `maker`'s place to `lane`'s."""
        key = (lane.name, maker.name, instance, tensor)
        if key not in self._adopted:
            source = self._tensors.place(maker, instance, tensor)
            place = self._tensors.place(lane, instance, tensor)
            lane.warm_up(lambda: place.copy_(source))
            self._adopted[key] = lane.capture(lambda: place.copy_(source), self._pool(lane, instance))
        return self._adopted[key]

    def plan(self, worker: str, name: str, steps: Sequence[Step], spin: bool) -> None:
        """See `Session.plan`; `spin` makes no difference, as streams wait on the device."""
        self._plans.setdefault(name, {})[worker] = tuple(steps)

    def iterate(self, name: str, workers: Sequence[str], timeout_s: float) -> tuple[int, dict[str, list[StepTimes]]]:
        """See `Session.iterate`. Times are of the device's clock (ns); of a step's calls only the last one's end is
        known. The copies of tensors that a segment takes over are part of it, as a timeline's in-holds are."""
        turns = {worker: self._plans[name][worker] for worker in workers}
        order = launch_order(turns)
        taken_over = adoptions(turns, self._instances)
        chains = {place: self._segment_chain(*place, turns[place[0]][place[1]], taken_over) for place in order}
        self._tensors.upload()
        with self._gate.closed([self._lanes[worker].stream for worker in workers]):
            for worker, number in order:
                step, stream = turns[worker][number], self._lanes[worker].stream
                for event in step.waits:
                    stream.wait_event(self._event(event))
                chains[worker, number].launch()
                for event in step.signals:
                    self._event(event).record(stream)
        self._wait(workers, name, timeout_s)
        start = self._gate.opened_ns()
        times: dict[str, list[StepTimes]] = {}
        for worker in workers:
            free = start
            times[worker] = []
            for number in range(len(turns[worker])):
                begin, end = chains[worker, number].times()
                times[worker].append(StepTimes(free, begin, (end,), end))
                free = end
        for worker, number in order:
            for call in turns[worker][number].calls:
                instance, part = split_call(call)
                self._mark_written(self._lanes[worker], instance, int(part) if part.isdigit() else _WHOLE)
        self._tensors.download()
        return start, times

    def _event(self, number: int) -> Any:
        import torch

        if number not in self._events:
            self._events[number] = torch.cuda.Event()
        return self._events[number]

    def _segment_chain(
        self, worker: str, number: int, step: Step, taken_over: Mapping[tuple[str, int, str], str]
    ) -> Chain:
        lane = self._lanes[worker]
        parts: list[tuple[str, int, tuple[tuple[str, str], ...]]] = []
        for call in step.calls:
            instance, part = split_call(call)
            group = int(part) if part.isdigit() else _WHOLE
            inputs = () if group == _WHOLE else self._instances[instance].groups[group].inputs
            adopt = tuple((name, taken_over[instance, group, name]) for name in inputs if (instance, group, name) in taken_over)  # fmt: skip
            parts.append((instance, group, adopt))
        key = (lane.name, "segment", tuple(parts))
        if key not in self._chains:
            chain = Chain(self._device, lane, 2)
            chain.stamp()
            for instance, group, adopt in parts:
                chain.add([self._adopted_part(lane, self._lanes[maker], instance, name) for name, maker in adopt])
                chain.add([self._part(lane, instance, group)])
            chain.stamp()
            self._chains[key] = chain.ready()
        return self._chains[key]

    def _wait(self, workers: Sequence[str], name: str, timeout_s: float) -> None:
        deadline = monotonic() + timeout_s
        for worker in workers:
            stream = self._lanes[worker].stream
            while not stream.query():
                if monotonic() > deadline:
                    raise InputError(
                        f"plan {name!r} did not end on {worker} within {timeout_s:g} s; the GPU may be busy with "
                        "another program, or a kernel hangs"
                    )
