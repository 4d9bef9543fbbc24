"""Functions and methods of Python and NumPy that C has its own words for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .values import C_TYPES, OF_NUMPY, Array, Item, Known, Value
from .writer import CodeWriter

REAL, WHOLE = Known(np.float64), Known(np.int64)


def _view(this: CodeWriter, item: Item, kind: Known) -> Item:
    if isinstance(item, Known):
        return Known(item.value.view(kind.value))
    new = OF_NUMPY[kind.value]
    return Value(f"{item.type}_as_{new}({item.code})", new)


def _flat(this: CodeWriter, item: Item, *_: Item) -> Value:
    """All elements of an array without gaps, in one axis."""
    new = this.program.needed(Array(item.type.of, 1))
    size = " * ".join(f"{item.code}.n[{k}]" for k in range(item.type.axes))
    return Value(f"({new.c}){{{item.code}.p, {{{size}}}}}", new)


def _length(this: CodeWriter, item: Item) -> Item:
    if isinstance(item, Known):
        return Known(len(item.value))
    if isinstance(item, Value):
        return Value(item.code, "i64")
    return Known(len(item))


def _extreme(sign: str) -> Callable[..., Item]:
    def larger(this: CodeWriter, x: Item, y: Item) -> Item:
        """As Python has it: the first, unless the second is beyond it."""
        if isinstance(x, Known) and isinstance(y, Known):
            return Known(max(x.value, y.value) if sign == ">" else min(x.value, y.value))
        a, b = this.alike(x, y)
        return Value(f"({b.code} {sign} {a.code} ? {b.code} : {a.code})", a.type)

    return larger


def _root(this: CodeWriter, x: Item) -> Value:
    item = this.number(x)
    if item.type == "f32":
        return Value(f"sqrtf({item.code})", "f32")
    return Value(f"sqrt({this.cast(item, 'f64').code})", "f64")


def _absolute(this: CodeWriter, x: Item) -> Item:
    if isinstance(x, Known):
        return Known(abs(x.value))
    name = {"f64": "fabs", "f32": "fabsf", "i64": "llabs"}[x.type]
    return Value(f"{name}({x.code})", x.type)


def _empty(this: CodeWriter, shape: Item, dtype: Item = REAL) -> Value:
    """An array in memory that is given back when the function ends."""
    kind = OF_NUMPY[dtype.value]
    if isinstance(shape, Known) and isinstance(shape.value, tuple):
        shape = tuple(map(Known, shape.value))
    lengths = [
        this.number(x).code for x in ([shape] if isinstance(shape, Value | Known) else shape)
    ]
    new = this.program.needed(Array(kind, len(lengths)))
    this.own_memory = this.allocates = True
    place = f"arena_take(arena, ({' * '.join(lengths)}) * sizeof({C_TYPES[kind]}))"
    strides = ", ".join(" * ".join(lengths[k:]) for k in range(1, len(lengths)))
    more = f", {{{strides}}}" if len(lengths) > 1 else ""
    return Value(f"({new.c}){{{place}, {{{', '.join(lengths)}}}{more}}}", new)


def _full(this: CodeWriter, shape: Item, value: Item, dtype: Item = WHOLE) -> Value:
    """As `_empty`, with one value everywhere."""
    array = this.temporary(_empty(this, shape, dtype))
    this.fill(_flat(this, array), value, "=")
    return array


def _zeros(this: CodeWriter, shape: Item, dtype: Item = REAL) -> Value:
    return _full(this, shape, Known(dtype.value(0)), dtype)


def _search(this: CodeWriter, array: Item, value: Item, side: Item) -> Value:
    if side.value != "right" or array.type != Array("i64", 1):
        raise NotImplementedError("searchsorted to the right, in whole numbers")
    return Value(f"search_right({array.code}, {this.number(value).code})", "i64")


METHODS: dict[str, Callable[..., Item]] = {"view": _view, "ravel": _flat, "reshape": _flat}
FUNCTIONS: dict[Any, Callable[..., Item]] = {
    len: _length,
    max: _extreme(">"),
    min: _extreme("<"),
    abs: _absolute,
    math.sqrt: _root,
    np.sqrt: _root,
    np.where: lambda this, *choice: this.chosen(*choice),
    np.empty: _empty,
    np.full: _full,
    np.zeros: _zeros,
    np.searchsorted: _search,
}
