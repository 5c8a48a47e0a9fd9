"""The environments of envs/ and the pins of pyproject.toml name the same versions, and every version is exact."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

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
        found[match[1].lower().replace("_", "-")] = match[3]
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


def test_whatever_is_installed_is_pinned() -> None:
    from importlib.metadata import distributions

    known = {**INDIRECT, **DIRECT, **DEVELOPMENT, **{k: v for entries in BY_EXTRA.values() for k, v in entries.items()}}
    installed = {dist.metadata["Name"].lower().replace("_", "-"): dist.version for dist in distributions()}
    required = {name: version for name, version in known.items() if name in installed}
    assert len(required) > 60
    assert {name: installed[name] for name in required} == required
    import snakemake  # one of many whose own requirements must all be pinned

    assert snakemake.__version__ == known["snakemake"]


def test_nothing_names_a_registry() -> None:
    for path in (ROOT / "pyproject.toml", *(ROOT / "envs").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://|index-url|find-links|\[\[tool\.uv\.index", text), path
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
