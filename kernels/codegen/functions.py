"""Functions and methods of Python and NumPy, and how each is translated to C."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .values import C_TYPES, KINDS, Array, Known, Operand, Value
from .writer import CodeWriter

REAL, WHOLE = Known(np.float64), Known(np.int64)


def _view_bits(this: CodeWriter, operand: Operand, kind: Known) -> Operand:
    """Reinterpret the bits of a number as another type."""
    if isinstance(operand, Known):
        return Known(operand.value.view(kind.value))
    new = KINDS[kind.value]
    return Value(f"{operand.type}_as_{new}({operand.code})", new)


def _flatten(this: CodeWriter, operand: Operand, *_: Operand) -> Value:
    """View an array without gaps as one with a single axis."""
    new = this.program.declare(Array(operand.type.element, 1))
    size = " * ".join(f"{operand.code}.n[{k}]" for k in range(operand.type.axes))
    return Value(f"({new.c}){{{operand.code}.p, {{{size}}}}}", new)


def _length(this: CodeWriter, operand: Operand) -> Operand:
    """Return the length of a tuple, or of what is known."""
    if isinstance(operand, Known):
        return Known(len(operand.value))
    if isinstance(operand, Value):
        return Value(operand.code, "i64")
    return Known(len(operand))


def _extreme(sign: str) -> Callable[..., Operand]:
    """Return the translation of `max` (">") or `min` ("<") of two numbers."""

    def extreme(this: CodeWriter, x: Operand, y: Operand) -> Operand:
        """Return the first number unless the second is beyond it, like Python."""
        if isinstance(x, Known) and isinstance(y, Known):
            return Known(max(x.value, y.value) if sign == ">" else min(x.value, y.value))
        a, b = this.of_one_type(x, y)
        return Value(f"({b.code} {sign} {a.code} ? {b.code} : {a.code})", a.type)

    return extreme


def _root(this: CodeWriter, x: Operand) -> Value:
    """Return the square root, in the number's own precision."""
    operand = this.as_value(x)
    if operand.type == "f32":
        return Value(f"sqrtf({operand.code})", "f32")
    return Value(f"sqrt({this.cast(operand, 'f64').code})", "f64")


def _absolute(this: CodeWriter, x: Operand) -> Operand:
    """Return the absolute value."""
    if isinstance(x, Known):
        return Known(abs(x.value))
    name = {"f64": "fabs", "f32": "fabsf", "i64": "llabs"}[x.type]
    return Value(f"{name}({x.code})", x.type)


def _empty(this: CodeWriter, shape: Operand, dtype: Operand = REAL) -> Value:
    """Allocate an array, whose memory is given back when the function ends."""
    kind = KINDS[dtype.value]
    if isinstance(shape, Known) and isinstance(shape.value, tuple):
        shape = tuple(map(Known, shape.value))
    lengths = [
        this.as_value(x).code for x in ([shape] if isinstance(shape, Value | Known) else shape)
    ]
    new = this.program.declare(Array(kind, len(lengths)))
    this.own_memory = this.allocates = True
    memory = f"arena_take(arena, ({' * '.join(lengths)}) * sizeof({C_TYPES[kind]}))"
    strides = ", ".join(" * ".join(lengths[k:]) for k in range(1, len(lengths)))
    more = f", {{{strides}}}" if len(lengths) > 1 else ""
    return Value(f"({new.c}){{{memory}, {{{', '.join(lengths)}}}{more}}}", new)


def _full(this: CodeWriter, shape: Operand, value: Operand, dtype: Operand = WHOLE) -> Value:
    """Allocate an array with one value everywhere."""
    array = this.temporary(_empty(this, shape, dtype))
    this.fill_array(_flatten(this, array), value, "=")
    return array


def _zeros(this: CodeWriter, shape: Operand, dtype: Operand = REAL) -> Value:
    """Allocate an array of zeros."""
    return _full(this, shape, Known(dtype.value(0)), dtype)


METHODS: dict[str, Callable[..., Operand]] = {
    "view": _view_bits,
    "ravel": _flatten,
    "reshape": _flatten,
}
FUNCTIONS: dict[Any, Callable[..., Operand]] = {
    len: _length,
    max: _extreme(">"),
    min: _extreme("<"),
    abs: _absolute,
    math.sqrt: _root,
    np.sqrt: _root,
    np.where: lambda this, *choice: this.choose(*choice),
    np.empty: _empty,
    np.full: _full,
    np.zeros: _zeros,
}
