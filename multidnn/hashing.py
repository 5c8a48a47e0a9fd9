"""A content hash of the parts of this package that a result depends on, so that editing them makes it again."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# what every part reads and writes its files with
SHARED = ("files.py", "tables.py")


def package_hash(*parts: str) -> str:
    """Return a short hash of `parts`: subpackages (``schedule``, ``targets/host``), modules (``networks/export.py``) or the
    modules of a subpackage without its own subpackages (``measure/*.py``).

    Python counts by its syntax tree without docstrings, so that comments, formatting and documentation rerun nothing;
    any other file (schemas, recorded tables) counts by its bytes. The shared modules for files and tables always count.

    Raises:
        ValueError: a part that does not exist; a rule would otherwise silently depend on nothing.
    """
    digest = hashlib.sha256()
    for part in sorted({*parts, *SHARED}):
        digest.update(_part_digest(part))
    return digest.hexdigest()[:16]


@cache
def _part_digest(part: str) -> bytes:
    roots = list(PACKAGE.glob(part))
    if not roots:
        raise ValueError(f"multidnn has no part {part!r}")
    files = sorted(path for root in roots for path in [root, *root.rglob("*")] if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        if "__pycache__" not in path.parts:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + _content(path) + b"\0")
    return digest.digest()


def _content(path: Path) -> bytes:
    text = path.read_bytes()
    if path.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree).encode()
