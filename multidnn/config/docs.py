"""Writes docs/configuration.md from the schema of the configuration: python -m multidnn.config.docs > docs/configuration.md."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multidnn.config.schema import SCHEMA
from multidnn.files import read_yaml

_HEAD = """# Configuration

Made from `{schema}` by `python -m multidnn.config.docs`; edit the schema, not this page.

{description} Every key is listed; any other is an error, already at `snakemake -n`. `NAME` stands for a name of your own:
{name}.

`snakemake --configfile FILE ...` lays FILE over config.yaml: a key there wins, a list replaces a list, a key left out keeps
its value (config/quick.yaml is one). `--config target=recorded` does so for single keys.

| key | value | default | meaning |
|---|---|---|---|
"""


def page(schema: Mapping[str, Any]) -> str:
    """Return the page that documents every key of `schema`, one table row each, in the schema's order."""
    head = _HEAD.format(
        schema=SCHEMA.as_posix(), description=schema["description"], name=schema["$defs"]["name"]["title"]
    )
    return head + "".join(f"{row}\n" for row in _rows(schema, schema, ""))


def _rows(schema: Mapping[str, Any], root: Mapping[str, Any], prefix: str) -> Iterator[str]:
    required = schema.get("required", ())
    for key, entry in schema.get("properties", {}).items():
        yield from _row(entry, root, f"{prefix}{key}", key in required)
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _named(schema["additionalProperties"], root, f"{prefix}NAME")


def _named(entry: Mapping[str, Any], root: Mapping[str, Any], path: str) -> Iterator[str]:
    """Rows below a name that the user chooses; a target has other keys for each kind."""
    entry = _resolved(entry, root)
    branches = [_resolved(branch["then"], root) for branch in entry.get("allOf", ())]
    for branch in branches:
        yield f"| | | | **{branch['title']}.** {branch['description']} |"
        yield from _rows(branch, root, f"{path}.")
    if not branches:
        yield from _rows(entry, root, f"{path}.")


def _row(entry: Mapping[str, Any], root: Mapping[str, Any], path: str, required: bool) -> Iterator[str]:
    resolved = _resolved(entry, root)
    default = "required" if required else _shown(resolved["default"]) if "default" in resolved else "–"
    yield f"| `{path}` | {_value(resolved, root)} | {default} | {resolved['description']} |"
    yield from _rows(resolved, root, f"{path}.")


def _resolved(entry: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" not in entry:
        return dict(entry)
    target = root["$defs"][entry["$ref"].rpartition("/")[2]]
    return {**target, **{key: value for key, value in entry.items() if key != "$ref"}}


def _shown(value: Any) -> str:
    if value in ({}, []):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "`" + (", ".join(map(str, value)) if isinstance(value, list) else str(value)) + "`"


def _value(entry: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"])
    if "anyOf" in entry:
        return str(entry["title"])
    kind = entry["type"]
    if isinstance(kind, list):
        return "`auto`, or keys below"
    if kind == "object":
        inner = entry.get("additionalProperties")
        return (
            f"each {_value(inner, root)}"
            if isinstance(inner, Mapping) and _resolved(inner, root)["type"] in ("string", "array")
            else "keys below"
        )
    if kind == "array":
        item = _value(_resolved(entry["items"], root), root)
        return (
            f"list of {item.replace('a name', 'names').replace('whole number', 'whole numbers').replace(' or ', ', ')}"
        )
    if kind == "string":
        is_name = entry["pattern"] == root["$defs"]["name"]["pattern"]
        return "a name" if is_name else str(entry["title"])
    if kind == "boolean":
        return "`true` or `false`"
    bounds = {"minimum": "at least", "exclusiveMinimum": "above"}
    limit = "".join(f", {word} {entry[key]}" for key, word in bounds.items() if key in entry)
    return {"integer": "whole number", "number": "number"}[kind] + limit


if __name__ == "__main__":
    print(page(read_yaml(Path(__file__).parents[2] / SCHEMA)), end="")
