"""The board's code and the stand-in use only names that TensorRT, pycuda and jtop ship, in every version that is claimed."""

import ast
import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import standin

from multidnn.targets.jetson.board import versions

HERE = Path(__file__).resolve().parent
JETSON = HERE.parents[3] / "multidnn" / "targets" / "jetson"
TENSORRT = {
    "8.6.1": "tensorrt-8.6.txt",
    "10.3.0": "tensorrt-10.3.txt",
    "10.7.0": "tensorrt-10.7.txt",
    "11.4.0": "tensorrt-11.4.txt",
}

# names that a version has if and only if the table of versions gives it the feature
OF_FEATURE = {
    "bindings": {"num_bindings", "get_binding_name", "get_binding_shape", "get_binding_dtype", "binding_is_input", "execute_async_v2"},
    "named_tensors": {
        "num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_shape", "get_tensor_dtype", "TensorIOMode",
        "set_tensor_address", "execute_async_v3",
    },
    "max_workspace_size": {"max_workspace_size"},
    "memory_pools": {"set_memory_pool_limit", "MemoryPoolType", "WORKSPACE", "DLA_MANAGED_SRAM"},
    "build_engine": {"build_engine"},
    "build_serialized_network": {"build_serialized_network"},
    "explicit_batch_flag": {"EXPLICIT_BATCH"},
    "precision_flags": {"FP16", "INT8_FLAG"},
    "precision_constraints": {"PREFER_PRECISION_CONSTRAINTS", "OBEY_PRECISION_CONSTRAINTS", "precision_is_set"},
    "int8_calibrator": {"int8_calibrator", "IInt8EntropyCalibrator2", "get_batch_size", "read_calibration_cache"},
    "timing_cache": {"create_timing_cache", "set_timing_cache", "get_timing_cache"},
    "profiling_verbosity": {"profiling_verbosity", "ProfilingVerbosity", "DETAILED"},
    "old_layer_methods": {"add_convolution", "add_pooling", "add_deconvolution", "add_fully_connected"},
    "caffe_parser": {"CaffeParser"},
    "engine_inspector": {"create_engine_inspector", "get_engine_information", "LayerInformationFormat"},
    "enqueue_emits_profile": {"enqueue_emits_profile", "report_to_profiler"},
}  # fmt: skip
# INT8 stays as a data type when the flag goes, so its name tells nothing
OF_FEATURE["precision_flags"].discard("INT8_FLAG")


def names(file: str) -> set[str]:
    return {line for line in (HERE / file).read_text().splitlines() if line and not line.startswith("#")}


def trees(*places: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in places:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


BOARD_FILES = tuple(sorted((JETSON / "board").glob("*.py")))


def imported(tree: ast.Module, module: str) -> set[str]:
    """Return the names under which a module is known anywhere in a file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname or a.name.split(".")[0] for a in node.names if a.name == module}
    return found


def chain(node: ast.expr) -> tuple[str | None, list[str]]:
    """Return the name at the root of ``a.b.c`` (None if it is no name) and the attributes."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    return (node.id if isinstance(node, ast.Name) else None), attributes


def attributes_of(module: str) -> set[str]:
    """Return every attribute that board code takes of a module, and of what it takes from it."""
    found: set[str] = set()
    for _, tree in trees(*BOARD_FILES):
        aliases = imported(tree, module)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                root, attributes = chain(node)
                if root in aliases:
                    found |= set(attributes)
    return {name for name in found if not name.startswith("__")}


# what holds objects of TensorRT in the files that talk to it
OBJECTS = {
    "api.py": {
        "builder",
        "network",
        "config",
        "engine",
        "context",
        "_context",
        "layer",
        "tensor",
        "cache",
        "runtime",
        "plan",
    },
    "network.py": {"builder", "parser", "network", "config", "layer", "tensor"},
    "engine.py": {"_runtime", "_engine"},
    "build.py": {"_builder", "_runtime", "config"},
}


def used_on_objects() -> set[str]:
    """Return every attribute that board code takes of TensorRT's objects."""
    found = set()
    for path, tree in trees(*(path for path in BOARD_FILES if path.name in OBJECTS)):
        holders = OBJECTS[path.name]
        own = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                root, attributes = chain(node)
                steps = [root, *attributes]
                found |= {after for before, after in itertools.pairwise(steps) if before in holders - own}
    # a cache is a file in some places
    return found - set(dir(Path))


@pytest.mark.parametrize("version", TENSORRT)
def test_the_table_of_versions_agrees_with_the_bindings(version):
    shipped = names(TENSORRT[version])
    wrong = {
        (feature, name): name in shipped
        for feature, of in OF_FEATURE.items()
        for name in of
        if (name in shipped) != versions.has(version, feature)
    }
    assert not wrong


@pytest.mark.parametrize("version", TENSORRT)
def test_board_code_uses_only_names_of_tensorrt(version):
    used = attributes_of("tensorrt") | used_on_objects()
    assert {"Builder", "OnnxParser", "set_tensor_address", "can_run_on_DLA"} <= used
    absent = set().union(*(of for feature, of in OF_FEATURE.items() if not versions.has(version, feature)))
    assert used - absent - names(TENSORRT[version]) == set()


@pytest.mark.parametrize("file", ["pycuda-2022.1.txt", "pycuda-2026.1.txt"])
def test_board_code_uses_only_names_of_pycuda(file):
    used = attributes_of("pycuda.driver") | attributes_of("pycuda")
    assert {"Stream", "Event", "mem_alloc"} <= used
    assert used - names(file) - {"driver"} == set()


@pytest.mark.parametrize("file", ["jtop-4.3.txt", "jtop-7.2.txt"])
def test_the_sampler_uses_only_names_of_jtop(file):
    used = set()
    ((_, tree),) = trees(JETSON / "stats" / "jtop_lines.py")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, attributes = chain(node)
            if root in ("board", "jtop"):
                used |= set(attributes)
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            root, attributes = chain(node.value)
            if root in ("board", "rail", "state", "gpu", "emc") and node.slice.value != "emc":
                used.add(node.slice.value)
    assert {"ok", "memory", "power", "engine", "gpu", "nvpmodel", "jetson_clocks"} <= used
    assert used - names(file) == set()


def offered(tmp_path: Path, program: str, **settings: str) -> set[str]:
    """Return the public names that a program on the stand-in board prints as JSON."""
    python = standin.install(tmp_path, **settings) / "board-python"
    done = subprocess.run([python, "-c", program], stdout=subprocess.PIPE, check=True, timeout=60)
    return set(json.loads(done.stdout))


PUBLIC = """
import json, sys
found = set()
for module in {modules}:
    for name, value in vars(module).items():
        if name.startswith("_") or type(value) is type(sys) or getattr(value, "__module__", "").startswith(("typing", "numpy")):
            continue
        found.add(name)
        if isinstance(value, type):
            for base in value.__mro__:
                if base.__module__.startswith(("tensorrt", "standin_board", "pycuda", "jtop")):
                    found |= {{n for n in vars(base) if not n.startswith("_")}}
print(json.dumps(sorted(found)))
"""


@pytest.mark.parametrize(
    ("version", "file"),
    [*((v, f) for v, f in TENSORRT.items()), ("8.5.2", TENSORRT["8.6.1"]), ("8.4.1", TENSORRT["8.6.1"])],
)
def test_the_stand_in_has_no_name_that_tensorrt_lacks(tmp_path, version, file):
    found = offered(tmp_path, "import tensorrt\n" + PUBLIC.format(modules="[tensorrt]"), tensorrt=version)
    # name and value are pybind11's own, of every enumeration
    assert found - names(file) - {"name", "value"} == set()
    assert {"Builder", "Runtime", "OnnxParser", "DLA_core"} <= found
    assert ("execute_async_v3" in found) == versions.has(version, "named_tensors")
    assert ("execute_async_v2" in found) == versions.has(version, "bindings")


def test_the_stand_in_has_no_name_that_pycuda_lacks(tmp_path):
    found = offered(tmp_path, "import pycuda.driver\n" + PUBLIC.format(modules="[pycuda.driver]"))
    assert {"Stream", "mem_alloc", "SCHED_SPIN"} <= found
    assert found - names("pycuda-2026.1.txt") == set()


@pytest.mark.parametrize(("version", "file"), [("4.3.2", "jtop-4.3.txt"), ("7.2.2", "jtop-7.2.txt")])
def test_the_stand_in_has_no_name_that_jtop_lacks(tmp_path, version, file):
    found = offered(tmp_path, "import jtop\n" + PUBLIC.format(modules="[jtop]"), jtop=version)
    assert found - names(file) == set()
