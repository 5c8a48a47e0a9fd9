"""Gives a process of the stand-in board the CUDA driver library, for code that calls it through ctypes."""

import ctypes


class _Loader(ctypes.CDLL):
    """ctypes.CDLL, still a class that others derive from."""

    def __new__(cls, name=None, *arguments, **options):  # type: ignore[no-untyped-def]
        if cls is _Loader and name in ("libcuda.so.1", "libcuda.so"):
            from standin_board.libcuda import Library

            return Library()
        return super().__new__(cls)


ctypes.CDLL = _Loader  # type: ignore[misc]
