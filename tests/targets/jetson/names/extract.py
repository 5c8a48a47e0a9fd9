"""Makes the name lists beside this file from what PyPI ships; nothing is imported, built or run.

    python extract.py tensorrt tensorrt-cu12-bindings 10.3.0 WHEEL > tensorrt-10.3.txt
    python extract.py pycuda pycuda 2026.1 SDIST > pycuda-2026.1.txt
    python extract.py jtop jetson-stats 7.2.2 SDIST > jtop-7.2.txt

WHEEL and SDIST are what ``pip download --no-deps`` leaves (for the bindings with ``--only-binary=:all:``,
``--python-version`` and ``--platform``). TensorRT's names are the identifiers among the strings
that the bindings' shared object refers to (some are C++'s or NumPy's own; a name that is missing is missing). pycuda's
and jtop's names come from their Python sources and, for pycuda's driver, from the declarations of its C++ wrapper.
"""

import ast
import re
import struct
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Iterator

IDENTIFIER = re.compile(rb"[A-Za-z_][A-Za-z0-9_]+")
# C++ type names and what the runtime library leaves
MANGLED = re.compile(
    r"^(P?F|St|S_|N)[A-Za-z]*\d.*E$|^_Z|pybind11|gnu|^[A-Z]*\d+[A-Za-z_]+E$|^PF|^N\d|^St\d|^F[a-zK].*E$"
)


def main(arguments: list[str]) -> int:
    if len(arguments) != 4 or arguments[0] not in KINDS:
        print(__doc__, file=sys.stderr)
        return 1
    kind, package, version, path = arguments
    names, how = KINDS[kind](path)
    print(f"# {package} {version}: {how} (extract.py)")
    print("\n".join(sorted(names)))
    return 0


def tensorrt_names(path: str) -> tuple[set[str], str]:
    with zipfile.ZipFile(path) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith("/tensorrt.so")]
        shared_object = wheel.read(name)
        init = next(name for name in wheel.namelist() if name.endswith("tensorrt_bindings/__init__.py"))
        python = _python_names(wheel.read(init).decode())
    names = python | {name for name in _referenced_strings(shared_object) if not MANGLED.search(name)}
    return names, "identifiers among the strings that the bindings' shared object refers to"


def _referenced_strings(image: bytes) -> Iterator[str]:
    """Yield the identifiers that the code or a table of a 64-bit x86 shared object points to.

    Looking where strings begin would miss names that the linker stored as the tail of longer ones (`set_device_type` in
    `reset_device_type`); looking at what is referred to finds them.
    """
    sections = {name: (address, content) for name, address, content in _sections(image)}
    base, strings = sections[b".rodata"]
    code_base, code = sections[b".text"]
    targets = {
        # lea register, [rip + displacement]: seven bytes, the displacement counts from the next instruction
        code_base + match.start() + 7 + struct.unpack("<i", match[1])[0]
        for match in re.finditer(rb"(?=[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d](....))", code, re.DOTALL)
    }
    _, relocations = sections[b".rela.dyn"]
    targets |= {addend for _, _, addend in struct.iter_unpack("<QQq", relocations)}
    for target in targets:
        start = target - base
        if 0 <= start < len(strings):
            found = IDENTIFIER.match(strings, start)
            if found and strings[found.end() : found.end() + 1] == b"\0":
                yield found[0].decode()


def _sections(image: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield name, address and content of each section of a 64-bit ELF file."""
    (offset,) = struct.unpack_from("<Q", image, 40)
    size, count, names_index = struct.unpack_from("<HHH", image, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, offset + index * size) for index in range(count)]
    names = headers[names_index][4]
    for header in headers:
        start = names + header[0]
        yield image[start : image.index(b"\0", start)], header[3], image[header[4] : header[4] + header[5]]


def pycuda_names(path: str) -> tuple[set[str], str]:
    names = set()
    for name, text in _members(path):
        if re.search(r"/pycuda/(driver|compiler|tools|gpuarray|autoinit|autoprimaryctx|__init__)\.py$", name):
            names |= _python_names(text)
        elif re.search(r"/src/wrapper/(wrap_cudadrv|mempool|_pvt_struct.*)\.cpp$", name):
            names |= _boost_names(text)
    return names, "names bound in its Python modules and declared by its C++ wrapper"


def jtop_names(path: str) -> tuple[set[str], str]:
    names = set()
    for name, text in _members(path):
        if re.search(r"/jtop/(__init__|jtop|core/[a-z_]+)\.py$", name):
            names |= _python_names(text)
    return names, "names bound in jtop's Python modules, and the keys of its dictionaries"


def _members(path: str) -> Iterator[tuple[str, str]]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith((".py", ".cpp", ".hpp")):
                file = archive.extractfile(member)
                if file is not None:
                    yield member.name, file.read().decode("utf-8", "replace")


def _python_names(text: str) -> set[str]:
    """Return the functions, classes, imports, assigned names and attributes, and string keys of a module."""
    names = set()
    for node in ast.walk(ast.parse(textwrap.dedent(text))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
        elif isinstance(node, ast.Dict):
            names.update(key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            names.add(node.slice.value)
    return {name for name in names if isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*", name)}


def _boost_names(text: str) -> set[str]:
    """Return what Boost.Python declarations call their classes, functions, enumerations, members and attributes."""
    names = set(re.findall(r'(?:class_<.*>|enum_<\w+>)\s*(?:\w+\s*)?\(\s*"(\w+)"', text))
    names |= set(re.findall(r'\b(?:cls|wrp)\s*\(\s*"(\w+)"', text))
    names |= set(
        re.findall(
            r'\b(?:def|def_readonly|def_readwrite|add_property|value|attr|add_static_property)\(\s*"(\w+)"', text
        )
    )
    return names | set(re.findall(r"(?:DEF_SIMPLE_\w+|PYCUDA_\w+|DECLARE_EXC)\s*\(\s*(\w+)", text))


KINDS = {"tensorrt": tensorrt_names, "pycuda": pycuda_names, "jtop": jtop_names}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
