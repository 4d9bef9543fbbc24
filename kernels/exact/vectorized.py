"""The exact model without a compiler: the same kernels, with loops turned into NumPy's operations.

A loop over the coordinates of a tile, whose variable is always called j, becomes one operation on
slices. NumPy then does with arrays what the loop did with numbers. Only choices between values must
become calls of a function, and variables must not be changed in place.
"""

from __future__ import annotations

import ast
from functools import cache, partial
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

import numpy as np

from ..codegen import pure_python
from ..sources import EXACT

EXPORTS = {
    "moments": ("propagate", "settings_risk"),
    "closed_form": ("constant_risk", "constant_settings_risk"),
    "first_passage": ("first_passage",),
    "leap_map": ("map_of_many_steps",),
    "array_moments": ("add_moments",),
}
TILE = 1024  # coordinates in a tile: more than elsewhere, because every operation is a call
SIMPLE_TILE = 4096  # where few arrays are worked on, which so stay in the cache


class Lanes:
    """The range of a variable j, or of j plus an offset, which indexes a part of an array."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __radd__(self, offset: int) -> Lanes:
        return Lanes(offset + self.start, offset + self.stop)


def _range_of_lanes(*bounds: int) -> Lanes:
    """Return the lanes of a loop over ``range(*bounds)``."""
    return Lanes(0, *bounds) if len(bounds) == 1 else Lanes(*bounds)


def _as_index(index: Any) -> Any:
    """Turn lanes into a slice, and leave other indices alone."""
    return slice(index.start, index.stop) if isinstance(index, Lanes) else index


def _select(test: Any, yes: Any, no: Any) -> Any:
    """Choose one of two functions' values, in every lane if the test is an array."""
    if isinstance(test, np.ndarray):
        return np.where(test, yes(), no())
    return yes() if test else no()


def _larger(x: Any, y: Any) -> Any:
    """Return the larger of two values, like Python's max, in every lane."""
    return np.where(y > x, y, x) if isinstance(x, np.ndarray) else max(x, y)


def _smaller(x: Any, y: Any) -> Any:
    """Return the smaller of two values, like Python's min, in every lane."""
    return np.where(y < x, y, x) if isinstance(x, np.ndarray) else min(x, y)


HELPERS: dict[str, Any] = {
    "_range_of_lanes": _range_of_lanes,
    "_as_index": _as_index,
    "_select": _select,
    "_root": np.sqrt,
    "max": _larger,
    "min": _smaller,
}


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    """Return the syntax of a call of a helper."""
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _deferred(value: ast.expr) -> ast.expr:
    """Return the syntax of a function without arguments that computes a value."""
    nothing = ast.arguments([], [], None, [], [], None, [])
    return ast.Lambda(nothing, value)


class _ToArrays(ast.NodeTransformer):
    """Rewrites the syntax of kernels from numbers to arrays, for tiles of a given size."""

    def __init__(self, tile: int) -> None:
        self.tile = tile

    def visit_For(self, node: ast.For) -> Any:
        """Replace a loop over j by its body, with all lanes at once."""
        self.generic_visit(node)
        if isinstance(node.target, ast.Name) and node.target.id == "j":
            assert isinstance(node.iter, ast.Call)
            return [
                ast.Assign([node.target], _call("_range_of_lanes", *node.iter.args)),
                *node.body,
            ]
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Let indices be lanes."""
        self.generic_visit(node)
        axes = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        axes = [x if isinstance(x, ast.Slice) else _call("_as_index", x) for x in axes]
        node.slice = ast.Tuple(axes, ast.Load()) if len(axes) > 1 else axes[0]
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Assign a new array instead, as the name may stand for a part of another."""
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            old = ast.Name(node.target.id, ast.Load())
            return ast.Assign([node.target], ast.BinOp(old, node.op, node.value))
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Let the test differ between lanes."""
        self.generic_visit(node)
        return _call("_select", node.test, _deferred(node.body), _deferred(node.orelse))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Take roots by NumPy, whichever module the kernel has them from."""
        self.generic_visit(node)
        return ast.Name("_root", node.ctx) if node.attr == "sqrt" else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        """Change the size of tiles."""
        self.generic_visit(node)
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id == "TILE":
            node.value = ast.Constant(self.tile)
        return node


def _add_to_cells(cell: Any, x: Any, size: int, weight: Any, first: int, table: Any) -> None:
    """Add moments to cells in the order of coordinates, each to what there was before."""
    flat, at, x = table.reshape(-1), 4 * cell[:size], x[:size]
    power = np.full(size, weight[0]) if weight.size == 1 else weight[first : first + size]
    for _ in range(4):
        np.add.at(flat, at, power)
        at += 1
        power = power * x


def _count_in_cells(cell: Any, size: int, count: Any) -> None:
    """Add the numbers of coordinates to those of their cells."""
    np.add.at(count, cell[:size], 1)


class _Loader(SourceFileLoader):
    """Loads a module of kernels with its loops turned into operations on arrays."""

    def __init__(self, name: str, path: str, tile: int) -> None:
        super().__init__(name, path)
        self.tile = tile

    def exec_module(self, module: ModuleType) -> None:
        """Execute the rewritten source."""
        tree = _ToArrays(self.tile).visit(ast.parse(self.get_data(self.path), self.path))
        module.__dict__.update(HELPERS)
        exec(compile(ast.fix_missing_locations(tree), self.path, "exec"), module.__dict__)


def _ignoring_overflow(function: Any) -> Any:
    """Return a function that overflows without warnings, like compiled code."""

    def run(*arguments: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arguments)

    return run


@cache
def load(tile: int = TILE) -> dict[str, Any]:
    """Return the modules of the exact model by name, for tiles of that many coordinates."""
    names = tuple(f"exact.{name}" for name in EXACT)
    loaded: dict[str, Any] = pure_python.load(names, partial(_Loader, tile=tile))
    modules = {name: loaded[f"exact.{name}"] for name in EXPORTS}
    # Lanes of the same cell would be added to what it was before all of them.
    modules["array_moments"].add_to_cells = _add_to_cells
    modules["array_moments"].count_in_cells = _count_in_cells
    for name, entries in EXPORTS.items():
        for entry in entries:
            setattr(modules[name], entry, _ignoring_overflow(getattr(modules[name], entry)))
    return modules
