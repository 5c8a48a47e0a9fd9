"""What a schedule is made of on a board: an engine per piece, and which worker runs which piece after what.

In mode ``segments`` a piece is a segment of the schedule, a worker is an accelerator, and turns are enforced. In mode
``paper`` (the artifact of HaX-CoNN, PPoPP 2024) a piece is a whole instance in one engine that moves between devices inside
TensorRT, a worker is an instance, and only the starts are aligned.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from multidnn.errors import InputError
from multidnn.networks.board_network import BoardNetwork
from multidnn.runtime.plan import Plan, RunSegment
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.jetson.engines import Wanted
from multidnn.targets.jetson.target import device_kind, dla_core


@dataclass(frozen=True)
class Piece:
    """One engine of a schedule: groups first..last of `network`, and the model and layers it is built from.

    `segment_model` is None where the exported models hold this piece already.
    """

    network: str
    first: int
    last: int
    wanted: Wanted
    segment_model: tuple[int, int] | None

    @property
    def key(self) -> str:
        """Unique among all engines of a target."""
        return f"{self.network}/{self.wanted.name}"


def segment_piece(segment: RunSegment, network: BoardNetwork) -> Piece:
    """Return the engine of a segment: its groups on one device."""
    kind = device_kind(segment.accelerator)
    groups = network.groups[segment.first : segment.last + 1]
    joined = None
    if len(groups) == len(network.groups):
        file = network.whole.file
    elif len(groups) == 1:
        file = groups[0].file
    else:
        file, joined = f"segment_{segment.first:02d}_{segment.last:02d}.onnx", (segment.first, segment.last)
    layers = tuple(layer for group in groups for layer in group.layers)
    name = f"segment_{segment.first:02d}_{segment.last:02d}_{kind}"
    wanted = Wanted(name, file, layers, {"start": kind, "transition": None})
    return Piece(network.name, segment.first, segment.last, wanted, joined)


def mixed_plan(schedule: Schedule, workload: Workload, networks: Mapping[str, BoardNetwork]) -> Plan:
    """Return the plan of mode ``paper``: each instance whole, by a worker of its own, after those it waits for.

    Args:
        networks: instance name to network.

    Raises:
        InputError: an instance uses two DLA cores, which one engine cannot.
    """
    index = {instance.name: number for number, instance in enumerate(workload.instances)}
    segments = []
    for instance in workload.instances:
        # the GPU's name comes after those of the DLAs in the alphabet, and goes first
        used = sorted(set(_placement(schedule, instance.name)), key=lambda name: (dla_core(name) is not None, name))
        on_dla = [name for name in used if dla_core(name) is not None]
        if len(on_dla) > 1:
            raise InputError(
                f"schedule {schedule.scheduler!r} of workload {workload.name!r}: instance {instance.name!r} uses "
                f"{' and '.join(on_dla)}; in mode paper it is one engine, which runs on one DLA core"
            )
        last = len(networks[instance.name].groups) - 1
        segments.append(RunSegment(instance.name, 0, last, "+".join(used), instance.name))
    before = {index[instance.name]: [index[name] for name in instance.after] for instance in workload.instances}
    return Plan(segments, {segment.worker: [number] for number, segment in enumerate(segments)}, before, spin=True)


def mixed_piece(schedule: Schedule, segment: RunSegment, network: BoardNetwork) -> Piece:
    """Return the engine of a whole instance whose groups are placed as `schedule` says."""
    placement = _placement(schedule, segment.instance)
    devices = {
        layer: device_kind(accelerator)
        for group, accelerator in zip(network.groups, placement, strict=True)
        for layer in group.layers
    }
    wanted = Wanted(
        f"mixed_{schedule.scheduler}_{schedule.workload}_{segment.instance}",
        network.whole.file,
        network.whole.layers,
        {"default": "gpu", "layers": devices},
    )
    return Piece(network.name, segment.first, segment.last, wanted, None)


def pieces_of(
    mode: str, schedule: Schedule, plan: Plan, networks: Mapping[str, BoardNetwork]
) -> Iterator[tuple[int, Piece]]:
    """Yield the number and the engine of each segment of `plan` (of `mixed_plan` in mode ``paper``)."""
    for number, segment in enumerate(plan.segments):
        network = networks[segment.instance]
        yield number, segment_piece(segment, network) if mode == "segments" else mixed_piece(schedule, segment, network)


def workers_of(mode: str, plan: Plan) -> dict[str, int | None]:
    """Return the workers of `plan` with the DLA core that each loads its engines for, None without one."""
    if mode == "segments":
        return {worker: dla_core(worker) for worker in plan.turns}
    return {
        segment.worker: next(
            (core for part in segment.accelerator.split("+") if (core := dla_core(part)) is not None), None
        )
        for segment in plan.segments
    }


def _placement(schedule: Schedule, instance: str) -> list[str]:
    assert schedule.placement is not None, "on a board every schedule has a placement"
    return schedule.placement[instance]
