"""The configuration, checked against its schema and its own references, with one clear message per mistake."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multidnn.config.places import place_of
from multidnn.config.references import broken_references
from multidnn.config.schema import SCHEMA, fill_defaults, first_error
from multidnn.config.settings import dynamic_dict, workload_dict
from multidnn.errors import InputError
from multidnn.files import read_yaml
from multidnn.variants import expand, inherit, strip


def validate(config: Mapping[str, Any], root: Path, files: Sequence[Path] = ()) -> dict[str, Any]:
    """Return a copy of `config` with every default filled in.

    Args:
        config: the merged configuration.
        root: the repository, where the schema lies.
        files: the files it was merged from, the winning one first; messages name the file and line of a mistake.

    Raises:
        InputError: the first mistake, as ``file:line: key: what was found, what is allowed``.
    """
    schema = read_yaml(Path(root) / SCHEMA)
    checked = copy.deepcopy(dict(config))
    error = first_error(checked, schema)
    if error is not None:
        path, message = error
        raise InputError(place_of(checked, path, files) + message)
    for path, message in expand(checked):
        raise InputError(place_of(checked, path, files) + message)
    fill_defaults(checked, schema, schema)
    strip(checked)
    for path, message in itertools.chain(broken_references(checked), inherit(checked)):
        raise InputError(place_of(checked, path, files) + message)
    for name in checked["workloads"]:
        _workload(workload_dict(checked, name), place_of(checked, ("workloads", name), files))
    for name in checked["dynamic"]["workloads"]:
        _workload(dynamic_dict(checked, name), place_of(checked, ("dynamic", "workloads", name), files))
    return checked


def _workload(listed: Mapping[str, Any], place: str) -> None:
    from multidnn.schedule.workload import Workload

    Workload.from_dict(listed, place.rstrip(": "))
