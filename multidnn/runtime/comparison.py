"""Compares the outputs of every iteration with the single-accelerator result, on inputs that alternate."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from multidnn.runtime.runner import Array, Runner, Values

_log = logging.getLogger(__name__)

_INPUT_SETS = 2


class OutputComparison:
    """Keeps the largest deviation of each instance's outputs from the same network alone on one accelerator.

    Inputs alternate between two sets from one iteration to the next, so that a tensor left over from the iteration
    before cannot pass for right.

    Raises:
        InputError: no accelerator takes every group of an instance, so there is nothing to compare with.
    """

    def __init__(self, runner: Runner, rng: np.random.Generator) -> None:
        self._accelerator = {instance: runner.single_accelerator(instance) for instance in runner.networks}
        self._inputs: list[Values] = [runner.random_inputs(rng) for _ in range(_INPUT_SETS)]
        self._references: list[Values] = []
        for values in self._inputs:
            runner.write_inputs(values)
            self._references.append({name: runner.run_alone(name, alone) for name, alone in self._accelerator.items()})
        self._relative_tolerance = runner.output_tolerance
        self._which = 0
        self._error = dict.fromkeys(runner.networks, 0.0)
        self._worst: dict[str, str | None] = dict.fromkeys(runner.networks)
        self._compared = dict.fromkeys(runner.networks, 0)

    def next_inputs(self) -> Values:
        """Return the inputs of the next iteration, all instances: the other set than before."""
        self._which = (self._which + 1) % _INPUT_SETS
        return self._inputs[self._which]

    def compare(self, outputs: Mapping[str, Mapping[str, Array]], scheduler: str) -> None:
        """Compare what an iteration on `next_inputs` gave, for the instances in `outputs`."""
        for instance, values in outputs.items():
            self._compared[instance] += 1
            for name, expected in self._references[self._which][instance].items():
                difference = float(np.max(np.abs(values[name] - expected)))
                # NaN, an output that nobody wrote, must win every comparison
                if not difference <= self._error[instance]:
                    self._error[instance] = difference if np.isfinite(difference) else float("inf")
                    self._worst[instance] = scheduler

    @property
    def compared(self) -> dict[str, int]:
        """How many iterations' outputs were compared, per instance."""
        return dict(self._compared)

    def outputs(self) -> dict[str, dict[str, Any]]:
        """Return the `outputs` entry of the run file; null stands for a number that is not finite."""
        result: dict[str, dict[str, Any]] = {}
        for instance, error in self._error.items():
            # np.max keeps NaN, whichever value holds it
            largest = np.max(
                [np.max(np.abs(value)) for values in self._references for value in values[instance].values()]
            )
            tolerance = self._relative_tolerance * float(largest)
            # a reference that is not finite says nothing about the others
            ok = error <= tolerance < np.inf
            if not ok:
                _log.error(
                    "run: outputs of %s under %s differ from those of %s alone by %g (allowed %g)",
                    instance, self._worst[instance], self._accelerator[instance], error, tolerance,
                )  # fmt: skip
            result[instance] = {
                "max_abs_err": error if np.isfinite(error) else None,
                "tolerance": tolerance if np.isfinite(tolerance) else None,
                "ok": bool(ok),
                "reference": self._accelerator[instance],
                "worst_scheduler": self._worst[instance],
            }
        return result
