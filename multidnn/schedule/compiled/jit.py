"""How all compiled functions are compiled: once per machine, without the interpreter's lock, with IEEE division.

The memory of a search is some fifty arrays. Counting references to them at every call takes ten times as long as the
work, so functions that allocate nothing do without (`lean`, `inlined`); what they work in belongs to their callers.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from numba import njit
from numba.core.registry import CPUDispatcher

_F = TypeVar("_F", bound=Callable[..., Any])

_SOURCES = sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


class _OnlyCompiled(CPUDispatcher):
    """A compiled function without an entrance for Python, which would take as long to compile as the function."""

    def __call__(self, *_: object) -> NoReturn:
        raise TypeError(f"{self.py_func.__name__} can only be called by compiled code")


def _jit(**options: Any) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        jitted = njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        cache: Any = getattr(jitted, "_cache", None)
        # none when numba is told not to compile
        if cache is not None:
            # numba looks at the function's own file only, and would go on using old code of what it calls elsewhere
            cache._cache_file._source_stamp = _SOURCES
            if "no_cpython_wrapper" in options:
                # without this, a call from Python would crash
                jitted.__class__ = _OnlyCompiled
        return cast(_F, jitted)

    return decorate


compiled = _jit(no_cfunc_wrapper=True)
"""For what allocates arrays."""

lean = _jit(_nrt=False, no_cfunc_wrapper=True)
"""For what allocates nothing."""

inlined = _jit(_nrt=False, no_cfunc_wrapper=True, no_cpython_wrapper=True, forceinline=True)
"""For what allocates nothing and runs inside inner loops: handing so many arrays over costs more than the work."""
