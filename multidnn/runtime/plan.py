"""Turns a schedule into what each worker does in one iteration: its segments in order, and the signals between them."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload

# what a segment that uses the chip whole is called where an accelerator's name stands otherwise
CHIP = "chip"
_CHIP_SCHEDULERS = ("whole", "streams")


@dataclass(frozen=True)
class RunSegment:
    """Groups first..last of `instance`, executed by `worker` on `accelerator`."""

    instance: str
    first: int
    last: int
    accelerator: str
    worker: str


@dataclass
class Plan:
    """One schedule, ready to execute.

    Attributes:
        turns: per worker, the indices of its segments in order.
        before: per segment, the segments of other workers that must end before it starts.
        spin: whether waiting workers own their cores and may poll without sleeping.
    """

    segments: list[RunSegment]
    turns: dict[str, list[int]]
    before: dict[int, list[int]]
    spin: bool
    edges: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        # one gate event for each pair of segments on different workers
        self.edges = [(source, target) for target, sources in self.before.items() for source in sources]


def make_plan(
    schedule: Schedule,
    workload: Workload,
    networks: Mapping[str, ExportedNetwork],
    accelerators: tuple[str, ...],
    splits: Mapping[str, Collection[str]] | None = None,
) -> Plan:
    """Return the plan of `schedule` for instances of `networks` (instance name to network).

    Args:
        splits: which of `accelerators` may run at once (`Target.splits`); all of them if None.

    Raises:
        InputError: the schedule does not fit the workload, the networks or the accelerators, its order deadlocks, or it
            mixes accelerators of two splits.
    """
    if schedule.workload != workload.name:
        raise InputError(f"a schedule of workload {schedule.workload!r} cannot run workload {workload.name!r}")
    if schedule.order is not None:
        _require_one_split(schedule, schedule.order, splits or {})
        return _placed_plan(schedule, schedule.order, workload, networks, accelerators)
    if schedule.scheduler in _CHIP_SCHEDULERS:
        return _chip_plan(schedule, workload, networks)
    raise InputError(
        f"schedule {schedule.scheduler!r} of workload {workload.name!r}: order is null, which only "
        f"{' and '.join(_CHIP_SCHEDULERS)} may have"
    )


def _require_one_split(schedule: Schedule, order: Mapping[str, object], splits: Mapping[str, Collection[str]]) -> None:
    used = {
        split: [name for name in names if order.get(name)]
        for split, names in splits.items()
        if any(order.get(name) for name in names)
    }
    if len(used) > 1:
        found = " and ".join(f"{', '.join(names)} of split {split!r}" for split, names in used.items())
        raise InputError(
            f"schedule {schedule.scheduler!r} of workload {schedule.workload!r} uses accelerators of {len(used)} splits, "
            f"{found}; they share what they run on and cannot run at once, so a schedule uses one split"
        )


def _chip_plan(schedule: Schedule, workload: Workload, networks: Mapping[str, ExportedNetwork]) -> Plan:
    index = {instance.name: number for number, instance in enumerate(workload.instances)}
    segments = [
        RunSegment(instance.name, 0, len(networks[instance.name].groups) - 1, CHIP, f"{CHIP}:{instance.name}")
        for instance in workload.instances
    ]
    before = {index[instance.name]: [index[name] for name in instance.after] for instance in workload.instances}
    if schedule.scheduler == "whole":
        sequence = workload.sequence()
        before = {number: [] for number in before} | {
            later: [earlier] for earlier, later in itertools.pairwise(sequence)
        }
    turns = {segment.worker: [number] for number, segment in enumerate(segments)}
    return Plan(segments, turns, before, spin=False)


def _placed_plan(
    schedule: Schedule,
    order: Mapping[str, object],
    workload: Workload,
    networks: Mapping[str, ExportedNetwork],
    accelerators: tuple[str, ...],
) -> Plan:
    place = f"schedule {schedule.scheduler!r} of workload {workload.name!r}"
    unknown = set(order) - set(accelerators)
    if unknown:
        raise InputError(f"{place}: accelerators {sorted(unknown)} do not exist here; there are {list(accelerators)}")
    segments: list[RunSegment] = []
    turns: dict[str, list[int]] = {accelerator: [] for accelerator in accelerators}
    for accelerator, listed in order.items():
        for name, first, last in _turns(listed, networks, f"{place}: order.{accelerator}"):
            turns[accelerator].append(len(segments))
            segments.append(RunSegment(name, first, last, accelerator, accelerator))
    chains: dict[str, list[int]] = {}
    for instance in workload.instances:
        chain = sorted((s.first, number) for number, s in enumerate(segments) if s.instance == instance.name)
        chains[instance.name] = [number for _, number in chain]
        groups = [g for _, number in chain for g in range(segments[number].first, segments[number].last + 1)]
        if groups != list(range(len(networks[instance.name].groups))):
            raise InputError(
                f"{place}: instance {instance.name!r} runs groups {groups}, its network has groups "
                f"0 to {len(networks[instance.name].groups) - 1}, each once"
            )
    needs: dict[int, list[int]] = {number: [] for number in range(len(segments))}
    for instance in workload.instances:
        chain_numbers = chains[instance.name]
        for earlier, later in itertools.pairwise(chain_numbers):
            needs[later].append(earlier)
        needs[chain_numbers[0]] += [chains[name][-1] for name in instance.after]
    graph = {number: list(sources) for number, sources in needs.items()}
    for turn in turns.values():
        for earlier, later in itertools.pairwise(turn):
            graph[later].append(earlier)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = " -> ".join(f"{s.instance}[{s.first}-{s.last}]" for s in (segments[n] for n in error.args[1]))
        raise InputError(f"{place}: its order deadlocks: {cycle}") from None
    before = {
        number: [source for source in sources if segments[source].worker != segments[number].worker]
        for number, sources in needs.items()
    }
    return Plan(segments, turns, before, spin=True)


def _turns(listed: object, instances: Collection[str], place: str) -> Iterator[tuple[str, int, int]]:
    """Yield the entries of one accelerator's turns, each checked."""
    if not isinstance(listed, list):
        raise InputError(f"{place}: found {listed!r}, expected a list of [instance, first_group, last_group]")
    for turn, entry in enumerate(listed):
        match entry:
            case [str(instance), int(first), int(last)] if instance in instances:
                yield instance, first, last
            case _:
                raise InputError(
                    f"{place}[{turn}]: found {entry!r}, expected [instance, first_group, last_group] with an "
                    f"instance of {', '.join(instances)}"
                )
