"""This machine as the board: commands run here, files are copied."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from subprocess import CompletedProcess

from multidnn.errors import InputError
from multidnn.targets.jetson.process import TimeUpError, run_process, too_long


class Local:
    """The machine that this process runs on."""

    label = "this machine"

    def open(self) -> PurePosixPath:
        """Connect if that takes anything, and return the home directory there."""
        return PurePosixPath(Path.home())

    def close(self) -> None:
        """End the connection, if there is one."""

    def run(
        self,
        argv: Sequence[str],
        *,
        what: str,
        timeout_s: float | None,
        cwd: PurePosixPath | None,
        env: Mapping[str, str],
        data: bytes | None = None,
        said: Callable[[str], None] | None = None,
    ) -> "CompletedProcess[str]":
        """Run a command there; `what` is its name in messages, the rest as in `process.run_process`."""
        try:
            directory = str(cwd or Path.home())
            return run_process(argv, timeout_s=timeout_s, cwd=directory, env=env, data=data, said=said)
        except TimeUpError:
            raise too_long(self.label, what, timeout_s) from None
        except OSError as error:
            # as a shell would say it
            status = 126 if isinstance(error, PermissionError) else 127
            text = f"{error.filename}: {error.strerror}"
            if said is not None:
                said(text)
            return CompletedProcess(list(argv), status, "", text + "\n")

    def push(self, local: Path, remote: PurePosixPath, exact: bool) -> None:
        """Copy a file, or what is in a directory, to `remote`; `exact` removes there what is not here."""
        target = Path(remote)
        try:
            if local.is_dir():
                _copy_tree(local, target, exact)
            else:
                _copy_file(local, target)
        except OSError as error:
            raise InputError(f"{self.label}: {remote} cannot be written: {error.strerror or error}") from None

    def fetch(self, remote: PurePosixPath, scratch: Path) -> None:
        """Copy a file or directory from there into the directory `scratch`."""
        source = Path(remote)
        if source.is_dir():
            shutil.copytree(source, scratch / source.name, symlinks=True)
        elif source.exists():
            shutil.copy2(source, scratch / source.name)
        else:
            raise InputError(f"{self.label}: {remote}: no such file or directory")


def _copy_tree(source: Path, target: Path, exact: bool) -> None:
    target.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in source.iterdir() if path.name != "__pycache__"}
    for name in names:
        if (source / name).is_dir():
            _copy_tree(source / name, target / name, exact)
        else:
            _copy_file(source / name, target / name)
    for path in target.iterdir() if exact else ():
        if path.name not in names and path.name != "__pycache__":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file under a temporary name, unless size and time of change are what they were."""
    if target.exists():
        old, new = target.stat(), source.stat()
        if os.path.samestat(old, new) or (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    try:
        shutil.copy2(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def outside_environment(program: str) -> str:
    """Return where `program` is outside of the environment that runs us (uv's, conda's), or its name if only there.

    Such an environment comes first on PATH and has a ``python3`` too, which cannot have the board's TensorRT.
    """
    variables = [os.environ.get(name) for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    own = {os.path.realpath(Path(prefix) / "bin") for prefix in (sys.prefix, *variables) if prefix}
    entries = [entry for entry in os.get_exec_path() if os.path.realpath(entry) not in own]
    return shutil.which(program, path=os.pathsep.join(entries)) or program
