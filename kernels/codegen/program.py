"""A program of C: translated functions, and the types that they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .values import C_TYPES, Array, Item, Kind, Known, Record, Value, c_type


class TranslatedFunction(NamedTuple):
    """A translated function."""

    name: str
    result: Any  # a type, a tuple of types, or None
    allocates: bool


class Program:
    """Translated functions, in an order in which each is defined before it is called."""

    def __init__(self, translate: Callable[..., TranslatedFunction]) -> None:
        self.translate = translate
        self.text: list[str] = []
        self.structs: dict[str, list[str]] = {}  # of arguments
        self.tuples: dict[str, list[str]] = {}  # of results
        self.arrays: set[Array] = set()
        self.done: dict[Any, TranslatedFunction] = {}
        self.count = 0
        self.inline: set[Any] = set()
        self.special: dict[Any, Callable[..., Item]] = {}

    def needed(self, kind: Kind) -> Kind:
        """A type; note that its struct is needed."""
        if isinstance(kind, Array):
            self.arrays.add(kind)
            fields = [f"{C_TYPES[kind.of]} *p", f"int64_t n[{kind.axes}]"]
            fields += [f"int64_t s[{kind.axes - 1}]"] * (kind.axes > 1)
            self.structs.setdefault(kind.c, fields)
        elif isinstance(kind, Record):
            fields = [f"{c_type(self.needed(field))} {name}" for name, field in kind.fields]
            self.structs.setdefault(kind.name, fields)
        return kind

    def several(self, kinds: tuple[str, ...]) -> str:
        """The struct that is returned for a tuple."""
        name = "_and_".join(kinds)
        fields = [f"{C_TYPES[kind]} e{i}" for i, kind in enumerate(kinds)]
        self.tuples.setdefault(name, fields)
        return name

    def function(self, function: Any, arguments: tuple[Item, ...]) -> TranslatedFunction:
        """Translate a function for arguments of these types, unless that is done already."""
        key = function, tuple(map(_key, arguments))
        if key not in self.done:
            self.count += 1
            self.done[key] = self.translate(self, function, arguments, self.count)
        return self.done[key]


def _key(item: Item) -> Any:
    if isinstance(item, Value):
        return item.type
    if isinstance(item, Known):
        return type(item.value).__name__, repr(item.value)
    return tuple(map(_key, item))
