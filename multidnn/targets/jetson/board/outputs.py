"""What the outputs of iterations differ from the reference by."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np


class Comparison:
    """The largest difference of each instance, over all iterations.

    Args:
        reference: per input set, instance and output name, what the engines give when run alone.
    """

    def __init__(self, reference: list[dict[str, dict[str, Any]]]) -> None:
        self._reference = reference
        self._errors: dict[str, dict[str, float]] = {instance: {} for instance in reference[0]}
        self._nan = dict.fromkeys(reference[0], False)

    def add(self, scheduler: str, input_set: int, outputs: Mapping[str, Mapping[str, Any]]) -> None:
        """Compare one iteration's outputs, by instance and name, with the reference of its input set."""
        for instance, tensors in outputs.items():
            worst = self._errors[instance].get(scheduler, 0.0)
            for name, found in tensors.items():
                difference = np.abs(found - self._reference[input_set][instance][name])
                finite = np.isfinite(difference)
                if not finite.all():
                    self._nan[instance] = True
                worst = max(worst, float(difference[finite].max(initial=0.0)))
            self._errors[instance][scheduler] = worst

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return per instance: max_abs_err, scale (largest |reference|), by_scheduler, and whether anything was NaN."""
        return {
            instance: {
                "max_abs_err": max(errors.values(), default=0.0),
                "scale": max(
                    (float(np.abs(tensor).max()) for one in self._reference for tensor in one[instance].values()),
                    default=0.0,
                ),
                "by_scheduler": errors,
                "nan": self._nan[instance],
            }
            for instance, errors in self._errors.items()
        }
