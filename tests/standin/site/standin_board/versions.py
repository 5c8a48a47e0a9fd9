"""Which TensorRT version has what: the board code's own table, and the lists of names that each version ships."""

import functools
import importlib.util
from types import ModuleType

from standin_board.recorded import REPOSITORY
from standin_board.settings import settings

NAMES = REPOSITORY / "tests" / "targets" / "jetson" / "names"
# version families, each with the list that its names are taken from; 8.4 and 8.5 have no wheels with names to read, so they
# have those of 8.6 less what the table of versions says came later
LISTS = {
    (8, 4): "tensorrt-8.6.txt",
    (8, 5): "tensorrt-8.6.txt",
    (8, 6): "tensorrt-8.6.txt",
    (10, 3): "tensorrt-10.3.txt",
    (10, 7): "tensorrt-10.7.txt",
    (11, 4): "tensorrt-11.4.txt",
}
# names of a feature; only for features that begin between 8.4 and 8.6
LATER = {
    "named_tensors": [
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_mode",
        "get_tensor_shape",
        "get_tensor_dtype",
        "set_tensor_address",
        "get_tensor_address",
        "execute_async_v3",
        "TensorIOMode",
        "get_tensor_location",
        "get_tensor_format",
        "get_tensor_strides",
    ]
}


@functools.cache
def table() -> ModuleType:
    """Return multidnn/targets/jetson/board/versions.py, loaded by its path: the package around it is the board's."""
    path = REPOSITORY / "multidnn" / "targets" / "jetson" / "board" / "versions.py"
    spec = importlib.util.spec_from_file_location("standin_versions", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def version() -> str:
    """Return the version that is stood in for."""
    return settings().tensorrt


def number() -> tuple[int, ...]:
    """Return it as numbers."""
    found: tuple[int, ...] = table().parse(version())
    return found


def has(feature: str) -> bool:
    """Return whether it has a feature of the table of versions."""
    return bool(table().has(version(), feature))


@functools.cache
def names() -> frozenset[str]:
    """Return every public name that this version's bindings have, of whatever class."""
    family = number()[:2]
    if family not in LISTS:
        raise ImportError(f"stand-in: no TensorRT {version()}; there are {', '.join(f'{a}.{b}' for a, b in LISTS)}")
    lines = (NAMES / LISTS[family]).read_text(encoding="utf-8").splitlines()
    absent = {name for feature, gone in LATER.items() if not has(feature) for name in gone}
    return frozenset(line for line in lines if line and not line.startswith("#")) - absent
