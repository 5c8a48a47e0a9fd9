"""Compiled (numba) twins of the simulator and the searches built on it; loaded only by what searches."""
