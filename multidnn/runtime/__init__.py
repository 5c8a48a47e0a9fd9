"""Synchronised execution of schedules: `Runner` for a user's own program, `run_workload` for the pipeline."""

from multidnn.runtime.runner import Iteration, Runner

__all__ = ["Iteration", "Runner"]
