"""The code of ours that runs on a board, in the board's own Python."""

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parent
# pushed below `code/` of the board's directory
CODE = ("board", "stats")


def code_hash() -> str:
    """Return a hash of the code that runs on the board, by content and names."""
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((PACKAGE / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
