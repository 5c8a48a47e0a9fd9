"""Times an engine on a board layer by layer and as a whole, with trtexec or with TensorRT's profiler from Python."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from multidnn.errors import InputError
from multidnn.targets.jetson.parsers import times, trtexec_log
from multidnn.targets.jetson.target import JetsonTarget, dla_core
from multidnn.targets.jetson.tools import find_trtexec

_log = logging.getLogger(__name__)

# trtexec counts its warm-up in milliseconds, not in executions
_WARM_UP_MS = 200


def profile(
    target: JetsonTarget, network: str, engines: Sequence[tuple[str, str]], warmup: int, iterations: int
) -> list[dict[str, Any]]:
    """Profile `engines`, pairs of an engine's name and the accelerator to run it on, one after another.

    Returns:
        Per engine: ``profile``, the list that trtexec exports (name, averageMs, medianMs, ... per layer, ms);
        ``latency_ms``, the GPU compute time of single executions without a profiler; ``layer_samples_ms``, the samples
        of each layer (None from trtexec, which keeps averages only); ``by``, what measured it.

    Raises:
        InputError: an engine is not on the board, or the tool fails.
    """
    if target.spec["profiler"] == "python":
        return _with_python(target, network, engines, warmup, iterations)
    tool = find_trtexec(target.board, target.spec)
    found = []
    for number, (name, accelerator) in enumerate(engines, start=1):
        _log.info("profile: %s/%s on %s with trtexec (%d/%d)", network, name, accelerator, number, len(engines))
        found.append(
            _with_trtexec(target, tool.path, f"trtexec {tool.version}", network, name, accelerator, iterations)
        )
    return found


def _with_python(
    target: JetsonTarget, network: str, engines: Sequence[tuple[str, str]], warmup: int, iterations: int
) -> list[dict[str, Any]]:
    _log.info("profile: %s: %d engines with TensorRT's profiler", network, len(engines))
    requests = [
        {
            "engine": str(target.engine_path(network, name)),
            "dla_core": dla_core(accelerator),
            "warmup": warmup,
            "iterations": iterations,
        }
        for name, accelerator in engines
    ]
    answer = target.board.call("profile", {"profiles": requests}, None)
    return [
        {key: entry[key] for key in ("profile", "latency_ms", "layer_samples_ms")}
        | {"by": f"IProfiler of TensorRT {target.tensorrt}"}
        for entry in answer["profiles"]
    ]


def _with_trtexec(
    target: JetsonTarget, tool: str, by: str, network: str, name: str, accelerator: str, iterations: int
) -> dict[str, Any]:
    place = target.board.directory / "jobs" / "trtexec"
    profile_file, times_file = place / "profile.json", place / "times.json"
    core = dla_core(accelerator)
    command = [
        tool,
        f"--loadEngine={target.engine_path(network, name)}",
        *([f"--useDLACore={core}"] if core is not None else []),
        f"--iterations={iterations}",
        f"--warmUp={_WARM_UP_MS}",
        "--duration=0",
        "--useSpinWait",
        "--dumpProfile",
        # without it, profiled executions are the ones that the summary is about
        "--separateProfileRun",
        f"--exportProfile={profile_file}",
        f"--exportTimes={times_file}",
    ]
    target.board.run(["mkdir", "-p", str(place)])
    target.board.run(["rm", "-f", str(profile_file), str(times_file)])
    done = target.board.run(command)
    if done.returncode != 0:
        said = trtexec_log.parse(done.stdout + done.stderr, f"trtexec on {network}/{name}").errors
        raise InputError(
            f"trtexec failed on engine {network}/{name} ({accelerator}): {'; '.join(said) or f'exit {done.returncode}'}"
        )
    with TemporaryDirectory() as scratch:
        for remote in (profile_file, times_file):
            target.board.fetch(str(remote), Path(scratch) / remote.name)
        entries = json.loads((Path(scratch) / profile_file.name).read_text(encoding="utf-8"))
        inferences = times.read(Path(scratch) / times_file.name)
    return {
        "profile": entries,
        "latency_ms": [entry.compute_ms for entry in inferences],
        "layer_samples_ms": None,
        "by": by,
    }
