"""From the steps of a plan to an order in which they can be enqueued, and where each group's input comes from."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from multidnn.errors import InputError
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Step
from multidnn.targets.cuda.groups import WHOLE, split_call

Place = tuple[str, int]


def launch_order(turns: Mapping[str, Sequence[Step]]) -> list[Place]:
    """Return (worker, number of its step) so that every step comes after those it waits for.

    A stream can only wait for an event that has been recorded before, in the order of the host's calls.

    Raises:
        InputError: an event is waited for that no step signals, or the steps wait for each other in a circle.
    """
    signalled = {event: (worker, number) for worker, number, step in _steps(turns) for event in step.signals}
    graph: dict[Place, list[Place]] = {}
    for worker, number, step in _steps(turns):
        graph[worker, number] = [(worker, number - 1)] if number else []
        for event in step.waits:
            if event not in signalled:
                raise InputError(f"step {number} of worker {worker!r} waits for event {event}, which no step signals")
            graph[worker, number].append(signalled[event])
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise InputError(f"the steps of the plan wait for each other: {error.args[1]}") from None


def _steps(turns: Mapping[str, Sequence[Step]]) -> list[tuple[str, int, Step]]:
    return [(worker, number, step) for worker, steps in turns.items() for number, step in enumerate(steps)]


def taken_over(
    turns: Mapping[str, Sequence[Step]], networks: Mapping[str, ExportedNetwork]
) -> dict[tuple[str, int, str], str]:
    """Return which tensors must be taken over from another worker: (instance, group that reads it, tensor) to the
    worker that made it. Tensors that the same worker made, or that the plan does not make, are left out."""
    ran: dict[tuple[str, int], str] = {}
    for worker, _, step in _steps(turns):
        for call in step.calls:
            instance, group = split_call(call)
            if group != WHOLE:
                ran[instance, group] = worker
    found: dict[tuple[str, int, str], str] = {}
    for (instance, index), worker in ran.items():
        network = networks[instance]
        made = {name: group.index for group in network.groups for name in group.outputs}
        for name in network.groups[index].inputs:
            maker = ran.get((instance, made[name])) if name in made else None
            if maker is not None and maker != worker:
                found[instance, index, name] = maker
    return found
