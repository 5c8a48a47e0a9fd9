"""A working directory that runs the real workflow under a configuration of the test's own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LINKED = ("Snakefile", "rules", "scripts", "schemas", "envs", "report", "prototxt")

Answer = subprocess.CompletedProcess[str]


def default_config() -> dict[str, Any]:
    """The configuration that comes with the project."""
    loaded = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


class Project:
    """A directory with the project's files linked in and its own config.yaml."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in LINKED:
            (directory / name).symlink_to(ROOT / name)
        # a copy, so that editing the package while the tests run does not make its results out of date
        shutil.copytree(ROOT / "multidnn", directory / "multidnn", ignore=shutil.ignore_patterns("*.pyc"))
        self.configure(default_config())

    def configure(self, config: Mapping[str, Any] | str) -> None:
        """Write config.yaml, from a mapping or as it stands."""
        text = config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False)
        (self.directory / "config.yaml").write_text(text, encoding="utf-8")

    def snakemake(self, *arguments: str) -> Answer:
        """Run Snakemake as a user would."""
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(self.directory)},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def jobs(self, *arguments: str) -> dict[str, int]:
        """The number of jobs per rule that a dry run lists."""
        answer = self.snakemake("-n", *arguments)
        assert answer.returncode == 0, answer.stderr
        lines = (answer.stdout + answer.stderr).splitlines()
        table = lines[lines.index("Job stats:") + 3 :]
        counts = {}
        for line in table:
            rule, count = line.split()
            if rule == "total":
                break
            counts[rule] = int(count)
        return counts


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh working directory with the default configuration."""
    return Project(tmp_path)


@pytest.fixture
def refused(project: Project) -> Callable[..., str]:
    """Run Snakemake where it must refuse with exit code 1, no traceback and one line, which is returned."""

    def run(*arguments: str) -> str:
        answer = project.snakemake(*arguments)
        assert answer.returncode == 1
        said = answer.stdout + answer.stderr
        assert "Traceback" not in said
        assert 'File "' not in said
        (line,) = (line for line in said.splitlines() if line.startswith("error: "))
        return line.removeprefix("error: ")

    return run
