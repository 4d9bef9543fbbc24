"""A program in C: translated functions, and the structs that they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .values import C_TYPES, Array, Kind, Known, Operand, Record, Value, c_type


class TranslatedFunction(NamedTuple):
    """A translated function, as its callers know it."""

    name: str  # in C
    result: Any  # a type, a tuple of types, or None
    allocates: bool  # whether its first argument is an arena


class Program:
    """Translated functions, in an order in which each is defined before it is called."""

    def __init__(self, translate: Callable[..., TranslatedFunction]) -> None:
        self.translate = translate
        self.text: list[str] = []
        self.structs: dict[str, list[str]] = {}  # members of the structs of arguments, by name
        self.tuples: dict[str, list[str]] = {}  # members of the structs of results, by name
        self.arrays: set[Array] = set()
        self.translated: dict[Any, TranslatedFunction] = {}
        self.count = 0
        self.inline: set[Any] = set()
        self.special: dict[Any, Callable[..., Operand]] = {}

    def declare(self, kind: Kind) -> Kind:
        """Declare the struct of a type, if it has one, and return the type."""
        if isinstance(kind, Array):
            self.arrays.add(kind)
            fields = [f"{C_TYPES[kind.element]} *p", f"int64_t n[{kind.axes}]"]
            fields += [f"int64_t s[{kind.axes - 1}]"] * (kind.axes > 1)
            self.structs.setdefault(kind.c, fields)
        elif isinstance(kind, Record):
            fields = [f"{c_type(self.declare(field))} {name}" for name, field in kind.fields]
            self.structs.setdefault(kind.name, fields)
        return kind

    def tuple_struct(self, kinds: tuple[str, ...]) -> str:
        """Declare the struct that functions return for a tuple, and return its name."""
        name = "_and_".join(kinds)
        fields = [f"{C_TYPES[kind]} e{i}" for i, kind in enumerate(kinds)]
        self.tuples.setdefault(name, fields)
        return name

    def function(self, function: Any, arguments: tuple[Operand, ...]) -> TranslatedFunction:
        """Translate a function for the types of these arguments, unless that is done already."""
        key = function, tuple(map(_key, arguments))
        if key not in self.translated:
            self.count += 1
            self.translated[key] = self.translate(self, function, arguments, self.count)
        return self.translated[key]


def _key(operand: Operand) -> Any:
    """Return what the translation depends on: the type of a value, or the known object."""
    if isinstance(operand, Value):
        return operand.type
    if isinstance(operand, Known):
        return type(operand.value).__name__, repr(operand.value)
    return tuple(map(_key, operand))
