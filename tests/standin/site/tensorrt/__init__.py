"""STAND-IN for tensorrt, version STANDIN_TENSORRT: only the names that this version has, and no number that was measured."""

from standin_board import trt as _trt
from standin_board import versions as _versions
from standin_board.native import trimmed as _trimmed

__version__ = _versions.version()

_names = _versions.names()
for _kind in _trt.CLASSES:
    if _kind.__name__ in _names:
        _trimmed(_kind)
        globals()[_kind.__name__] = _kind
for _kind in _trt.ENUMERATIONS:
    if _kind.__name__ in _names:
        globals()[_kind.__name__] = _kind
for _function in _trt.FUNCTIONS:
    if _function.__name__ in _names:
        globals()[_function.__name__] = _function
# the short names of the bindings' own __init__.py
for _short, _long in {
    "float32": "FLOAT",
    "float16": "HALF",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
    "uint8": "UINT8",
}.items():
    if _short in _names and hasattr(_trt.DataType, _long):
        globals()[_short] = getattr(_trt.DataType, _long)
tensorrt = __import__(__name__) if "tensorrt" in _names else None
del tensorrt, _kind, _function, _short, _long


def __getattr__(name: str) -> object:
    raise AttributeError(f"module 'tensorrt' (STAND-IN {__version__}) has no attribute {name!r}")
