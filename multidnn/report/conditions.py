"""Says in words what a reader must know of how a workload was run on a board: what does not bind, was not locked, or lacks."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# keys of summary.json, by workload or a list of workloads; a target that has no such thing has them empty
KEYS = (
    "not_binding",
    "unlocked",
    "stand_in",
    "random_calibration",
    "differing_by_calibration",
    "energy",
    "start_skew_us",
)


class Note(NamedTuple):
    """A remark above the table of a workload: a few words, the sentence that explains them, and what to type."""

    short: str
    text: str
    command: str = ""


def randomly_calibrated(facts: Mapping[str, Any], networks: Iterable[str]) -> list[str]:
    """Return those of `networks` whose int8 engines were calibrated on random inputs, each once.

    Args:
        facts: of the target: `precision`, and `calibration`, which names the networks that have data. Without the
            latter nothing is known and the list is empty.
    """
    if facts.get("precision") != "int8" or "calibration" not in facts:
        return []
    return [name for name in dict.fromkeys(networks) if name not in (facts["calibration"] or {})]


def notes(sidecar: Mapping[str, Any], workload: str) -> list[Note]:
    """Return what makes the numbers of `workload` mean less than they seem to, gravest first (keys: `KEYS`)."""
    found = []
    if random := sidecar.get("random_calibration", {}).get(workload):
        text = "Outputs mean nothing, times do; that a tensor was handed over wrongly would not show."
        if differing := sidecar.get("differing_by_calibration", {}).get(workload):
            text += f" The outputs of {', '.join(differing)} differ from those on one accelerator."
        found.append(Note(f"Calibrated on random inputs: {', '.join(random)}.", text))
    if workload in sidecar.get("unlocked", ()):
        found.append(Note("Clocks not locked:", "times move with them; on the board:", "sudo jetson_clocks"))
    if workload in sidecar.get("not_binding", ()):
        found.append(
            Note(
                "Prediction not binding.",
                "In mode paper an instance is one engine and only the starts are aligned: nothing enforces the turns that "
                "the prediction assumes. It is shown, and left out of the prediction error.",
            )
        )
    return found


def small_print(sidecar: Mapping[str, Any], workload: str) -> list[str]:
    """Return sentences on how exact the numbers of `workload` are and where they come from."""
    found = []
    if skew := sidecar.get("start_skew_us", {}).get(workload):
        found.append(
            f"Within an iteration the first and the last start lie {skew['median']:.3g} µs apart at the median, "
            f"{skew['worst']:.3g} µs at worst."
            + (f" In {late} iterations it was more than 20 µs." if (late := skew.get("late_iterations")) else "")
        )
    if workload in sidecar.get("energy", {}):
        found.append(_energy(sidecar["energy"][workload]))
    return found


def _energy(energy: Mapping[str, Any] | None) -> str:
    if energy is None:
        return "Energy was not measured: energy_s is 0 in the configuration of this target."
    if "missing" in energy:
        return f"No energy: {energy['missing']}."
    readings = min((entry["readings"] for entry in energy["schedulers"].values()), default=0)
    return (
        f"Energy: mean power of {' + '.join(energy['total'])} ({energy['by']}, at least {readings} readings) while a "
        "schedule was repeated back to back, times its mean iteration; what the board draws when idle is in it."
    )


def energy_cells(
    energy: Mapping[str, Any] | None, schedulers: Iterable[str]
) -> dict[str, tuple[float | None, str]] | None:
    """Return millijoules per iteration and a line on power and rails, by scheduler; None where nothing was measured."""
    if energy is None or "missing" in energy:
        return None
    cells: dict[str, tuple[float | None, str]] = {}
    for name in schedulers:
        entry = energy["schedulers"].get(name)
        if entry is None:
            cells[name] = (None, "")
            continue
        rails = ", ".join(f"{rail} {value:.4g} mJ" for rail, value in entry["rails_mj"].items())
        cells[name] = (entry["mj"], f"{entry['mw'] / 1000:.3g} W over {entry['iterations']} iterations; {rails}")
    return cells
