"""How all compiled functions are compiled: once per machine, without the interpreter's lock, with IEEE division."""

from numba import njit

compiled = njit(cache=True, nogil=True, error_model="numpy")

inlined = njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
"""For what runs inside inner loops: the memory of a search is many arrays, and handing them over costs more than the work."""
