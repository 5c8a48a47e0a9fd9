"""How classes of a C++ binding behave: no attribute that is not theirs, enumerations that are not integers."""

from typing import Any

from standin_board import versions


class Native:
    """A class of the bindings: setting an attribute that it does not have is an error, private ones are the stand-in's."""

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            not name.startswith("_")
            and not hasattr(type(self), name)
            and type(self).__module__.startswith("standin_board")
        ):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        super().__setattr__(name, value)


class Enumeration:
    """An enumeration of pybind11: has int(), name and value, is no int."""

    def __init__(self, name: str, value: int) -> None:
        self._name, self._value = name, value

    @property
    def name(self) -> str:
        return self._name

    @property
    def value(self) -> int:
        return self._value

    def __int__(self) -> int:
        return self._value

    __index__ = __int__

    def __hash__(self) -> int:
        return hash((type(self), self._value))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self._name}: {self._value}>"

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self._name}"


def enumeration(name: str, members: str, start: int = 0) -> Any:
    """Return an enumeration with the members (in order) that the version has."""
    kind = type(name, (Enumeration,), {"__module__": "tensorrt"})
    found = {}
    for value, member in enumerate(members.split(), start):
        if member in versions.names():
            found[member] = kind(member, value)
    for member, instance in found.items():
        setattr(kind, member, instance)
    kind.__members__ = found  # type: ignore[attr-defined]
    return kind


def trimmed(kind: type) -> type:
    """Take from a class every public attribute whose name the version's bindings do not have."""
    for base in (base for base in kind.__mro__ if base.__module__.startswith("standin_board")):
        for name in [name for name in vars(base) if not name.startswith("_")]:
            if name not in versions.names():
                delattr(base, name)
    return kind
