"""Builds the engines that the schedules of one workload need on a board."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from multidnn.files import write_json
from multidnn.measure.lock import machine_lock
from multidnn.measure.sidecar import environment
from multidnn.networks.board_network import BoardNetwork
from multidnn.networks.exported import ExportedNetwork
from multidnn.runtime.jetson.pieces import Piece, mixed_plan, pieces_of
from multidnn.runtime.jobs import read_schedules
from multidnn.runtime.plan import Plan, make_plan
from multidnn.schedule.schedule import Schedule
from multidnn.schedule.workload import Workload
from multidnn.targets.jetson import engines
from multidnn.targets.jetson.target import JetsonTarget

_log = logging.getLogger(__name__)


def board_plan(
    target: JetsonTarget,
    schedule: Schedule,
    workload: Workload,
    exported: Mapping[str, ExportedNetwork],
    networks: Mapping[str, BoardNetwork],
) -> Plan:
    """Return the plan of `schedule` in the target's mode; networks by instance."""
    plan = make_plan(schedule, workload, exported, target.accelerators)
    return plan if target.spec["mode"] == "segments" else mixed_plan(schedule, workload, networks)


def by_instance(workload: Workload, directories: Mapping[str, Path]) -> dict[str, BoardNetwork]:
    """Return the board's models of each instance's network."""
    read = {name: BoardNetwork.read(directories[name]) for name in workload.networks}
    return {instance.name: read[instance.network] for instance in workload.instances}


def build_engines(
    target: JetsonTarget,
    workload: Workload,
    network_dirs: Mapping[str, Path],
    models_dirs: Mapping[str, Path],
    schedule_paths: Sequence[Path],
    logs: Path,
    out_json: Path,
) -> None:
    """Build every engine that the schedules at `schedule_paths` need, and write segments/{workload}.json.

    The network whole on the GPU is among them: outputs are compared with what it gives alone.

    Args:
        network_dirs: network name to its exported directory.
        models_dirs: network name to the directory of its models for the board.

    Raises:
        InputError: TensorRT cannot build one of them, or left a layer on the GPU that a schedule puts on a DLA.
    """
    schedules, absent = read_schedules(schedule_paths)
    read = {name: ExportedNetwork.read(network_dirs[name]) for name in workload.networks}
    exported = {instance.name: read[instance.network] for instance in workload.instances}
    networks = by_instance(workload, models_dirs)
    pieces: dict[str, Piece] = {}
    for schedule in schedules:
        plan = board_plan(target, schedule, workload, exported, networks)
        for _, piece in pieces_of(target.spec["mode"], schedule, plan, networks):
            pieces[piece.key] = piece
    records: dict[str, dict[str, Any]] = {}
    with machine_lock():
        for network in {network.name: network for network in networks.values()}.values():
            mine = [piece for piece in pieces.values() if piece.network == network.name]
            models = target.push_models(network.name, network.directory)
            with TemporaryDirectory() as scratch:
                for piece in mine:
                    _push_joined(target, network, piece, Path(scratch))
            wanted = [*engines.whole(network, ["gpu"]), *(piece.wanted for piece in mine)]
            built = engines.build(target, network, models, wanted, logs / network.name)
            records |= {f"{network.name}/{name}": record for name, record in built.items()}
        facts = environment(target)
    write_json(
        out_json,
        {
            "workload": workload.name,
            "mode": target.spec["mode"],
            "absent": absent,
            "engines": records,
            "environment": facts,
        },
    )


def _push_joined(target: JetsonTarget, network: BoardNetwork, piece: Piece, scratch: Path) -> None:
    """Put the model of groups that are joined beside the weights on the board, which it refers to."""
    if piece.segment_model is None:
        return
    # onnx is loaded for what needs it only
    from multidnn.networks.segments import write_segment

    first, last = piece.segment_model
    model = scratch / piece.wanted.model
    write_segment(network.directory, range(first, last + 1), model)
    target.board.push(model, f"models/{target.name}/{network.name}/{model.name}")
