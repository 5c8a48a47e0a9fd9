"""Synchronised execution of schedules: `Runner` and `dynamic.DynamicRunner` for a user's own program, jobs for the pipeline."""

from multidnn.runtime.iteration import Iteration
from multidnn.runtime.runner import Runner

__all__ = ["Iteration", "Runner"]
