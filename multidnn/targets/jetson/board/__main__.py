"""`python3 -m board COMMAND REQUEST.json ANSWER.json [--lifeline]`, and `build` with options for a person."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, Sequence

from .errors import BoardError
from .fields import Fields
from .files import read_json, write_json
from .parent import end_at_eof

_COMMANDS = ("facts", "build", "profile", "corun", "run")


def _handler(command: str) -> Callable[[Fields], dict[str, Any]]:
    """Return the function behind `command`; what it imports must not keep another from starting."""
    if command == "facts":
        from .facts import facts

        return facts
    from .facts import check_packages

    if command in ("build", "profile"):
        # the others leave CUDA to their workers, and must not import it before they are forked
        check_packages()
    if command == "build":
        from .build import build_all

        return build_all
    if command == "profile":
        from .profile import profile_all

        return profile_all
    if command == "corun":
        from .corun import corun

        return corun
    from .run import run

    return run


def _answer(command: str, request: dict[str, Any]) -> dict[str, Any]:
    return _handler(command)(Fields(request, "request"))


def _by_request(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python3 -m board")
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("request", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--lifeline", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    if options.lifeline:
        end_at_eof(os.dup(0))
    write_json(options.answer, _answer(options.command, read_json(options.request)))


def _build_by_options(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python3 -m board build", description="Build one engine.")
    parser.add_argument("--onnx", type=Path, required=True)
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--layers", type=Path, required=True, help="JSON list of the node names in execution order")
    parser.add_argument("--start", choices=("gpu", "dla"), required=True)
    parser.add_argument("--transition", type=int, metavar="K", help="layer from which the other device runs")
    parser.add_argument("--mark", type=int, metavar="K", help="make the tensor before layer K an output too")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp16")
    parser.add_argument("--random-calibration", type=int, metavar="SEED", help="calibrate int8 with random numbers")
    parser.add_argument("--dla-core", type=int)
    parser.add_argument("--gpu-only", action="append", default=[], metavar="LAYER", help="keep a layer on the GPU")
    parser.add_argument("--allow-fallback", action="store_true", help="layers that the DLA refuses may run on the GPU")
    parser.add_argument("--answer", type=Path)
    options = parser.parse_args(arguments)
    calibration = None
    if options.random_calibration is not None:
        calibration = {"random_seed": options.random_calibration, "samples": 8}
    request = {
        "builds": [
            {
                "model": str(options.onnx.absolute()),
                "engine": str(options.engine.absolute()),
                "layers": read_json(options.layers),
                "devices": {"start": options.start, "transition": options.transition},
                "mark": options.mark,
                "gpu_only": options.gpu_only,
                "allow_fallback": options.allow_fallback,
                "precision": options.precision,
                "calibration": calibration,
                "dla_core": options.dla_core,
                "timing_cache": None,
            }
        ]
    }
    answer = _answer("build", request)
    if options.answer:
        write_json(options.answer, answer)
    built = answer["builds"][0]
    placement = built["placement"]
    print(f"{options.engine}: {built['engine_bytes']} bytes, TensorRT {built['tensorrt']}, {built['precision']}")
    for device in ("dla", "gpu", "fallback"):
        print(f"  {device}: {', '.join(placement[device]) or 'none'}")


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    # before numpy is imported: a measured process sets its own thread counts, and helpers would compete with the workers
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    try:
        if arguments[:1] == ["build"] and any(argument.startswith("--onnx") for argument in arguments):
            _build_by_options(arguments[1:])
        else:
            _by_request(arguments)
    except BoardError as error:
        print(f"error: {error}".replace("\n", " "), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        traceback.print_exc()
        print(f"error: unexpected {type(error).__name__}: {error}".replace("\n", " "), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorRT's and CUDA's objects go with the process, in no order that anyone must keep
    os._exit(code)
