"""What a job says while it works: progress on the terminal and in its log file, and a user's mistake in one line."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multidnn.errors import INTERRUPTED, InputError

LOGGER = "multidnn"


@contextmanager
def job_log(path: str | Path) -> Iterator[logging.Logger]:
    """Send the messages of `multidnn` (level INFO and above) to standard error and to a fresh file at `path`.

    An `InputError` becomes one line ``error: ...`` in both and exit code 1, without a traceback; Ctrl-C likewise, with
    exit code 130. Anything else is a defect: its traceback goes to the file too, and it is raised on. Until the block
    ends well, a mark beside the log says that the job was begun (`unfinished`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = unfinished(path)
    _mark(path).write_text(f"{time.time_ns()}\n", encoding="ascii")
    logger = logging.getLogger(LOGGER)
    level, propagate = logger.level, logger.propagate
    file = logging.FileHandler(path, mode="w", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(file)
    logger.addHandler(terminal)
    try:
        yield logger
        if before is None:
            _mark(path).unlink(missing_ok=True)
        else:
            _mark(path).write_text(before, encoding="ascii")
    except InputError as error:
        logger.error("error: %s", error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        logger.error("error: interrupted")
        raise SystemExit(INTERRUPTED) from None
    except Exception:
        logger.removeHandler(terminal)  # the interpreter prints it there
        logger.exception("the job failed")
        raise
    finally:
        for handler in (file, terminal):
            logger.removeHandler(handler)
        file.close()
        logger.setLevel(level)
        logger.propagate = propagate


def unfinished(path: str | Path) -> str | None:
    """Return the mark of the last job with the log `path` that began and did not end well, or None if there is none.

    Snakemake puts earlier results back after a failure and then takes them for what the failed job made. A rule with
    this mark among its parameters is run again: the mark is another one after each failure, and after a success again
    the one that the job began with.
    """
    mark = _mark(Path(path))
    return mark.read_text(encoding="ascii") if mark.is_file() else None


def _mark(path: Path) -> Path:
    return path.with_suffix(".unfinished")


def errors_since(root: Path, seconds: float) -> list[str]:
    """Return the ``error: ...`` lines in the logs below `root` that were written at `seconds` (Unix time) or later."""
    lines = []
    for path in sorted(root.rglob("*.log")):
        if path.stat().st_mtime >= seconds:
            found = path.read_text(encoding="utf-8", errors="replace").splitlines()
            lines += [line.partition(" ")[2] for line in found if line.partition(" ")[2].startswith("error: ")]
    return lines
