"""Synchronised execution of schedules: `Runner` and `dynamic.DynamicRunner` for a user's own program, jobs for the pipeline."""

from multidnn.runtime.runner import Iteration, Runner

__all__ = ["Iteration", "Runner"]
