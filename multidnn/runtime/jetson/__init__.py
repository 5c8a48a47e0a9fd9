"""Runs of schedules on a Jetson board: the engines that their segments need, and the job that runs them interleaved."""
