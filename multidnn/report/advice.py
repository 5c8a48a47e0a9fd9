"""Says in words which scheduler to use for a workload and why, from its summary rows and samples."""

from collections.abc import Mapping, Sequence

import numpy as np

from multidnn.report.records import BASELINES, UNPLACED, Run, ScheduleRecord
from multidnn.tables import Row


def uncertainty_ms(samples: Sequence[float]) -> float:
    """Return half the width of the interval around the median of `samples` within which medians do not differ clearly.

    The notch of a box plot, 1.57 IQR / sqrt(n) (McGill, Tukey, Larsen 1978): when the notches of two medians overlap,
    the difference is not significant at about 5 %.
    """
    low, high = np.percentile(samples, [25, 75])
    return float(1.57 * (high - low) / np.sqrt(len(samples)))


def _transitions(count: int) -> str:
    return "no transition" if count == 0 else "one transition" if count == 1 else f"{count} transitions"


def _unplaced(best: str, ratio: float, rival: str) -> str:
    how = "at once" if best == "streams" else "one after another"
    return (
        f"{best} (the instances {how} on the whole chip) beats every placement, by {ratio:.1f} % over {rival}: the "
        "accelerators of this chip can be joined into one, which a GPU and a DLA cannot. Where they cannot be joined, "
        f"use {rival}."
    )


def _baseline(best: str, medians: Mapping[str, float], schedules: Mapping[str, ScheduleRecord], run: Run) -> str:
    if "haxconn" not in medians:
        return f"{best} is the fastest of what was measured."
    behind = 100 * (medians["haxconn"] / medians[best] - 1)
    ours, theirs = schedules["haxconn"], schedules[best]
    if ours.placement == theirs.placement:
        if len(run.target_facts.get("accelerators") or ()) == 1:
            return f"{best} is enough: with one accelerator there is one placement, and schedules differ in their order only."
        staying = "" if ours.transitions else ", so moving between accelerators does not pay here"
        return f"{best} is enough: haxconn chose the same placement{staying}."
    text = f"{best} measured fastest; haxconn is {behind:.1f} % slower"
    if ours.makespan_ms is not None and theirs.makespan_ms is not None and ours.makespan_ms < theirs.makespan_ms:
        expected = 100 * (theirs.makespan_ms / ours.makespan_ms - 1)
        model = "the model" if run.prediction_binds else "the prediction, which does not bind here,"
        text += f", although {model} expected it to be {expected:.1f} % faster"
    return text + "."


def _as_tuned(schedules: Mapping[str, ScheduleRecord]) -> list[str]:
    """The schedulers whose placement is that of tuned, which chooses among haxconn's schedules and the baselines'."""
    if "tuned" not in schedules:
        return []
    names = [name for name in ("haxconn", *BASELINES) if name in schedules]
    return [name for name in names if schedules[name].placement == schedules["tuned"].placement]


def recommendation(
    rows: Sequence[Row], schedules: Mapping[str, ScheduleRecord], run: Run, wrong: Sequence[str] | None = None
) -> str:
    """Return one to three sentences: the recommended scheduler of one workload, its margin, the reason, and any doubt.

    Args:
        rows: of the workload, as in the summary.
        schedules: those that exist, by scheduler.
        run: what was measured.
        wrong: instances with wrong outputs; those of the run if None.
    """
    medians = {row["scheduler"]: row["measured_median_ms"] for row in rows}
    best = next(row["scheduler"] for row in rows if row["recommended"])
    rivals = sorted((name for name in medians if name != best), key=medians.__getitem__)
    if not rivals:
        return f"Only {best} was measured."
    placements = [name for name in rivals if name not in UNPLACED]
    baselines = [name for name in rivals if name in BASELINES]
    if best in UNPLACED and placements:
        compared = placements[0]
        text = _unplaced(best, 100 * (medians[compared] / medians[best] - 1), compared)
    elif best in UNPLACED:
        compared = rivals[0]
        text = f"{best} is faster than {compared}; no placement was measured."
    elif best in BASELINES:
        compared = rivals[0]
        text = _baseline(best, medians, schedules, run)
    else:
        compared = baselines[0] if baselines else rivals[0]
        ahead = 100 * (medians[compared] / medians[best] - 1)
        text = (
            f"{best} is {ahead:.1f} % faster than {'the best baseline, ' if baselines else ''}{compared}, "
            f"with {_transitions(schedules[best].transitions)}."
        )
    if (same := _as_tuned(schedules)) and {best, compared} & {"tuned", *same}:
        text += f" tuned has the placement of {' and '.join(same)} here."
    # the text speaks of one rival, but the next in line may be another one, and as fast
    tied = [
        name for name in dict.fromkeys((rivals[0], compared))
        if medians[name] - medians[best] <= uncertainty_ms(run.makespans(best)) + uncertainty_ms(run.makespans(name))
    ]  # fmt: skip
    for name in tied:
        text += f" The difference between {best} and {name} is within the spread of the samples."
    if differing := run.wrong_outputs if wrong is None else wrong:
        named = ", ".join(differing)
        text += f" Warning: outputs differ from the single-accelerator result for {named}; do not use these numbers."
    return text
