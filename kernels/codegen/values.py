"""The types and values that expressions of Python are translated to."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

import numpy as np

# the names in C of the types of numbers
C_TYPES = {
    "f64": "double",
    "f32": "float",
    "i64": "int64_t",
    "u64": "uint64_t",
    "i32": "int32_t",
    "u32": "uint32_t",
    "b1": "uint8_t",
    "u64v": "u64v",  # a vector, as wide as a register
    "u32v": "u32v",
}
# the types of C by the types of NumPy and Python
KINDS = {
    np.float64: "f64",
    np.float32: "f32",
    np.int64: "i64",
    np.uint64: "u64",
    np.int32: "i32",
    np.uint32: "u32",
    float: "f64",
    int: "i64",
    bool: "b1",
}


class Array(NamedTuple):
    """The type of an array: the type of its numbers, and how many axes it has."""

    element: str
    axes: int

    @property
    def c(self) -> str:
        """The name of the struct in C."""
        return f"{self.element}_{self.axes}"


class Record(NamedTuple):
    """The type of a named tuple: its name, and the names and types of its fields."""

    name: str
    fields: tuple[tuple[str, Any], ...]

    @property
    def c(self) -> str:
        """The type in C; records are passed by reference."""
        return f"const {self.name} *"


Type = str | Array | Record
Kind = TypeVar("Kind", bound=Type)


def c_type(kind: Type) -> str:
    """Return the name of a type in C."""
    return C_TYPES[kind] if isinstance(kind, str) else kind.c


class Value(NamedTuple):
    """An expression in C and its type."""

    code: str
    type: Type


class Known(NamedTuple):
    """A Python object that is known while translating: a number, a function, a tuple, ..."""

    value: Any


Operand = Any  # a Value, a Known, or a tuple of them


def scalar_type(value: Any) -> str:
    """Return the type of a known number."""
    for kind, name in KINDS.items():
        if type(value) is kind:
            return name
    raise TypeError(f"{value!r} is no number")


def literal(value: Any, kind: str) -> str:
    """Return a number as a literal of C, with all its digits."""
    if kind in ("f64", "f32"):
        number = float(value)
        if math.isinf(number):
            return "INFINITY" if number > 0 else "(-INFINITY)"
        text = number.hex() + ("f" if kind == "f32" else "")
        return f"({text})" if number < 0 else text
    if kind == "b1":
        return str(int(value))
    return f"(({C_TYPES[kind]}){int(value)}{'U' if kind[0] == 'u' else ''}LL)"
