"""The environments of envs/ and the pins of pyproject.toml name the same versions, and every version is exact."""

import re
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = {"host": None, "cuda": "cuda", "jetson": "jetson"}
PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[a-z,]+\])?==([0-9][A-Za-z0-9.+]*)")


def pins(requirements: list[str]) -> dict[str, str]:
    """Name to version; anything that is not an exact pin fails."""
    found = {}
    for requirement in requirements:
        match = PIN.fullmatch(requirement)
        assert match, f"{requirement!r} is not an exact pin"
        found[canonicalize_name(match[1])] = match[3]
    return found


DIRECT = pins(PROJECT["project"]["dependencies"])
BY_EXTRA = {name: pins(entries) for name, entries in PROJECT["project"]["optional-dependencies"].items()}
DEVELOPMENT = pins(PROJECT["dependency-groups"]["dev"])
INDIRECT = pins(PROJECT["tool"]["uv"]["constraint-dependencies"])


def environment(role: str) -> dict[str, str]:
    """The pip section of envs/{role}.yaml."""
    content = yaml.safe_load((ROOT / "envs" / f"{role}.yaml").read_text(encoding="utf-8"))
    (section,) = (entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    return pins(section)


@pytest.mark.parametrize("role", EXTRAS)
def test_environment_agrees_with_the_project(role: str) -> None:
    extra = EXTRAS[role]
    wanted = {**DIRECT, **(BY_EXTRA[extra] if extra else {})}
    known = {**INDIRECT, **wanted}
    found = environment(role)
    assert {name: found.get(name) for name in wanted} == wanted
    assert {name: known.get(name) for name in found} == found


def test_there_is_an_environment_for_every_extra() -> None:
    assert {path.stem for path in (ROOT / "envs").glob("*.yaml")} == set(EXTRAS)
    assert set(BY_EXTRA) == {extra for extra in EXTRAS.values() if extra}


def test_hardware_libraries_are_extras_only() -> None:
    for name in ("tensorrt", "pycuda", "jetson-stats", "torch"):
        assert name not in DIRECT
        assert name not in DEVELOPMENT
        assert name not in environment("host")
        assert any(name in entries for entries in BY_EXTRA.values())


def closure(requirements: list[str]) -> set[str]:
    """Names of everything that is installed because of `requirements`, themselves included, as their own files say."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in found:
                continue
            found.add(key)
            for text in requires(requirement.name) or ():
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return {name for name, _ in found}


def test_whatever_is_installed_is_pinned() -> None:
    needed = closure([*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]])
    assert needed >= {"snakemake", "rpds-py", "sqlalchemy", "pytest", "pluggy", "jinja2"}
    known = {**INDIRECT, **DIRECT, **DEVELOPMENT}
    assert needed <= set(known), f"not pinned: {sorted(needed - set(known))}"
    assert {name: version(name) for name in needed} == {name: known[name] for name in needed}


def test_nothing_names_a_registry() -> None:
    for path in (ROOT / "pyproject.toml", *(ROOT / "envs").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://|index-url|find-links|\[\[tool\.uv\.index", text), path
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
