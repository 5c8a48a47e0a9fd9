"""What the run stage measured, workload by workload: placed schedules beside each other, beside whole and streams, and their
predictions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multidnn.files import read_json
from multidnn.report.splits import gain_over_streams

AUTO, TUNED = "auto", "tuned"
UNPLACED = ("whole", "streams")
BASELINES = ("serial", "naive", "mensa", "herald", "h2h")


@dataclass(frozen=True)
class Run:
    """All schedules of one workload, interleaved in one job; a placed one is called ``scheduler@split``, that of tuned over
    all splits ``tuned@auto``.

    Attributes:
        makespan_ms: by schedule, one value per round, in the order of the rounds.
        idle: by placed schedule, the median share of the makespan in which nothing ran on the chain that decides it.
        handover_ms: of all placed schedules, from the end of a segment to the start of the one that waited for it.
        predicted_ms: by placed schedule, its predicted makespan.
        splits: by scheduler, the split that `auto` chose for it.
        outputs_ok: whether every output equalled that on one accelerator within the target's tolerance.
    """

    workload: str
    makespan_ms: Mapping[str, list[float]]
    idle: Mapping[str, float]
    handover_ms: list[float]
    predicted_ms: Mapping[str, float]
    splits: Mapping[str, str]
    outputs_ok: bool

    def median(self, name: str) -> float:
        """Return the median makespan of a schedule in ms."""
        return float(np.median(self.makespan_ms[name]))

    def errors(self) -> list[float]:
        """Return |predicted / measured - 1| of every placed schedule, in percent."""
        return [100 * abs(ms / self.median(name) - 1) for name, ms in self.predicted_ms.items()]

    def best_baseline(self, split: str) -> str:
        """Return the placed baseline with the lowest median on a split: picking it by what it is compared by favours it."""
        found = [name for name in (f"{baseline}@{split}" for baseline in BASELINES) if name in self.makespan_ms]
        return min(found, key=self.median)

    def choices(self) -> dict[str, str]:
        """Return what `partitions: auto` runs: whole, streams, and every placed scheduler on the split chosen for it."""
        placed = {
            scheduler: f"{scheduler}@{AUTO if scheduler == TUNED else split}"
            for scheduler, split in self.splits.items()
        }
        return {name: name for name in UNPLACED} | placed

    def recommended(self) -> tuple[str, float]:
        """Return the recommended scheduler, and how its time compares with the best of whole, streams and naive.

        It is picked by the rounds of even number and compared by the others, where 1 is as fast, so that picking the
        lowest of noisy medians does not make it look better than it is.
        """
        choices = self.choices()
        even = {name: float(np.median(self.makespan_ms[of][::2])) for name, of in choices.items()}
        odd = {name: float(np.median(self.makespan_ms[of][1::2])) for name, of in choices.items()}
        best = min(even, key=even.__getitem__)
        return best, odd[best] / min(odd[name] for name in (*UNPLACED, "naive"))

    def gain(self) -> Mapping[str, float]:
        """Return what haxconn gains over streams, in percent, as `multidnn.report.splits.gain_over_streams` splits it."""
        found = gain_over_streams({name: self.median(of) for name, of in self.choices().items()}, self.splits)
        assert found is not None, "a run has streams, naive and haxconn"
        return found


def read_runs(folder: Path) -> Iterator[Run]:
    """Yield the runs in the `--out` folder of the benchmark."""
    for path in sorted((folder / "runs").glob("*.json")):
        content = read_json(path)
        makespans: dict[str, list[float]] = {}
        idle: dict[str, list[float]] = {}
        for entry in content["iterations"]:
            makespans.setdefault(entry["scheduler"], []).append(entry["makespan_ms"])
            idle.setdefault(entry["scheduler"], []).append(entry["idle_ms"] / entry["makespan_ms"])
        placed = [name for name in makespans if "@" in name]
        yield Run(
            content["workload"],
            makespans,
            {name: float(np.median(idle[name])) for name in placed},
            [ms for name in placed for ms in content["handover_ms"][name]],
            {name: _predicted(path.with_suffix("") / f"{name}.json") for name in placed},
            _splits(folder / "schedules" / content["workload"] / AUTO),
            all(output["ok"] for output in content["outputs"].values()),
        )


def _predicted(path: Path) -> float:
    return float(read_json(path)["predicted"]["makespan_ms"])


def _splits(folder: Path) -> dict[str, str]:
    found = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}
    return {name: content["target"] for name, content in found.items() if "absent" not in content}
