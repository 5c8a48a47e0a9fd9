"""The schema of the configuration: the first thing in a configuration that it does not allow, and its defaults."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multidnn.config.places import KeyPath
from multidnn.errors import suggestion

SCHEMA = Path("schemas") / "config.schema.yaml"


def first_error(config: Any, schema: Mapping[str, Any]) -> tuple[KeyPath, str] | None:
    """The mistake that stands highest up in `config`: its place and what is wrong; None if `schema` allows everything."""
    from jsonschema import Draft202012Validator

    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=lambda error: len(error.absolute_path))
    return _explain(errors[0]) if errors else None


def _explain(error: Any) -> tuple[KeyPath, str]:
    """The key path of a jsonschema error, and what it says in the words of the schema's title where it has one."""
    path: KeyPath = tuple(error.absolute_path)
    found, rule, value = error.instance, error.validator, error.validator_value
    if rule == "additionalProperties":
        allowed = list(error.schema["properties"])
        key = next(key for key in found if key not in allowed)
        return (*path, key), f"unknown key, allowed: {', '.join(allowed)}{suggestion(str(key), allowed)}"
    if rule == "required":
        key = next(key for key in value if key not in found)
        return path, f"the key {key!r} is missing"
    if "propertyNames" in error.absolute_schema_path:
        title = error.schema.get("title", "a name")
        return (*path, found), f"found the name {found!r}, allowed: {title}; put a number in quotes"
    if rule in ("enum", "const"):
        allowed = [str(entry) for entry in (value if rule == "enum" else [value])]
        return path, f"found {found!r}, allowed: {', '.join(allowed)}{suggestion(str(found), allowed)}"
    if "title" in error.schema and rule in ("anyOf", "pattern", "type"):
        return path, f"found {found!r}, allowed: {error.schema['title']}"
    bounds = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}
    if rule in bounds:
        return path, f"found {found!r}, allowed: {bounds[rule]} {value}"
    if rule == "type":
        kinds = {
            "object": "a mapping of keys to values",
            "array": "a list",
            "string": "text",
            "integer": "a whole number",
        }
        shown = "nothing" if found is None else repr(found)
        return path, f"found {shown}, allowed: {kinds.get(value, f'a {value}')}"
    if rule in ("minItems", "minProperties"):
        return path, "found nothing in it, at least one entry is needed"
    if rule == "uniqueItems":
        repeated = next(entry for i, entry in enumerate(found) if entry in found[:i])
        return path, f"{repeated!r} is listed twice"
    return path, str(error.message)


def fill_defaults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    """Put the defaults of `schema` into `value`, at every level, following what applies to it."""
    if "$ref" in schema:
        fill_defaults(value, _resolve(schema["$ref"], root), root)
    for branch in schema.get("allOf", ()):
        kind = branch["if"]["properties"]["kind"]["const"]
        if isinstance(value, dict) and value.get("kind") == kind:
            fill_defaults(value, branch["then"], root)
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    for key, sub in known.items():
        if "default" in sub:
            value.setdefault(key, copy.deepcopy(sub["default"]))
    for key, entry in value.items():
        sub = known.get(key, schema.get("additionalProperties"))
        if isinstance(sub, Mapping):
            fill_defaults(entry, sub, root)


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    resolved: Any = root
    for part in reference.removeprefix("#/").split("/"):
        resolved = resolved[part]
    return dict(resolved)
