"""Command line of the jetson target: print a log of a Jetson as JSON."""

import argparse
import importlib
import json
import signal
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from multidnn.errors import InputError, exit_on_input_error, suggestion
from multidnn.files import FORMAT

# kind on the command line -> module in parsers/, and the key of what it reads if that is a list
KINDS = {
    "trtexec-log": ("trtexec_log", None),
    "profile": ("profile", None),
    "times": ("times", "inferences"),
    "layer-info": ("layer_info", None),
    "build-log": ("build_log", None),
    "tegrastats": ("tegrastats", "samples"),
    "jtop": ("jtop", "samples"),
}


def plain(value: Any) -> Any:
    """Return dataclasses as dictionaries; fields that only help messages (kept out of repr) are left out."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.repr}
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def parsed(kind: str, path: Path) -> dict[str, Any]:
    """Return what the file at `path` says, as docs/formats.md describes for `kind`."""
    if kind not in KINDS:
        raise InputError(f"{kind}: unknown kind{suggestion(kind, KINDS)}; allowed: {', '.join(KINDS)}")
    name, key = KINDS[kind]
    content = plain(importlib.import_module(f"multidnn.targets.jetson.parsers.{name}").read(path))
    return {"format": FORMAT, "kind": kind, **({key: content} if key else content)}


def _parse(arguments: argparse.Namespace) -> None:
    print(json.dumps(parsed(arguments.kind, arguments.file), indent=1, allow_nan=False))


def _add_parse(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("parse", help="print a log as JSON (docs/formats.md has the fields)")
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.set_defaults(run=_parse)


def main() -> None:
    """Run ``python -m multidnn.targets.jetson``."""
    parser = argparse.ArgumentParser(prog="python -m multidnn.targets.jetson", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_parse(commands)
    arguments = parser.parse_args()
    run: Callable[[argparse.Namespace], None] = arguments.run
    with exit_on_input_error():
        run(arguments)


if __name__ == "__main__":
    # a reader that has seen enough, such as head, ends this program as it ends any filter
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
