"""The command `build`: ONNX models to engines, each with a record beside it of what TensorRT made of it."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

from . import api, devices, files, network
from .calibrate import Calibration, make_calibrator
from .driver import start_cuda
from .errors import BoardError
from .fields import Fields
from .log import LogLines, make_logger, text_of
from .placement import block_layers, parse_placement, placement_from_layer_info

PRECISIONS = ("fp32", "fp16", "int8")
# raised when the way engines are built changes, so that engines built otherwise are not reused
_BUILD_FORMAT = 1
# what moves data around blocks on the DLA: it is called after a tensor, whose name may be a layer's as well
_MOVING = re.compile(r"[Rr]eformat| (?:to|from) nvm$|(?: copy| finish)$")


class BuildRequest:
    """One entry of `builds`, checked."""

    def __init__(self, fields: Fields) -> None:
        self.model = Path(fields.value("model", str))
        self.engine = Path(fields.value("engine", str))
        self.layers = fields.texts("layers")
        self.wanted = devices.requested(self.layers, fields.object("devices"))
        self.mark: int | None = fields.optional("mark", int)
        self.gpu_only = set(fields.texts("gpu_only")) if "gpu_only" in fields else set()
        self.allow_fallback = bool(fields.optional("allow_fallback", bool))
        self.precision = fields.choice("precision", PRECISIONS)
        calibration = fields.optional_object("calibration")
        self.calibration = Calibration(calibration) if calibration else None
        self.dla_core: int | None = fields.optional("dla_core", int)
        self.workspace_mb: int = fields.optional("workspace_mb", int) or 1024
        timing_cache = fields.optional("timing_cache", str)
        self.timing_cache = Path(timing_cache) if timing_cache else None
        if not self.model.is_file():
            raise BoardError(f"the model {self.model} does not exist")
        if self.mark is not None and not 0 < self.mark < len(self.layers):
            raise BoardError(f"mark {self.mark} is no cut of a model of {len(self.layers)} layers")
        # the GPU's own layers are asked of the DLA by nobody
        for name in self.gpu_only & set(self.wanted):
            self.wanted[name] = "gpu"

    @property
    def uses_dla(self) -> bool:
        """Whether any layer is asked onto the DLA."""
        return "dla" in self.wanted.values()

    def identity(self) -> dict[str, Any]:
        """Return what makes two builds the same: everything but paths and the workspace's timing file."""
        return {
            "build_format": _BUILD_FORMAT,
            "tensorrt": api.VERSION,
            "model": files.sha256(self.model),
            "data": files.external_data(self.model),
            "layers": self.layers,
            "wanted": self.wanted,
            "mark": self.mark,
            "gpu_only": sorted(self.gpu_only),
            "allow_fallback": self.allow_fallback,
            "precision": self.precision,
            "calibration": self.calibration.identity() if self.calibration else None,
            "dla_core": self.dla_core,
            "workspace_mb": self.workspace_mb,
        }

    def sha256(self) -> str:
        """Return the hash of `identity`."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()


def record_path(engine: Path) -> Path:
    """Return where the build record of an engine lies."""
    return engine.with_suffix(".json")


def _reusable(request: BuildRequest, sha: str) -> dict[str, Any] | None:
    record = record_path(request.engine)
    if not (request.engine.is_file() and record.is_file()):
        return None
    content = files.read_json(record)
    if not isinstance(content, dict) or content.get("request_sha256") != sha:
        return None
    # an engine from an interrupted copy is not the one that the record tells of
    if content.get("engine_bytes") != request.engine.stat().st_size:
        return None
    return {**content, "model": str(request.model), "engine": str(request.engine), "reused": True}


class EngineBuilder:
    """Builds engines one after another with one TensorRT builder and one log."""

    def __init__(self) -> None:
        api.check_supported()
        self._lines = LogLines()
        # TensorRT keeps the first logger of a process whatever is passed later
        self._logger = make_logger(self._lines)
        self._builder, self._runtime = api.open_builder(self._logger)
        self.dla_cores = api.dla_cores(self._builder)

    def build(self, request: BuildRequest) -> dict[str, Any]:
        """Build one engine, or reuse the one that is there, and return its record."""
        sha = request.sha256()
        found = _reusable(request, sha)
        if found is not None:
            return found
        self._check_dla(request)
        begin, mark = time.monotonic(), self._lines.mark()
        parsed = network.parse(self._builder, self._logger, self._lines, request.model)
        network.check_precision(parsed, request.precision, request.calibration is not None)
        model = network.Model(parsed, request.layers, request.model)
        if request.mark is not None:
            model.mark(request.mark)
        config = self._configure(request, parsed)
        assignment = model.assign(config, self._lines, request.wanted)
        if assignment.refused and not request.allow_fallback:
            raise BoardError(_not_on_dla(request.model, assignment.refused))
        plan = api.build(self._builder, parsed, config)
        if plan is None:
            raise BoardError(f"TensorRT could not build {request.model}: {self._lines.errors(mark)}")
        api.save_timing_cache(config, request.timing_cache)
        layer_info, why_not = self._inspect(plan, request)
        lines = self._lines.since(mark)
        placement = _placement(layer_info, lines)
        _check_placement(request, assignment, placement, lines)
        files.write_bytes(request.engine, plan)
        record: dict[str, Any] = {
            "format": 1,
            "model": str(request.model),
            "engine": str(request.engine),
            "engine_bytes": len(plan),
            "model_sha256": files.sha256(request.model),
            "request_sha256": sha,
            "seconds": time.monotonic() - begin,
            "reused": False,
            "tensorrt": api.VERSION,
            "precision": request.precision,
            "calibration": request.calibration.kind if request.calibration else None,
            "io": {
                "inputs": network.shapes(network.inputs(parsed)),
                "outputs": network.shapes([parsed.get_output(i) for i in range(parsed.num_outputs)]),
            },
            "requested": request.wanted,
            "refused": assignment.refused,
            "absent": assignment.absent,
            "placement": placement,
            "layer_info": layer_info,
            "layer_info_error": why_not,
            "loadables": len(placement["dla"]),
            "log": lines,
        }
        files.write_json(record_path(request.engine), record)
        return record

    def _check_dla(self, request: BuildRequest) -> None:
        if not request.uses_dla:
            return
        core = request.dla_core or 0
        if core >= self.dla_cores:
            what = f"has {self.dla_cores} DLA cores" if self.dla_cores else "has no DLA that TensorRT can use"
            raise BoardError(
                f"{request.model} asks for the DLA (core {core}), but this board {what} (TensorRT {api.VERSION})"
            )
        if request.precision == "fp32":
            raise BoardError(f"{request.model} asks for the DLA in fp32; the DLA computes in fp16 and int8")

    def _configure(self, request: BuildRequest, parsed: Any) -> Any:
        config = self._builder.create_builder_config()
        api.set_workspace(config, request.workspace_mb)
        api.set_precision(config, request.precision)
        api.set_detailed(config)
        api.load_timing_cache(config, request.timing_cache)
        if request.uses_dla:
            api.set_dla(config, request.dla_core or 0)
        if request.calibration is not None and request.precision == "int8":
            shapes = {tensor.name: tuple(tensor.shape) for tensor in network.inputs(parsed)}
            calibrator = make_calibrator(
                request.calibration, shapes, request.engine.parent, files.sha256(request.model)
            )
            api.set_calibrator(config, calibrator)
        return config

    def _inspect(self, plan: bytes, request: BuildRequest) -> tuple[dict[str, Any] | None, str | None]:
        if request.uses_dla:
            self._runtime.DLA_core = request.dla_core or 0
        mark = self._lines.mark()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BoardError(f"TensorRT cannot load the engine that it built: {self._lines.errors(mark)}")
        return api.inspect(engine)


def _placement(layer_info: dict[str, Any] | None, lines: list[str]) -> dict[str, Any]:
    """Return where layers are: from the engine itself if it tells, else from the log; what fell back only the log knows.

    A block that the log puts on the DLA is there whatever type the inspector gives it.
    """
    logged = parse_placement(lines)
    if layer_info is None:
        return logged
    try:
        found = placement_from_layer_info(layer_info)
    except ValueError:
        return logged
    missed = [name for name in found["gpu"] if name in logged["dla"]]
    if logged["dla"] and not missed and not found["dla"]:
        # two accounts under different names: the log's is the one that tells devices apart
        return logged
    dla = [*found["dla"], *missed]
    return {
        "dla": dla,
        "dla_layers": [block_layers(name) for name in dla],
        "gpu": [name for name in found["gpu"] if name not in missed],
        "fallback": logged["fallback"],
        "unread": logged["unread"],
    }


def _check_placement(
    request: BuildRequest, assignment: network.Assignment, placement: dict[str, Any], lines: list[str]
) -> None:
    """Raise a `BoardError` if a layer that should be on the DLA is on the GPU, unless that is allowed."""
    if request.allow_fallback or not assignment.uses_dla:
        return
    on_gpu = [text for text in placement["gpu"] if not _MOVING.search(text)]
    asked = [name for name in request.layers if request.wanted[name] == "dla"]
    strayed = {name for text in (*on_gpu, *placement["fallback"]) for name in devices.mentioned(text, asked)}
    if strayed:
        raise BoardError(_not_on_dla(request.model, {name: _reason(name, lines) for name in asked if name in strayed}))
    if not placement["dla"]:
        raise BoardError(
            f"{request.model}: {len(asked)} layers were asked onto the DLA and TensorRT reports none there"
        )


def _reason(layer: str, lines: list[str]) -> str:
    told = [
        text_of(line) for line in lines if ("] [W]" in line or "] [E]" in line) and devices.mentioned(line, [layer])
    ]
    return told[0] if told else "TensorRT put it on the GPU without a reason"


def _not_on_dla(model: Path, reasons: dict[str, str]) -> str:
    first = "; ".join(f"{name!r}: {reason}" for name, reason in list(reasons.items())[:3])
    more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
    return f"{model}: {len(reasons)} layers should be on the DLA and are not: {first}{more}"


def build_all(request: Fields) -> dict[str, Any]:
    """Answer a `build` request."""
    requests = [BuildRequest(fields) for fields in request.objects("builds")]
    start_cuda()
    builder = EngineBuilder()
    return {"format": 1, "builds": [builder.build(one) for one in requests]}
