"""Reading a request: every value is checked where it is taken, and the message names the place."""

from __future__ import annotations

from typing import Any, Iterator

from .errors import BoardError

_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


class Fields:
    """An object of a request together with where it stands, for messages.

    Args:
        content: what was read.
        where: for example "request: builds[0]".
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise BoardError(f"{where} must be an object, not {content!r:.60}")
        self._content: dict[str, Any] = content
        self._where = where

    def __contains__(self, key: str) -> bool:
        return self._content.get(key) is not None

    def value(self, key: str, kind: type) -> Any:
        """Return the value of `key`, which must be there and of `kind`; a whole number passes for a float."""
        if key not in self._content:
            raise BoardError(f"{self._where} lacks {key!r}")
        found = self._content[key]
        wanted = (int, float) if kind is float else kind
        # True is an int to Python, and never one to a user
        if not isinstance(found, wanted) or (isinstance(found, bool) and kind is not bool):
            raise BoardError(f"{self._where}: {key!r} must be {_KINDS[kind]}, not {found!r:.60}")
        return found

    def optional(self, key: str, kind: type) -> Any:
        """Return the value of `key`, or None if it is absent or null."""
        return self.value(key, kind) if key in self else None

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """Return the value of `key`, one of `allowed`."""
        found = self.value(key, str)
        if found not in allowed:
            raise BoardError(f"{self._where}: {key!r} is {found!r}; allowed: {', '.join(allowed)}")
        return str(found)

    def texts(self, key: str) -> list[str]:
        """Return the list of texts under `key`."""
        return self._list(key, str)

    def numbers(self, key: str) -> list[int]:
        """Return the list of whole numbers under `key`."""
        return self._list(key, int)

    def _list(self, key: str, kind: type) -> list[Any]:
        found = self.value(key, list)
        for item in found:
            if not isinstance(item, kind) or isinstance(item, bool):
                raise BoardError(f"{self._where}: {key!r} must hold {_KINDS[kind][2:]}s only, not {item!r:.60}")
        return list(found)

    def object(self, key: str) -> Fields:
        """Return the object under `key`."""
        return Fields(self.value(key, dict), f"{self._where}: {key}")

    def optional_object(self, key: str) -> Fields | None:
        """Return the object under `key`, or None if it is absent or null."""
        return self.object(key) if key in self else None

    def objects(self, key: str) -> list[Fields]:
        """Return the list of objects under `key`."""
        return [Fields(item, f"{self._where}: {key}[{i}]") for i, item in enumerate(self.value(key, list))]

    def named_objects(self, key: str) -> Iterator[tuple[str, Fields]]:
        """Yield name and object for each entry of the object under `key`."""
        for name, item in self.value(key, dict).items():
            yield name, Fields(item, f"{self._where}: {key}.{name}")

    def names(self) -> list[str]:
        """Return the keys, in the order of the file."""
        return list(self._content)

    def plain(self) -> dict[str, Any]:
        """Return the object as it was read."""
        return self._content
