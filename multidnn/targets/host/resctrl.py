"""Memory traffic of one process by Intel RDT, AMD QoS or Arm MPAM monitoring, through the kernel's resctrl files."""

import os
from pathlib import Path
from time import monotonic, sleep

from multidnn.errors import InputError
from multidnn.targets.host.bandwidth import NotAvailableError, Opened

_EVENT = "mbm_total_bytes"
_PREFIX = "multidnn-"
# the hardware may need a moment to begin counting a new group
_PATIENCE_S = 1.0


class ResctrlCounter(Opened):
    """A monitoring group that holds all threads of one process (kernel: Documentation/filesystems/resctrl.rst).

    The count of a cache domain is text where there is none: "Unavailable" or "Unassigned" for a domain in which the
    process has not run, "Error" if the read failed.

    Args:
        process_id: whose traffic is counted; threads that it starts later are counted too.
        resctrl: where the resctrl file system is mounted.
        proc: where procfs is mounted.

    Raises:
        NotAvailableError: no resctrl, no bandwidth monitoring, no permission, or no free monitoring group.
    """

    method = "resctrl-mbm"
    scope = "process"

    def __init__(self, process_id: int, resctrl: Path, proc: Path) -> None:
        groups = resctrl / "mon_groups"
        features = resctrl / "info" / "L3_MON" / "mon_features"
        if not groups.is_dir():
            raise NotAvailableError(f"no resctrl with monitoring mounted at {resctrl}")
        try:
            offered = features.read_text(encoding="ascii").split()
        except OSError as error:
            raise NotAvailableError(f"{features} cannot be read ({error.strerror})") from None
        if _EVENT not in offered:
            raise NotAvailableError(f"{features} lists {' '.join(offered) or 'nothing'}, not {_EVENT}")
        self._group = groups / f"{_PREFIX}{process_id}"
        self._seen: set[Path] = set()
        try:
            _remove_abandoned(groups)
            os.mkdir(self._group)
        except OSError as error:
            raise NotAvailableError(f"monitoring group {self._group} cannot be made ({error.strerror})") from None
        try:
            _move_threads(proc / str(process_id) / "task", self._group / "tasks")
            self._first = self._total()
        except OSError as error:
            self.close()
            raise NotAvailableError(
                f"process {process_id} cannot be put into {self._group} ({error.strerror})"
            ) from None
        except InputError as error:
            self.close()
            raise NotAvailableError(str(error)) from None
        except BaseException:
            self.close()
            raise

    def read(self) -> float:
        """See `Counter.read`."""
        return float(self._total() - self._first)

    def close(self) -> None:
        """Remove the monitoring group; its threads fall back to the default group."""
        # the kernel allows rmdir of a group although it shows files in it
        os.rmdir(self._group)

    def _total(self) -> int:
        deadline = monotonic() + _PATIENCE_S
        while True:
            counts, missing = self._domains()
            if counts and not missing:
                self._seen |= counts.keys()
                return sum(counts.values())
            if monotonic() > deadline:
                found = "; ".join(f"{path}: {text}" for path, text in missing.items())
                raise InputError(f"resctrl gives no count of memory traffic: {found or self._group / 'mon_data'}")
            sleep(_PATIENCE_S / 20)

    def _domains(self) -> tuple[dict[Path, int], dict[Path, str]]:
        """Return the bytes per cache domain, and what stands in the files that should hold a number and do not."""
        counts: dict[Path, int] = {}
        texts: dict[Path, str] = {}
        for path in sorted((self._group / "mon_data").glob(f"mon_L3_*/{_EVENT}")):
            try:
                text = path.read_text(encoding="ascii").strip()
            except OSError as error:
                text = f"Error ({error.strerror})"
            if text.isdigit():
                counts[path] = int(text)
            else:
                texts[path] = text or "empty"
        # a domain that never counted belongs to cores on which the process does not run
        missing = {
            path: text for path, text in texts.items() if path in self._seen or text.startswith("Error") or not counts
        }
        return counts, missing


def _remove_abandoned(groups: Path) -> None:
    """Remove groups of ours without threads: their process, and the measurement that watched it, were killed."""
    for group in groups.glob(f"{_PREFIX}*"):
        if not (group / "tasks").read_text(encoding="ascii").strip():
            os.rmdir(group)


def _move_threads(folder: Path, tasks: Path) -> None:
    """Write every thread of the process into `tasks`, one per write, until no new one appears."""
    moved: set[str] = set()
    while new := {entry.name for entry in folder.iterdir()} - moved:
        for thread in sorted(new, key=int):
            try:
                with tasks.open("a", encoding="ascii") as file:
                    file.write(f"{thread}\n")
            except ProcessLookupError:
                continue  # the thread ended in between
        moved |= new
